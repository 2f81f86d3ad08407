#include "launch/benchmark/ranks_report.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "launch/output/table.h"

namespace palimpsest {

namespace {

/// The largest of every rank's values, to a billionth.
double largest(double value, Communicator& communicator) {
  std::array<std::int64_t, 1> billionths = {std::llround(value * 1e9)};
  communicator.all_reduce_max(billionths);
  return static_cast<double>(billionths[0]) * 1e-9;
}

}  // namespace

double RanksReport::hidden() const {
  return alone_seconds > 0 ? std::clamp(1.0 - exposed_seconds / alone_seconds, 0.0, 1.0) : 1.0;
}

RanksReport gather_ranks(const BenchmarkResult& r, Communicator& communicator) {
  RanksReport report;
  report.ranks = communicator.size();
  report.where = communicator.description();
  std::array<double, 2> sums = {r.tokens_per_second(), r.waiting_seconds};
  communicator.all_reduce_sum(std::span<double>(sums));
  report.tokens_per_second = sums[0];
  report.waiting_seconds = sums[1] / report.ranks;
  report.alone_tokens_per_second = largest(r.alone_tokens_per_second, communicator);
  report.step_seconds = largest(static_cast<double>(r.tokens_per_step) / r.tokens_per_second(), communicator);
  report.exposed_seconds = largest(r.exposed_seconds, communicator);
  report.alone_seconds = largest(r.communication_alone_seconds, communicator);
  std::array<std::int64_t, 3> most = {r.bytes_sent_per_step, r.communication_calls_per_step, r.optimizer_bytes};
  communicator.all_reduce_max(most);
  report.bytes_per_step = most[0];
  report.calls_per_step = most[1];
  report.optimizer_bytes = most[2];
  report.parameter_bytes = r.parameters * static_cast<std::int64_t>(sizeof(float));
  return report;
}

std::string format_ranks(const RanksReport& r) {
  const auto megabytes = [](std::int64_t bytes) { return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6); };
  const auto milliseconds = [](double seconds) { return fmt::format("{:.1f} ms", seconds * 1e3); };
  const bool measured = r.alone_tokens_per_second > 0;
  return fmt::format("{}\n", r.where) +
         format_table(
             {{"  tokens/s, all ranks", fmt::format("{:.1f}", r.tokens_per_second)},
              {"  tokens/s, each", fmt::format("{:.1f}", r.tokens_per_second / r.ranks)},
              {"  tokens/s, one alone", measured ? fmt::format("{:.1f}", r.alone_tokens_per_second) : "not measured"},
              {"  efficiency", measured ? fmt::format("{:.1f} %", 100 * r.efficiency()) : "not measured"},
              {"  step", milliseconds(r.step_seconds)},
              {"  waiting for the slowest", milliseconds(r.waiting_seconds)},
              {"  communicating, nothing else", milliseconds(r.exposed_seconds)},
              {"  communication by itself", milliseconds(r.alone_seconds)},
              {"  hidden behind computation", fmt::format("{:.1f} %", 100 * r.hidden())},
              {"  sent a step and rank", megabytes(r.bytes_per_step)},
              {"  calls a step and rank", fmt::format("{}", r.calls_per_step)},
              {"  optimizer state a rank", megabytes(r.optimizer_bytes)},
              {"  parameters", megabytes(r.parameter_bytes)}});
}

nlohmann::ordered_json to_json(const RanksReport& r) {
  const bool measured = r.alone_tokens_per_second > 0;
  const auto if_measured = [measured](double value) { return measured ? nlohmann::ordered_json(value) : nullptr; };
  return {{"ranks", r.ranks},
          {"where", r.where},
          {"tokens_per_second", r.tokens_per_second},
          {"tokens_per_second_a_rank", r.tokens_per_second / r.ranks},
          {"alone_tokens_per_second", if_measured(r.alone_tokens_per_second)},
          {"efficiency", if_measured(measured ? r.efficiency() : 0)},
          {"step_seconds", r.step_seconds},
          {"waiting_seconds", r.waiting_seconds},
          {"exposed_seconds", r.exposed_seconds},
          {"communication_alone_seconds", r.alone_seconds},
          {"hidden", r.hidden()},
          {"bytes_per_step", r.bytes_per_step},
          {"calls_per_step", r.calls_per_step},
          {"optimizer_bytes_a_rank", r.optimizer_bytes},
          {"parameter_bytes", r.parameter_bytes}};
}

}  // namespace palimpsest
