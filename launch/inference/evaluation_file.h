// A result of `palimpsest eval` read back from its JSON file (docs/file-formats.md, "Evaluation results").
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "launch/inference/document_scores.h"
#include "launch/inference/position_losses.h"

namespace palimpsest {

struct SavedEvaluation {
  std::filesystem::path path;
  std::int64_t step = 0;
  std::string data, data_checksum;
  bool complete = false;
  std::string memory;                   // "kept", "none" or "reset:4"
  std::int64_t window = 0, stride = 0;  // 0: whole documents
  std::vector<Score> documents;
  Score total;
  std::vector<PositionScore> by_position, by_position_in_segment, by_compressions;
};

/// Whether a JSON file beside the results of evaluations is meant to be one: it lists documents. Those of other
/// commands do not; a comparison counts them.
bool is_evaluation(const nlohmann::json& json);

/// Of the text of a file. Throws FileError, which starts with the path, when it is no result of an evaluation.
SavedEvaluation parse_evaluation(std::string_view text, const std::filesystem::path& path);

/// Throws FileError.
SavedEvaluation read_evaluation(const std::filesystem::path& path);

/// The newest complete result of documents read whole, the memory kept, of the token file `data`: that of the highest
/// step in the folder, among equals the first by name. The file may have been evaluated under another path: its results
/// are those with its checksum, and only without any, or where `checksum` is empty as the file is not there, those with
/// its path. Other results in the folder are passed over. Throws FileError when there is none, or a file that is no
/// JSON.
SavedEvaluation newest_evaluation(const std::filesystem::path& folder, const std::string& data,
                                  const std::string& checksum);

}  // namespace palimpsest
