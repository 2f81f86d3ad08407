#include "launch/report/evaluation_files.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/io/json_file.h"
#include "launch/inference/standard_errors.h"
#include "launch/measures/ranking_measures.h"
#include "launch/measures/rouge.h"

namespace palimpsest {

namespace {

const nlohmann::json* find(const nlohmann::json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found == object.end() ? nullptr : &*found;
}

/// The member `key` of the type that `is` asks for. Throws FileError.
const nlohmann::json& expect(const nlohmann::json& object, const char* key, bool (nlohmann::json::*is)() const noexcept,
                             const char* type, const std::string& name) {
  const nlohmann::json* found = find(object, key);
  if (found == nullptr || !(found->*is)()) {
    throw FileError(fmt::format("{}: \"{}\" is {}, expected {}", name, key,
                                found == nullptr ? "missing" : std::string("a ") + found->type_name(), type));
  }
  return *found;
}

/// sum(nll) / sum(`key`) with its standard error; nothing of fewer than two documents, or where one lacks a number.
std::optional<RatioEstimate> ratio_over(const nlohmann::json& documents, const char* key) {
  std::vector<double> losses, units;
  for (const nlohmann::json& document : documents) {
    const nlohmann::json *loss = find(document, "negative_log_likelihood"), *unit = find(document, key);
    if (loss == nullptr || unit == nullptr || !loss->is_number() || !unit->is_number()) return std::nullopt;
    losses.push_back(loss->get<double>());
    units.push_back(unit->get<double>());
  }
  if (units.size() < 2 || std::accumulate(units.begin(), units.end(), 0.0) <= 0) return std::nullopt;
  return estimate_ratio(losses, units);
}

nlohmann::ordered_json with_name(const std::string& file, const nlohmann::json& object) {
  nlohmann::ordered_json named = {{"file", file}};
  for (const auto& [key, value] : object.items()) named[key] = value;
  return named;
}

nlohmann::ordered_json score_of(const std::string& file, const nlohmann::json& json, const std::string& name) {
  const nlohmann::json& total = expect(json, "total", &nlohmann::json::is_object, "an object", name);
  for (const char* list : {"documents", "by_position", "by_position_in_segment", "by_compressions"}) {
    if (find(json, list) != nullptr) expect(json, list, &nlohmann::json::is_array, "a list", name);
  }
  nlohmann::ordered_json score = with_name(file, json);
  if (find(total, "standard_error") == nullptr && json.contains("documents")) {
    score["total"]["standard_error"] = standard_errors_over(json.at("documents"));
  }
  return score;
}

/// Samples are counted, not listed.
nlohmann::ordered_json passkey_of(const std::string& file, const nlohmann::json& json, const std::string& name) {
  nlohmann::json counted = json;
  for (nlohmann::json& cell : counted.at("cells")) {
    for (const char* key : {"length", "depth"}) expect(cell, key, &nlohmann::json::is_number, "a number", name);
    expect(cell, "exact_match", &nlohmann::json::is_object, "an object", name);
    const nlohmann::json& samples = expect(cell, "samples", &nlohmann::json::is_array, "a list", name);
    std::int64_t tokens = 0;
    for (const nlohmann::json& sample : samples) {
      if (const nlohmann::json* count = find(sample, "tokens"); count != nullptr && count->is_number_integer()) {
        tokens += count->get<std::int64_t>();
      }
    }
    cell["tokens"] = tokens;
    cell["samples"] = samples.size();
  }
  return with_name(file, counted);
}

/// Of each of these members, a mean and its interval. Throws FileError.
template <typename Keys>
void expect_estimates(const nlohmann::json& object, const Keys& keys, const std::string& name) {
  for (const std::string_view key : keys) {
    const nlohmann::json& estimate =
        expect(object, std::string(key).c_str(), &nlohmann::json::is_object, "an object", name);
    for (const char* part : {"mean", "low", "high"})
      expect(estimate, part, &nlohmann::json::is_number, "a number", name);
  }
}

/// The means of one or two rankings, and their difference.
nlohmann::ordered_json search_of(const std::string& file, const nlohmann::json& json, const std::string& name) {
  expect(json, "queries", &nlohmann::json::is_number, "a number", name);
  for (const nlohmann::json& run : json.at("runs")) {
    expect(run, "run", &nlohmann::json::is_string, "a text", name);
    expect_estimates(run, ranking_measure_names, name);
  }
  if (find(json, "difference") != nullptr) expect_estimates(json.at("difference"), ranking_measure_names, name);
  nlohmann::ordered_json search = with_name(file, json);
  search.erase("by_query");
  return search;
}

nlohmann::ordered_json rouge_of(const std::string& file, const nlohmann::json& json, const std::string& name) {
  expect(json, "texts", &nlohmann::json::is_number, "a number", name);
  for (const std::string_view measure : rouge_names) {
    const nlohmann::json& scores =
        expect(json, std::string(measure).c_str(), &nlohmann::json::is_object, "an object", name);
    expect_estimates(scores, rouge_parts, name);
  }
  nlohmann::ordered_json rouge = with_name(file, json);
  rouge.erase("by_text");
  return rouge;
}

}  // namespace

nlohmann::ordered_json standard_errors_over(const nlohmann::json& documents) {
  nlohmann::ordered_json errors = nlohmann::ordered_json::object();
  for (const auto& [units, measure] :
       {std::pair{"tokens", "token_perplexity"}, std::pair{"words", "word_perplexity"}}) {
    if (const auto estimate = ratio_over(documents, units)) {
      errors[measure] = std::exp(estimate->ratio) * *estimate->standard_error;
    }
  }
  if (const auto bytes = ratio_over(documents, "bytes")) {
    errors["bits_per_byte"] = *bytes->standard_error / std::log(2.0);
  }
  return errors;
}

EvaluationFiles read_evaluation_files(const std::filesystem::path& folder) {
  EvaluationFiles files;
  std::vector<std::filesystem::path> paths;
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) return files;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() == ".json" && !name.starts_with(".")) paths.push_back(entry.path());
  }
  if (error) throw FileError(fmt::format("{}: cannot be read: {}", folder.string(), error.message()));
  std::ranges::sort(paths, {}, [](const std::filesystem::path& path) { return path.stem().string(); });
  for (const std::filesystem::path& path : paths) {
    const nlohmann::json json = parse_json(read_text_file(path), path.string());
    const std::string file = path.stem().string();
    if (find(json, "total") != nullptr) {
      files.scores.push_back(score_of(file, json, path.string()));
    } else if (const nlohmann::json* cells = find(json, "cells"); cells != nullptr && cells->is_array()) {
      files.passkeys.push_back(passkey_of(file, json, path.string()));
    } else if (const nlohmann::json* runs = find(json, "runs");
               runs != nullptr && runs->is_array() && find(json, "judged") != nullptr) {
      files.searches.push_back(search_of(file, json, path.string()));
    } else if (find(json, "by_text") != nullptr) {
      files.rouges.push_back(rouge_of(file, json, path.string()));
    } else {
      files.others.push_back(path.filename().string());
    }
  }
  return files;
}

}  // namespace palimpsest
