#include "launch/report/evaluation_files.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/io/json_file.h"

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

/// A quotient of two sums over documents, and the standard error of it.
struct Quotient {
  double value = 0, error = 0;
};

/// sum(nll) / sum(`key`); nothing where a document lacks one of the two.
std::optional<Quotient> quotient_over(const nlohmann::json& documents, const char* key) {
  std::vector<std::pair<double, double>> terms;
  double losses = 0, units = 0;
  for (const nlohmann::json& document : documents) {
    const nlohmann::json *loss = find(document, "negative_log_likelihood"), *unit = find(document, key);
    if (loss == nullptr || unit == nullptr || !loss->is_number() || !unit->is_number()) return std::nullopt;
    terms.emplace_back(loss->get<double>(), unit->get<double>());
    losses += terms.back().first;
    units += terms.back().second;
  }
  if (terms.size() < 2 || units <= 0) return std::nullopt;
  const double value = losses / units;
  double squares = 0;
  for (const auto& [loss, unit] : terms) squares += (loss - value * unit) * (loss - value * unit);
  const auto count = static_cast<double>(terms.size());
  return Quotient{value, std::sqrt(count / (count - 1) * squares) / units};
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

}  // namespace

nlohmann::ordered_json standard_errors_over(const nlohmann::json& documents) {
  nlohmann::ordered_json errors = nlohmann::ordered_json::object();
  if (const auto tokens = quotient_over(documents, "tokens")) {
    errors["token_perplexity"] = std::exp(tokens->value) * tokens->error;
  }
  if (const auto words = quotient_over(documents, "words")) {
    errors["word_perplexity"] = std::exp(words->value) * words->error;
  }
  if (const auto bytes = quotient_over(documents, "bytes")) errors["bits_per_byte"] = bytes->error / std::log(2.0);
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
    } else {
      files.others.push_back(path.filename().string());
    }
  }
  return files;
}

}  // namespace palimpsest
