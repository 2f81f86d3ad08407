// The results of launch/benchmark/benchmark.h as a table and as JSON.
#include <fmt/format.h>

#include "launch/benchmark/benchmark.h"
#include "launch/output/progress.h"
#include "launch/output/table.h"

namespace palimpsest {

namespace {

std::string milliseconds(double seconds) { return fmt::format("{:.1f}", seconds * 1e3); }

std::string gigabytes(std::int64_t bytes) { return fmt::format("{:.2f}", static_cast<double>(bytes) / 1e9); }

/// What the resident memory of a training step is made of.
std::string format_memory(const BenchmarkResult& r) {
  return fmt::format(
      "  of these         parameters {}, optimizer {}, gradients and pass {} at once (estimated: {}); {} committed\n",
      gigabytes(r.parameter_bytes), gigabytes(r.optimizer_bytes), gigabytes(r.step_bytes),
      gigabytes(r.gradient_bytes + r.plan.bytes), gigabytes(r.committed_bytes));
}

/// Time by phase and operator family, in milliseconds a step.
std::string format_times(const BenchmarkResult& r) {
  const auto steps = static_cast<double>(r.step_seconds.size());
  std::vector<std::vector<std::string>> rows = {{"milliseconds a step", "forward", "backward", "all"}};
  double forward = 0, backward = 0;
  for (const auto& [family, seconds] : r.operators.families()) {
    forward += seconds.forward / steps;
    backward += seconds.backward / steps;
    rows.push_back({"  " + family, milliseconds(seconds.forward / steps), milliseconds(seconds.backward / steps),
                    milliseconds((seconds.forward + seconds.backward) / steps)});
  }
  rows.insert(rows.begin() + 1,
              {"operators", milliseconds(forward), milliseconds(backward), milliseconds(forward + backward)});
  rows.push_back({"optimizer", "", "", milliseconds(r.optimizer_seconds)});
  rows.push_back({"communication", "", "", milliseconds(r.communication_seconds)});
  return format_table(rows);
}

/// A rank whose threads reach several NUMA nodes computes with far memory.
std::string format_machine(const BenchmarkResult& r) {
  return fmt::format("  machine          {}{}\n  huge pages       {}\n", format_topology(r.topology),
                     r.topology.numa_nodes > 1 ? "; a rank on each NUMA node is faster (docs/cluster.md)" : "",
                     format_huge_pages(r.huge_pages));
}

}  // namespace

std::string format_benchmark(const BenchmarkResult& r) {
  std::string text = fmt::format(
      "{}: {} parameters, {}, {} ranks of {} threads{}, {} schedule, recomputing {}\n"
      "  tokens/s         {:.1f} a rank (median of {}; {:.1f} to {:.1f}){}\n"
      "  model            {:.1f} GFLOP/s of a matmul peak of {:.1f}: MFU {:.1f} %\n"
      "  memory           {:.2f} GB resident at most, {:.0f} page faults a step\n"
      "  start            {:.2f} s until the first step, the peak's measurement included\n",
      r.subject, format_count(static_cast<double>(r.parameters)), r.precision, r.ranks, r.threads,
      r.sequence_ranks > 1 ? fmt::format(", sequences over {} ranks each", r.sequence_ranks) : "",
      name_of(r.plan.schedule), name_of(r.plan.recompute), r.tokens_per_second(), r.step_seconds.size(),
      r.slowest_tokens_per_second(), r.fastest_tokens_per_second(),
      r.ranks > 1 ? fmt::format(", {:.1f} on all", r.tokens_per_second() * r.ranks) : "", r.model_gflops(),
      r.matmul_peak.gflops, 100.0 * r.utilization(), static_cast<double>(r.peak_memory_bytes) / 1e9,
      r.page_faults_per_step, r.start_seconds);
  text += format_machine(r);
  if (r.subject == "training") text += format_memory(r) + format_times(r);
  if (r.subject == "generation") {
    const double rate = r.weight_bytes_per_token * r.tokens_per_second() / 1e9;
    text +=
        fmt::format("  weights          {:.1f} GB/s of a stream bandwidth of {:.1f}: {:.1f} %, {} after {} tokens\n",
                    rate, r.stream_gigabytes_per_second, 100.0 * rate / r.stream_gigabytes_per_second,
                    format_plural(r.sequences, "sequence"), r.context);
  }
  return text;
}

nlohmann::ordered_json to_json(const BenchmarkResult& r) {
  nlohmann::ordered_json json = {{"subject", r.subject},
                                 {"tokens_per_second", r.tokens_per_second()},
                                 {"tokens_per_second_slowest", r.slowest_tokens_per_second()},
                                 {"tokens_per_second_fastest", r.fastest_tokens_per_second()},
                                 {"model_gflops", r.model_gflops()},
                                 {"matmul_peak_gflops", r.matmul_peak.gflops},
                                 {"matmul_peak_processor_gflops", r.matmul_peak.processor_gflops},
                                 {"mfu", r.utilization()},
                                 {"peak_memory_bytes", r.peak_memory_bytes},
                                 {"page_faults_per_step", r.page_faults_per_step},
                                 {"start_seconds", r.start_seconds},
                                 {"sockets", r.topology.sockets},
                                 {"numa_nodes", r.topology.numa_nodes},
                                 {"level3_caches", r.topology.level3_caches},
                                 {"cores", r.topology.cores},
                                 {"hardware_threads", r.topology.hardware_threads},
                                 {"huge_page_bytes", r.huge_pages.bytes},
                                 {"huge_pages", r.huge_pages.setting},
                                 {"parameters", r.parameters},
                                 {"precision", r.precision},
                                 {"schedule", name_of(r.plan.schedule)},
                                 {"recompute", name_of(r.plan.recompute)},
                                 {"threads", r.threads},
                                 {"ranks", r.ranks},
                                 {"sequence_ranks", r.sequence_ranks},
                                 {"step_seconds", r.step_seconds},
                                 {"step_processor_seconds", r.step_processor_seconds}};
  if (r.subject == "training") {
    json["memory"] = {{"parameter_bytes", r.parameter_bytes}, {"optimizer_bytes", r.optimizer_bytes},
                      {"gradient_bytes", r.gradient_bytes},   {"step_bytes", r.step_bytes},
                      {"pass_bytes_estimated", r.plan.bytes}, {"committed_bytes", r.committed_bytes}};
    json["optimizer_seconds"] = r.optimizer_seconds;
    json["communication_seconds"] = r.communication_seconds;
    const auto steps = static_cast<double>(r.step_seconds.size());
    for (const auto& [family, seconds] : r.operators.families()) {
      json["operators"][family] = {{"forward_seconds", seconds.forward / steps},
                                   {"backward_seconds", seconds.backward / steps}};
    }
  }
  if (r.subject == "generation") {
    json["context"] = r.context;
    json["sequences"] = r.sequences;
    json["weight_bytes_per_token"] = r.weight_bytes_per_token;
    json["stream_gigabytes_per_second"] = r.stream_gigabytes_per_second;
  }
  return json;
}

}  // namespace palimpsest
