#include "launch/inference/evaluation_file.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/io/json_file.h"
#include "core/printable.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t most = std::int64_t{1} << 38;  // sums of as many as fit into a file stay far from an overflow

[[noreturn]] void fail(const std::string& path, const std::string& problem) {
  throw FileError(fmt::format("{}: is no result of an evaluation: {}", path, printable(problem)));
}

class Reader {
 public:
  explicit Reader(std::string path) : path_(std::move(path)) {}

  std::int64_t count(const nlohmann::json& object, const char* key) const {
    const nlohmann::json& value = object.at(key);
    const bool whole = value.is_number_unsigned() || (value.is_number_integer() && value.get<std::int64_t>() >= 0);
    if (!whole || value.get<std::uint64_t>() > static_cast<std::uint64_t>(most)) {
      fail(path_, fmt::format("{} is {}, expected a whole number from 0 to {}", key, value.dump(), most));
    }
    return value.get<std::int64_t>();
  }

  double number(const nlohmann::json& object, const char* key) const {
    const nlohmann::json& value = object.at(key);
    if (!value.is_number() || !std::isfinite(value.get<double>())) {
      fail(path_, fmt::format("{} is {}, expected a number", key, value.dump()));
    }
    return value.get<double>();
  }

  std::vector<Score> documents(const nlohmann::json& list) const {
    std::vector<Score> scores;
    for (const nlohmann::json& document : array(list)) {
      scores.push_back({document.at("name").get<std::string>(), count(document, "tokens"), count(document, "words"),
                        count(document, "bytes"), number(document, "negative_log_likelihood")});
    }
    return scores;
  }

  /// Nothing where the key is missing: results of earlier versions have fewer of these lists.
  std::vector<PositionScore> positions(const nlohmann::json& json, const char* key) const {
    std::vector<PositionScore> scores;
    if (!json.contains(key)) return scores;
    for (const nlohmann::json& range : array(json.at(key))) {
      scores.push_back({count(range, "begin"), count(range, "end"), count(range, "tokens"),
                        number(range, "negative_log_likelihood")});
    }
    return scores;
  }

 private:
  const nlohmann::json& array(const nlohmann::json& list) const {
    if (!list.is_array()) fail(path_, "a list was expected where there is " + list.dump());
    return list;
  }

  std::string path_;
};

SavedEvaluation from_json(const nlohmann::json& json, const fs::path& path) {
  const Reader reader(path.string());
  try {
    SavedEvaluation saved;
    saved.path = path;
    saved.step = reader.count(json, "step");
    saved.data = json.at("data").get<std::string>();
    saved.data_checksum = json.at("data_checksum").get<std::string>();
    saved.complete = json.at("complete").get<bool>();
    saved.memory = json.value("memory", "kept");
    if (json.contains("window")) {
      saved.window = reader.count(json, "window");
      saved.stride = reader.count(json, "stride");
    }
    saved.documents = reader.documents(json.at("documents"));
    for (const Score& document : saved.documents) saved.total.add(document);
    saved.by_position = reader.positions(json, "by_position");
    saved.by_position_in_segment = reader.positions(json, "by_position_in_segment");
    saved.by_compressions = reader.positions(json, "by_compressions");
    return saved;
  } catch (const nlohmann::json::exception& error) {
    fail(path.string(), error.what());
  }
}

}  // namespace

bool is_evaluation(const nlohmann::json& json) {
  return json.is_object() && json.contains("documents") && json.at("documents").is_array();
}

SavedEvaluation parse_evaluation(std::string_view text, const fs::path& path) {
  return from_json(parse_json(text, path.string()), path);
}

SavedEvaluation read_evaluation(const fs::path& path) { return parse_evaluation(read_text_file(path), path); }

SavedEvaluation newest_evaluation(const fs::path& folder, const std::string& data, const std::string& checksum) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->path().extension() == ".json") files.push_back(entry->path());
  }
  std::ranges::sort(files);
  const auto same = [&](const SavedEvaluation& saved) { return !checksum.empty() && saved.data_checksum == checksum; };
  std::optional<SavedEvaluation> newest;
  for (const fs::path& file : files) {
    const nlohmann::json json = parse_json(read_text_file(file), file.string());
    if (!is_evaluation(json)) continue;
    SavedEvaluation saved = from_json(json, file);
    const bool plain = saved.complete && saved.memory == "kept" && saved.window == 0;
    if (!plain || (!same(saved) && saved.data != data)) continue;
    if (!newest || std::pair(same(saved), saved.step) > std::pair(same(*newest), newest->step)) {
      newest = std::move(saved);
    }
  }
  if (!newest) {
    throw FileError(
        fmt::format("{}: holds no complete result of {}; palimpsest eval writes one", folder.string(), data));
  }
  return std::move(*newest);
}

}  // namespace palimpsest
