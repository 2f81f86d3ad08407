#include "launch/report/run_history.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/io/json_file.h"

namespace palimpsest {

namespace {

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

/// Not columns: what stands elsewhere or follows from other columns.
bool is_left_out(const std::string& key) {
  static const std::set<std::string> keys = {"kind", "gates", "perplexity", "bits_per_token"};
  return keys.contains(key);
}

std::optional<std::vector<std::vector<double>>> gates_in(const nlohmann::json& line) {
  const auto found = line.find("gates");
  if (found == line.end() || !found->is_array() || found->empty()) return std::nullopt;
  std::vector<std::vector<double>> gates;
  for (const nlohmann::json& layer : *found) {
    if (!layer.is_array()) return std::nullopt;
    gates.emplace_back();
    for (const nlohmann::json& gate : layer) gates.back().push_back(gate.is_number() ? gate.get<double>() : unknown);
  }
  return gates;
}

/// Takes lines one by one, and keeps of the gates no more than are shown.
class Reader {
 public:
  void add(const nlohmann::json& line, const std::string& name) {
    const std::string kind = text_of(line, "kind", name);
    const auto step = line.find("step");
    if (step == line.end() || !step->is_number_integer()) {
      throw FileError(fmt::format("{}: \"step\" is {}, expected a whole number", name,
                                  step == line.end() ? "missing" : step->dump()));
    }
    if (kind == "step") {
      add_step(line, step->get<std::int64_t>(), name);
    } else if (kind == "evaluation") {
      history_.evaluations.push_back(without_kind(line));
    } else if (kind == "rouge") {
      history_.summaries.push_back(without_kind(line));
    } else if (auto gates = gates_in(line); gates && kind == "gates") {
      add_gates({step->get<std::int64_t>(), std::move(*gates)});
    }
  }

  RunHistory take() { return std::move(history_); }

 private:
  static std::string text_of(const nlohmann::json& line, const char* key, const std::string& name) {
    const auto found = line.is_object() ? line.find(key) : line.end();
    if (found == line.end() || !found->is_string()) {
      throw FileError(fmt::format("{}: expected an object with the text \"{}\"", name, key));
    }
    return found->get<std::string>();
  }

  void add_step(const nlohmann::json& line, std::int64_t step, const std::string& name) {
    if (rows_ > 0 && step <= last_step_) {
      throw FileError(fmt::format("{}: step {} follows step {}", name, step, last_step_));
    }
    last_step_ = step;
    ++rows_;
    set("step", static_cast<double>(step));
    for (const auto& [key, value] : line.items()) {
      if (is_left_out(key) || key == "step") continue;
      if (value.is_number() || value.is_null()) set(key, value.is_null() ? unknown : value.get<double>());
      if (!value.is_object()) continue;
      const nlohmann::json flat = value.flatten();
      for (const auto& [inner, number] : flat.items()) {
        if (number.is_number()) set(key + dotted(inner), number.get<double>());
      }
    }
    for (std::vector<double>& column : history_.columns) column.resize(rows_, unknown);
    if (auto gates = gates_in(line)) add_gates({step, std::move(*gates)});
  }

  /// "/books/loss" as ".books.loss".
  static std::string dotted(std::string pointer) {
    std::ranges::replace(pointer, '/', '.');
    return pointer;
  }

  void set(const std::string& name, double value) {
    const auto [place, is_new] = places_.emplace(name, history_.columns.size());
    if (is_new) {
      history_.names.push_back(name);
      history_.columns.emplace_back();
    }
    std::vector<double>& column = history_.columns[place->second];
    column.resize(rows_ - 1, unknown);
    column.push_back(value);
  }

  static nlohmann::ordered_json without_kind(const nlohmann::json& line) {
    nlohmann::ordered_json content;
    for (const auto& [key, value] : line.items()) {
      if (key != "kind") content[key] = value;
    }
    return content;
  }

  /// Every `stride_`-th frame; when there are too many, every other of them goes.
  void add_gates(GateFrame frame) {
    if (frames_++ % stride_ != 0) return;
    std::vector<GateFrame>& kept = history_.gates;
    if (kept.size() == RunHistory::max_gate_frames) {
      for (std::size_t i = 1; 2 * i < kept.size(); ++i) kept[i] = std::move(kept[2 * i]);
      kept.resize((kept.size() + 1) / 2);
      stride_ *= 2;
    }
    kept.push_back(std::move(frame));
  }

  RunHistory history_;
  std::unordered_map<std::string, std::size_t> places_;
  std::size_t rows_ = 0;
  std::int64_t last_step_ = 0;
  std::size_t frames_ = 0, stride_ = 1;
};

}  // namespace

const std::vector<double>* RunHistory::column(std::string_view name) const {
  const auto found = std::ranges::find(names, name);
  return found == names.end() ? nullptr : &columns[static_cast<std::size_t>(found - names.begin())];
}

RunHistory read_history(std::istream& lines, const std::string& name) {
  Reader reader;
  std::int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    if (lines.eof()) break;  // without an end: it is being written
    const std::string place = fmt::format("{}:{}", name, ++number);
    reader.add(parse_json(line, place), place);
  }
  if (lines.bad()) throw FileError(fmt::format("{}: cannot be read: {}", name, std::strerror(errno)));
  return reader.take();
}

RunHistory read_history(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw FileError(fmt::format("{}: cannot be read: {}", path.string(), std::strerror(errno)));
  return read_history(file, path.string());
}

std::vector<double> training_hours(const RunHistory& history) {
  const std::vector<double>* step = history.column("step");
  const std::vector<double>* tokens = history.column("tokens");
  const std::vector<double>* seconds = history.column("step_seconds");
  const std::vector<double>* rate = history.column("tokens_per_second");
  std::vector<double> hours;
  double sum = 0, last_step = 0, last_tokens = 0;
  for (std::size_t i = 0; i < history.steps(); ++i) {
    const double by_steps = seconds != nullptr ? ((*step)[i] - last_step) * (*seconds)[i] : unknown;
    const double by_tokens =
        tokens != nullptr && rate != nullptr && (*rate)[i] > 0 ? ((*tokens)[i] - last_tokens) / (*rate)[i] : unknown;
    sum += std::isfinite(by_steps) ? by_steps : by_tokens;
    hours.push_back(sum / 3600);
    last_step = (*step)[i];
    if (tokens != nullptr) last_tokens = (*tokens)[i];
  }
  return hours;
}

}  // namespace palimpsest
