#include "launch/inference/comparison_report.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "launch/inference/score_report.h"
#include "launch/output/csv.h"
#include "launch/output/table.h"

namespace palimpsest {

namespace {

using Differences = std::vector<PositionDifference> PairedDifference::*;

struct PositionTable {
  const char* key;
  const char* title;
  Differences differences;
};

constexpr std::array<PositionTable, 3> position_tables = {
    {{"by_position", "position in the document", &PairedDifference::by_position},
     {"by_position_in_segment", "position in the segment", &PairedDifference::by_position_in_segment},
     {"by_compressions", "compressions behind the token", &PairedDifference::by_compressions}}};

std::string reading_of(const SavedEvaluation& saved) {
  return saved.window > 0 ? reading_name(0, saved.window, saved.stride) : saved.memory;
}

std::string error_cell(const std::optional<double>& error, int digits) {
  return error ? fmt::format("{:.{}f}", *error, digits) : "unknown";
}

std::optional<double> error_of(const ComparedRun& run, double StandardErrors::*which) {
  return run.errors ? std::optional((*run.errors).*which) : std::nullopt;
}

std::string totals_table(const std::vector<ComparedRun>& runs) {
  std::vector<std::vector<std::string>> rows = {
      {"run", "step", "memory", "token perplexity", "+-", "word perplexity", "+-", "bits per byte", "+-"}};
  for (const ComparedRun& run : runs) {
    const Score& total = run.evaluation.total;
    rows.push_back(
        {run.name, fmt::format("{}", run.evaluation.step), reading_of(run.evaluation),
         fmt::format("{:.4f}", total.token_perplexity()),
         error_cell(error_of(run, &StandardErrors::token_perplexity), 4),
         fmt::format("{:.2f}", total.word_perplexity()), error_cell(error_of(run, &StandardErrors::word_perplexity), 2),
         fmt::format("{:.4f}", total.bits_per_byte()), error_cell(error_of(run, &StandardErrors::bits_per_byte), 4)});
  }
  return format_table(rows);
}

std::string differences_table(const std::vector<ComparedRun>& runs) {
  std::vector<std::vector<std::string>> rows = {
      {"against " + runs.front().name, "nats a token", "+-", "%", "+-", "better", "worse", "sign test p"}};
  for (const ComparedRun& run : runs) {
    if (!run.difference) continue;
    const PairedDifference& d = *run.difference;
    rows.push_back({run.name, fmt::format("{:+.5f}", d.nats_per_token.ratio),
                    error_cell(d.nats_per_token.standard_error, 5), fmt::format("{:+.3f}", d.percent.ratio),
                    error_cell(d.percent.standard_error, 3), fmt::format("{}", d.better), fmt::format("{}", d.worse),
                    fmt::format("{:.3g}", d.sign_test)});
  }
  return format_table(rows);
}

/// A row for each range that some run shares with the first, a column for each run.
std::string position_table(const std::vector<ComparedRun>& runs, const PositionTable& table) {
  std::vector<std::string> heading = {table.title};
  std::vector<std::pair<std::int64_t, std::int64_t>> ranges;
  for (const ComparedRun& run : runs) {
    if (!run.difference) continue;
    heading.push_back(run.name);
    for (const PositionDifference& d : (*run.difference).*table.differences) ranges.emplace_back(d.begin, d.end);
  }
  if (ranges.empty()) return "";
  std::ranges::sort(ranges);
  const auto repeated = std::ranges::unique(ranges);
  ranges.erase(repeated.begin(), repeated.end());
  std::vector<std::vector<std::string>> rows = {heading};
  for (const auto& [begin, end] : ranges) {
    std::vector<std::string>& row = rows.emplace_back();
    row.push_back(fmt::format("{} to {}", begin, end - 1));
    for (const ComparedRun& run : runs) {
      if (!run.difference) continue;
      const auto& differences = (*run.difference).*table.differences;
      const auto found = std::ranges::find(differences, begin, &PositionDifference::begin);
      row.push_back(found == differences.end() ? "" : fmt::format("{:+.5f}", found->nats_per_token));
    }
  }
  return '\n' + format_table(rows);
}

nlohmann::ordered_json difference_to_json(const PairedDifference& d) {
  nlohmann::ordered_json json = {{"nats_per_token", d.nats_per_token.ratio},
                                 {"percent", d.percent.ratio},
                                 {"better", d.better},
                                 {"worse", d.worse},
                                 {"sign_test", d.sign_test}};
  if (d.nats_per_token.standard_error) {
    json["standard_error"] = {{"nats_per_token", *d.nats_per_token.standard_error},
                              {"percent", *d.percent.standard_error}};
  }
  for (const PositionTable& table : position_tables) {
    nlohmann::ordered_json& list = json[table.key] = nlohmann::ordered_json::array();
    for (const PositionDifference& range : d.*table.differences) {
      list.push_back({{"begin", range.begin},
                      {"end", range.end},
                      {"tokens", range.tokens},
                      {"nats_per_token", range.nats_per_token}});
    }
  }
  return json;
}

}  // namespace

std::string format_comparison(const std::vector<ComparedRun>& runs) {
  std::string text = totals_table(runs) + '\n' + differences_table(runs);
  for (const PositionTable& table : position_tables) text += position_table(runs, table);
  return text;
}

nlohmann::ordered_json to_json(const std::vector<ComparedRun>& runs) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const ComparedRun& run : runs) {
    const SavedEvaluation& saved = run.evaluation;
    nlohmann::ordered_json entry = {
        {"run", run.name}, {"result", saved.path.string()}, {"step", saved.step}, {"memory", saved.memory}};
    if (saved.window > 0) entry.update({{"window", saved.window}, {"stride", saved.stride}});
    entry["total"] = total_to_json(saved.total, run.errors);
    if (run.difference) entry["difference"] = difference_to_json(*run.difference);
    list.push_back(std::move(entry));
  }
  const SavedEvaluation& first = runs.front().evaluation;
  return {{"data", first.data},
          {"data_checksum", first.data_checksum},
          {"documents", first.documents.size()},
          {"runs", list}};
}

std::string to_csv(const std::vector<ComparedRun>& runs) {
  std::vector<std::vector<std::string>> rows = {
      {"table", "run", "begin", "end", "tokens", "measure", "value", "standard_error"}};
  for (const ComparedRun& run : runs) {
    const auto add = [&](const char* table, const char* measure, double value,
                         const std::optional<double>& error = std::nullopt) {
      rows.push_back({table, run.name, "", "", fmt::format("{}", run.evaluation.total.tokens), measure,
                      fmt::format("{}", value), error ? fmt::format("{}", *error) : ""});
    };
    const Score& total = run.evaluation.total;
    add("total", "token_perplexity", total.token_perplexity(), error_of(run, &StandardErrors::token_perplexity));
    add("total", "word_perplexity", total.word_perplexity(), error_of(run, &StandardErrors::word_perplexity));
    add("total", "bits_per_byte", total.bits_per_byte(), error_of(run, &StandardErrors::bits_per_byte));
    if (!run.difference) continue;
    const PairedDifference& d = *run.difference;
    add("difference", "nats_per_token", d.nats_per_token.ratio, d.nats_per_token.standard_error);
    add("difference", "percent", d.percent.ratio, d.percent.standard_error);
    add("difference", "better", static_cast<double>(d.better));
    add("difference", "worse", static_cast<double>(d.worse));
    add("difference", "sign_test", d.sign_test);
    for (const PositionTable& table : position_tables) {
      for (const PositionDifference& range : d.*table.differences) {
        rows.push_back({table.key, run.name, fmt::format("{}", range.begin), fmt::format("{}", range.end),
                        fmt::format("{}", range.tokens), "nats_per_token", fmt::format("{}", range.nats_per_token),
                        ""});
      }
    }
  }
  return format_csv(rows);
}

}  // namespace palimpsest
