#include "launch/inference/passkey_report.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/printable.h"
#include "launch/output/table.h"

namespace palimpsest {

namespace {

/// "32 k", "1 M" (of 1,024), or the number itself.
std::string format_length(std::int64_t tokens) {
  constexpr std::int64_t kibi = 1024, mebi = kibi * kibi;
  if (tokens % mebi == 0) return fmt::format("{} M", tokens / mebi);
  if (tokens % kibi == 0) return fmt::format("{} k", tokens / kibi);
  return fmt::format("{}", tokens);
}

std::string format_percent(std::int64_t successes, std::int64_t trials) {
  return trials == 0 ? "-"
                     : fmt::format("{:.1f}", 100.0 * static_cast<double>(successes) / static_cast<double>(trials));
}

std::string format_with_interval(std::int64_t successes, std::int64_t trials) {
  const Proportion found = wilson_interval(successes, trials);
  return trials == 0 ? "-"
                     : fmt::format("{:.0f} ({:.0f}-{:.0f})", 100 * found.share, 100 * found.low, 100 * found.high);
}

nlohmann::ordered_json to_json(std::int64_t successes, std::int64_t trials) {
  const Proportion found = wilson_interval(successes, trials);
  return {{"share", found.share}, {"low", found.low}, {"high", found.high}};
}

std::int64_t count_of(const nlohmann::json& json, const char* key) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  if (found == json.end() || !found->is_number_unsigned()) {
    throw DataError(fmt::format("\"{}\" is {}, expected a non-negative integer", key,
                                found == json.end() ? "missing" : printable(found->dump())));
  }
  return found->get<std::int64_t>();
}

const nlohmann::json& list_of(const nlohmann::json& json, const char* key) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  if (found == json.end() || !found->is_array()) throw DataError(fmt::format("\"{}\" is no list", key));
  return *found;
}

}  // namespace

Proportion wilson_interval(std::int64_t successes, std::int64_t trials) {
  if (trials == 0) return {};
  constexpr double z = 1.959963984540054;  // of the normal distribution, 95 % lie within
  const auto n = static_cast<double>(trials);
  const double share = static_cast<double>(successes) / n;
  const double middle = (share + z * z / (2 * n)) / (1 + z * z / n);
  const double half = z / (1 + z * z / n) * std::sqrt(share * (1 - share) / n + z * z / (4 * n * n));
  return {share, std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

PasskeySummary summarize(const PasskeyCell& cell) {
  PasskeySummary summary;
  for (const PasskeySample& sample : cell.samples) {
    ++summary.samples;
    summary.exact += sample.right == sample.tokens;
    summary.exact_without_memory += sample.right_without_memory == sample.tokens;
    summary.tokens += sample.tokens;
    summary.right += sample.right;
    summary.right_without_memory += sample.right_without_memory;
  }
  return summary;
}

std::string format_passkey(const std::vector<PasskeyCell>& cells) {
  std::set<std::int64_t> lengths;
  std::set<double> depths;
  for (const PasskeyCell& cell : cells) {
    lengths.insert(cell.length);
    depths.insert(cell.depth);
  }
  std::vector<std::vector<std::string>> rows{{"length"}};
  for (const double depth : depths) rows.front().push_back(fmt::format("depth {}", depth));
  for (const char* column : {"digits", "no memory", "digits"}) rows.front().push_back(column);
  for (const std::int64_t length : lengths) {
    std::vector<std::string> row{format_length(length)};
    PasskeySummary all;
    for (const double depth : depths) {
      const auto cell = std::ranges::find_if(
          cells, [&](const PasskeyCell& cell) { return cell.length == length && cell.depth == depth; });
      const PasskeySummary found = cell == cells.end() ? PasskeySummary() : summarize(*cell);
      row.push_back(format_with_interval(found.exact, found.samples));
      all.samples += found.samples;
      all.exact_without_memory += found.exact_without_memory;
      all.tokens += found.tokens;
      all.right += found.right;
      all.right_without_memory += found.right_without_memory;
    }
    row.push_back(format_percent(all.right, all.tokens));
    row.push_back(format_percent(all.exact_without_memory, all.samples));
    row.push_back(format_percent(all.right_without_memory, all.tokens));
    rows.push_back(std::move(row));
  }
  return format_table(rows);
}

nlohmann::ordered_json to_json(const std::vector<PasskeyCell>& cells) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const PasskeyCell& cell : cells) {
    const PasskeySummary found = summarize(cell);
    nlohmann::ordered_json samples = nlohmann::ordered_json::array();
    for (const PasskeySample& sample : cell.samples) {
      samples.push_back({{"sample", sample.sample},
                         {"tokens", sample.tokens},
                         {"right", sample.right},
                         {"right_without_memory", sample.right_without_memory}});
    }
    list.push_back({{"length", cell.length},
                    {"depth", cell.depth},
                    {"exact_match", to_json(found.exact, found.samples)},
                    {"token_accuracy", to_json(found.right, found.tokens)},
                    {"exact_match_without_memory", to_json(found.exact_without_memory, found.samples)},
                    {"token_accuracy_without_memory", to_json(found.right_without_memory, found.tokens)},
                    {"samples", std::move(samples)}});
  }
  return list;
}

std::vector<PasskeyCell> cells_from_json(const nlohmann::json& json) {
  std::vector<PasskeyCell> cells;
  for (const nlohmann::json& saved : list_of(json, "cells")) {
    const std::int64_t length = count_of(saved, "length");
    const auto depth = saved.find("depth");
    if (depth == saved.end() || !depth->is_number()) throw DataError("\"depth\" is no number");
    cells.push_back({length, depth->get<double>(), {}});
    std::set<std::int64_t> numbers;
    for (const nlohmann::json& sample : list_of(saved, "samples")) {
      const PasskeySample read{count_of(sample, "sample"), count_of(sample, "tokens"), count_of(sample, "right"),
                               count_of(sample, "right_without_memory")};
      if (read.right > read.tokens || read.right_without_memory > read.tokens || !numbers.insert(read.sample).second) {
        throw DataError(fmt::format("sample {} of length {} is there twice, or has more right than there are",
                                    read.sample, length));
      }
      cells.back().samples.push_back(read);
    }
  }
  return cells;
}

std::vector<PasskeyCell> take_samples(std::vector<PasskeyCell> before, std::vector<PasskeyCell>& cells) {
  std::vector<PasskeyCell> others;
  for (PasskeyCell& old : before) {
    const auto asked = std::ranges::find_if(
        cells, [&](const PasskeyCell& cell) { return cell.length == old.length && cell.depth == old.depth; });
    if (asked == cells.end()) {
      others.push_back(std::move(old));
    } else {
      asked->samples = std::move(old.samples);
    }
  }
  return others;
}

std::vector<PasskeyCell> joined(std::vector<PasskeyCell> cells, const std::vector<PasskeyCell>& others) {
  cells.insert(cells.end(), others.begin(), others.end());
  std::ranges::sort(cells, {}, [](const PasskeyCell& cell) { return std::pair(cell.length, cell.depth); });
  return cells;
}

}  // namespace palimpsest
