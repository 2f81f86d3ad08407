// What a run's metrics.jsonl tells (docs/file-formats.md), as columns of numbers.
#pragma once

#include <cstdint>
#include <filesystem>
#include <istream>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace palimpsest {

/// sigmoid(beta) of every memory gate after a step, (layers, heads).
struct GateFrame {
  std::int64_t step = 0;
  std::vector<std::vector<double>> values;
};

/// Every logged step of a run. Numbers in objects have names like "sources.books". What follows from other columns
/// (perplexity, bits per token) is left out; what is not known yet is taken along.
struct RunHistory {
  std::vector<std::string> names;                   // of the columns, in the order in which they appear
  std::vector<std::vector<double>> columns;         // a number a step; not a number where the line has none
  std::vector<GateFrame> gates;                     // at most max_gate_frames, evenly spread over the run
  std::vector<nlohmann::ordered_json> evaluations;  // lines of kind "evaluation" without `kind`
  std::vector<nlohmann::ordered_json> summaries;    // and those of kind "rouge"

  static constexpr std::size_t max_gate_frames = 400;

  std::size_t steps() const { return columns.empty() ? 0 : columns.front().size(); }
  /// Null without such a column.
  const std::vector<double>* column(std::string_view name) const;
};

/// Reads the lines, of metrics.jsonl or gates.jsonl (until lately, gates stood in metrics.jsonl, too); `name` stands
/// for the file in messages. A last line without end is being written, and ignored, and so are lines of a kind that is
/// not known. Throws FileError with the number of the line that is damaged: no JSON, no object, without kind or step,
/// or a step that is not behind the one before.
RunHistory read_history(std::istream& lines, const std::string& name);

/// The same of a file. Throws FileError when it cannot be read.
RunHistory read_history(const std::filesystem::path& path);

/// Hours of training up to each step, without pauses: from `step_seconds`, or, where a line has none, from the tokens
/// and their rate. Not a number from where on neither is known.
std::vector<double> training_hours(const RunHistory& history);

}  // namespace palimpsest
