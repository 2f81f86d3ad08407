#include "launch/report/collection.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "configs/yaml_tree.h"
#include "core/error.h"
#include "core/io/json_file.h"
#include "launch/report/thinning.h"
#include "launch/training/metrics.h"
#include "launch/training/run_directory.h"

namespace palimpsest {

namespace {

using Settings = std::vector<std::pair<std::string, std::string>>;

/// Every key with its value, sections joined by dots. A list's items are numbered.
void flatten(const YamlNode& node, const std::string& name, Settings& settings) {
  if (node.kind == YamlNode::Kind::scalar) settings.emplace_back(name, node.scalar.text);
  if (node.children.empty() && node.kind != YamlNode::Kind::scalar && !name.empty()) settings.emplace_back(name, "");
  int number = 0;
  for (const YamlNode& child : node.children) {
    const std::string key = node.kind == YamlNode::Kind::list ? fmt::format("{}", ++number) : child.key;
    flatten(child, name.empty() ? key : fmt::format("{}.{}", name, key), settings);
  }
}

RunRecord read_run(const std::filesystem::path& path) {
  const RunDirectory directory(path);
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) {
    throw FileError(fmt::format("{}: is no run directory", path.string()));
  }
  RunRecord run;
  run.path = path;
  if (std::filesystem::exists(directory.config(), error)) {
    flatten(read_yaml(read_text_file(directory.config()), directory.config().string()), "", run.settings);
  }
  const bool trained = std::filesystem::exists(directory.metrics(), error);
  if (trained) run.history = read_history(directory.metrics());
  if (std::filesystem::exists(gates_beside(directory.metrics()), error)) {
    std::vector<GateFrame>& gates = run.history.gates;
    for (GateFrame& frame : read_history(gates_beside(directory.metrics())).gates) {
      if (gates.empty() || gates.back().step < frame.step) gates.push_back(std::move(frame));
    }
  }
  run.hours = training_hours(run.history);
  run.evaluations = read_evaluation_files(directory.evaluation());
  const EvaluationFiles& results = run.evaluations;
  const bool evaluated =
      !results.scores.empty() || !results.passkeys.empty() || !results.searches.empty() || !results.rouges.empty();
  if (run.history.steps() == 0 && run.history.evaluations.empty() && !evaluated) {
    throw FileError(trained ? fmt::format("{}: has no logged step yet", directory.metrics().string())
                            : fmt::format("{}: holds neither metrics.jsonl nor results in evaluation/", path.string()));
  }
  return run;
}

/// The last parts of the paths: as many as tell them apart; a path that is given twice gets a number.
void name_runs(std::vector<RunRecord>& runs) {
  std::size_t parts = 1, most = 1;
  const auto tail = [](const std::filesystem::path& path, std::size_t count) {
    const std::vector<std::filesystem::path> all(path.begin(), path.end());
    std::filesystem::path name;
    for (std::size_t i = all.size() - std::min(count, all.size()); i < all.size(); ++i) name /= all[i];
    return name.string();
  };
  std::vector<std::filesystem::path> paths;
  for (const RunRecord& run : runs) {
    auto path = std::filesystem::absolute(run.path).lexically_normal();
    if (!path.has_filename()) path = path.parent_path();
    most = std::max(most, static_cast<std::size_t>(std::distance(path.begin(), path.end())));
    paths.push_back(std::move(path));
  }
  for (; parts < most; ++parts) {
    std::set<std::string> names;
    for (const auto& path : paths) names.insert(tail(path, parts));
    if (names.size() == runs.size()) break;
  }
  std::set<std::string> taken;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const std::string name = tail(paths[i], parts);
    runs[i].name = name;
    for (int number = 2; !taken.insert(runs[i].name).second; ++number)
      runs[i].name = fmt::format("{} ({})", name, number);
  }
}

/// Seven digits are more than any figure shows, and half as long as all of them.
nlohmann::ordered_json rounded(double value) {
  if (!std::isfinite(value)) return nullptr;
  if (value == std::floor(value) && std::abs(value) < 1e15) return static_cast<std::int64_t>(value);
  const std::string text = fmt::format("{:.7g}", value);
  double shorter = value;
  std::from_chars(text.data(), text.data() + text.size(), shorter);
  return shorter;
}

nlohmann::ordered_json at(const std::vector<double>& column, const std::vector<std::size_t>& steps) {
  nlohmann::ordered_json values = nlohmann::ordered_json::array();
  for (const std::size_t step : steps) values.push_back(rounded(column[step]));
  return values;
}

nlohmann::ordered_json gates_of(const RunHistory& history, std::size_t max_gates) {
  nlohmann::ordered_json steps = nlohmann::ordered_json::array(), frames = nlohmann::ordered_json::array();
  if (history.gates.empty()) return {{"steps", steps}, {"values", frames}};
  std::size_t numbers = 0;
  for (const auto& layer : history.gates.back().values) numbers += layer.size();
  const std::size_t limit = std::max<std::size_t>(2, max_gates / std::max<std::size_t>(1, numbers));
  for (const std::size_t i : evenly_spread(history.gates.size(), limit)) {
    steps.push_back(history.gates[i].step);
    nlohmann::ordered_json frame = nlohmann::ordered_json::array();
    for (const auto& layer : history.gates[i].values) {
      frame.emplace_back(nlohmann::ordered_json::array());
      for (const double gate : layer) frame.back().push_back(rounded(std::round(gate * 1e4) / 1e4));
    }
    frames.push_back(std::move(frame));
  }
  return {{"steps", steps}, {"values", frames}};
}

nlohmann::ordered_json to_report(const RunRecord& run, std::size_t max_steps, std::size_t max_gates) {
  const std::vector<std::size_t> steps = thinned_steps(run.history, max_steps);
  nlohmann::ordered_json columns = nlohmann::ordered_json::object(), settings = nlohmann::ordered_json::object();
  for (std::size_t i = 0; i < run.history.names.size(); ++i) {
    columns[run.history.names[i]] = at(run.history.columns[i], steps);
  }
  columns["hours"] = at(run.hours, steps);
  for (const auto& [key, value] : run.settings) settings[key] = value;
  return {{"name", run.name},
          {"path", run.path.string()},
          {"logged_steps", run.history.steps()},
          {"columns", std::move(columns)},
          {"gates", gates_of(run.history, max_gates)},
          {"validation", run.history.evaluations},
          {"summaries", run.history.summaries},
          {"scores", run.evaluations.scores},
          {"passkeys", run.evaluations.passkeys},
          {"searches", run.evaluations.searches},
          {"rouges", run.evaluations.rouges},
          {"others", run.evaluations.others},
          {"settings", std::move(settings)}};
}

}  // namespace

std::vector<RunRecord> read_runs(const std::vector<std::filesystem::path>& paths) {
  std::vector<RunRecord> runs;
  runs.reserve(paths.size());
  for (const std::filesystem::path& path : paths) runs.push_back(read_run(path));
  name_runs(runs);
  return runs;
}

nlohmann::ordered_json to_report(const std::vector<RunRecord>& runs, std::size_t max_steps, std::size_t max_gates) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const RunRecord& run : runs) list.push_back(to_report(run, max_steps, max_gates));
  return {{"runs", std::move(list)}};
}

}  // namespace palimpsest
