// The results in a run's evaluation/ folder, sorted by what they are of.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace palimpsest {

struct EvaluationFiles {
  /// What `palimpsest eval` wrote: its object, with the file's name in front as `file`. Where the documents are many,
  /// `standard_error` of the total over them is there, computed here where the file has none.
  std::vector<nlohmann::ordered_json> scores;
  /// What `palimpsest passkey` wrote, likewise; of the samples only their number and that of the answers' tokens.
  std::vector<nlohmann::ordered_json> passkeys;
  /// What `palimpsest measure` wrote, likewise, without its list of queries.
  std::vector<nlohmann::ordered_json> searches;
  /// What `palimpsest rouge` wrote, likewise, without its list of texts.
  std::vector<nlohmann::ordered_json> rouges;
  /// Names of JSON files of another kind.
  std::vector<std::string> others;
};

/// By the files' names; nothing without such a folder. Throws FileError, naming the file, when one is no JSON or
/// lacks what its kind has to have.
EvaluationFiles read_evaluation_files(const std::filesystem::path& folder);

/// The standard errors, over documents, of a score that is a quotient of sums: `token_perplexity`, `word_perplexity`
/// and `bits_per_byte` by the delta method. Empty for fewer than two documents, or where one lacks a number.
nlohmann::ordered_json standard_errors_over(const nlohmann::json& documents);

}  // namespace palimpsest
