#include "launch/report/csv.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "launch/measures/ranking_measures.h"
#include "launch/measures/rouge.h"
#include "launch/output/csv.h"

namespace palimpsest {

namespace {

using Row = std::vector<std::string>;

std::string number(double value) { return std::isfinite(value) ? fmt::format("{}", value) : ""; }

/// The member at the end of `keys` as a field; empty without one.
std::string member(const nlohmann::ordered_json& object, const std::vector<std::string>& keys) {
  const nlohmann::ordered_json* value = &object;
  for (const std::string& key : keys) {
    if (!value->is_object() || !value->contains(key)) return "";
    value = &value->at(key);
  }
  if (value->is_string()) return value->get<std::string>();
  return value->is_primitive() && !value->is_null() ? value->dump() : "";
}

Row members(const nlohmann::ordered_json& object, std::initializer_list<std::vector<std::string>> paths) {
  Row row;
  for (const auto& path : paths) row.push_back(member(object, path));
  return row;
}

class Table {
 public:
  explicit Table(const Row& heading) : text_(format_csv({heading})) {}

  void add(Row row, const Row& more = {}) {
    row.insert(row.end(), more.begin(), more.end());
    text_ += format_csv({row});
    empty_ = false;
  }

  /// Where there is a row.
  void finish(const std::string& name, std::vector<CsvFile>& files) && {
    if (!empty_) files.push_back({name, std::move(text_)});
  }

 private:
  std::string text_;
  bool empty_ = true;
};

void add_steps(const std::vector<RunRecord>& runs, std::vector<CsvFile>& files) {
  Row names;
  for (const RunRecord& run : runs) {
    for (const std::string& name : run.history.names) {
      if (std::ranges::find(names, name) == names.end()) names.push_back(name);
    }
  }
  Row heading = {"run", "hours"};
  heading.insert(heading.end(), names.begin(), names.end());
  Table table(heading);
  for (const RunRecord& run : runs) {
    for (std::size_t step = 0; step < run.history.steps(); ++step) {
      Row row = {run.name, number(run.hours[step])};
      for (const std::string& name : names) {
        const std::vector<double>* column = run.history.column(name);
        row.push_back(column == nullptr ? "" : number((*column)[step]));
      }
      table.add(std::move(row));
    }
  }
  std::move(table).finish("steps.csv", files);
}

void add_gates(const std::vector<RunRecord>& runs, std::vector<CsvFile>& files) {
  Table table({"run", "step", "layer", "head", "gate"});
  for (const RunRecord& run : runs) {
    for (const GateFrame& frame : run.history.gates) {
      for (std::size_t layer = 0; layer < frame.values.size(); ++layer) {
        for (std::size_t head = 0; head < frame.values[layer].size(); ++head) {
          table.add({run.name, fmt::format("{}", frame.step), fmt::format("{}", layer), fmt::format("{}", head),
                     number(frame.values[layer][head])});
        }
      }
    }
  }
  std::move(table).finish("gates.csv", files);
}

const std::vector<std::string> score_keys = {
    "tokens", "words", "bytes", "negative_log_likelihood", "token_perplexity", "word_perplexity", "bits_per_byte"};

Row score_row(const nlohmann::ordered_json& score) {
  Row row;
  for (const std::string& key : score_keys) row.push_back(member(score, {key}));
  return row;
}

Row with(Row heading, std::span<const std::string> more) {
  heading.insert(heading.end(), more.begin(), more.end());
  return heading;
}

void add_scores(const std::vector<RunRecord>& runs, std::vector<CsvFile>& files) {
  Table validation(with({"run", "step", "split", "loss", "forgetting"}, score_keys));
  Table totals(with({"run", "result", "step", "memory", "window", "stride", "complete", "token_perplexity_error",
                     "word_perplexity_error", "bits_per_byte_error"},
                    score_keys));
  Table documents(with({"run", "result", "document"}, score_keys));
  Table positions({"run", "result", "of", "begin", "end", "tokens", "negative_log_likelihood"});
  for (const RunRecord& run : runs) {
    for (const auto& line : run.history.evaluations) {
      Row row = {run.name};
      for (const char* key : {"step", "split", "loss", "forgetting"}) row.push_back(member(line, {key}));
      validation.add(std::move(row), score_row(line));
    }
    for (const auto& score : run.evaluations.scores) {
      const std::string file = member(score, {"file"});
      Row row = {run.name, file};
      const Row facts = members(score, {{"step"},
                                        {"memory"},
                                        {"window"},
                                        {"stride"},
                                        {"complete"},
                                        {"total", "standard_error", "token_perplexity"},
                                        {"total", "standard_error", "word_perplexity"},
                                        {"total", "standard_error", "bits_per_byte"}});
      row.insert(row.end(), facts.begin(), facts.end());
      totals.add(std::move(row), score_row(score.at("total")));
      if (score.contains("documents")) {
        for (const auto& document : score.at("documents")) {
          documents.add({run.name, file, member(document, {"name"})}, score_row(document));
        }
      }
      for (const char* list : {"by_position", "by_position_in_segment", "by_compressions"}) {
        if (!score.contains(list)) continue;
        for (const auto& bucket : score.at(list)) {
          positions.add({run.name, file, list},
                        members(bucket, {{"begin"}, {"end"}, {"tokens"}, {"negative_log_likelihood"}}));
        }
      }
    }
  }
  std::move(validation).finish("validation.csv", files);
  std::move(totals).finish("evaluations.csv", files);
  std::move(documents).finish("documents.csv", files);
  std::move(positions).finish("positions.csv", files);
}

void add_summaries(const std::vector<RunRecord>& runs, std::vector<CsvFile>& files) {
  Table table({"run", "step", "pairs", "tokens", "measure", "recall", "precision", "f1"});
  for (const RunRecord& run : runs) {
    for (const auto& line : run.history.summaries) {
      for (const auto& [key, value] : line.items()) {
        if (!value.is_object()) continue;
        Row row = {run.name};
        for (const char* fact : {"step", "pairs", "tokens"}) row.push_back(member(line, {fact}));
        row.push_back(key);
        table.add(std::move(row), members(value, {{"recall"}, {"precision"}, {"f1"}}));
      }
    }
  }
  std::move(table).finish("rouge.csv", files);
}

void add_passkeys(const std::vector<RunRecord>& runs, std::vector<CsvFile>& files) {
  const std::vector<std::string> shares = {"exact_match", "token_accuracy", "exact_match_without_memory",
                                           "token_accuracy_without_memory"};
  Row heading = {"run", "result", "length", "depth", "samples"};
  for (const std::string& share : shares) {
    for (const char* end : {"", "_low", "_high"}) heading.push_back(share + end);
  }
  Table table(heading);
  for (const RunRecord& run : runs) {
    for (const auto& passkey : run.evaluations.passkeys) {
      for (const auto& cell : passkey.at("cells")) {
        Row row = {run.name, member(passkey, {"file"})};
        for (const char* key : {"length", "depth", "samples"}) row.push_back(member(cell, {key}));
        for (const std::string& share : shares) {
          for (const char* part : {"share", "low", "high"}) row.push_back(member(cell, {share, part}));
        }
        table.add(std::move(row));
      }
    }
  }
  std::move(table).finish("passkey.csv", files);
}

void add_rouges(const std::vector<RunRecord>& runs, std::vector<CsvFile>& files) {
  Row heading = {"run", "result", "texts", "measure"};
  for (const std::string_view part : rouge_parts) {
    for (const char* end : {"", "_low", "_high"}) heading.push_back(std::string(part) + end);
  }
  Table table(heading);
  for (const RunRecord& run : runs) {
    for (const auto& rouge : run.evaluations.rouges) {
      for (const std::string_view measure : rouge_names) {
        Row row = {run.name, member(rouge, {"file"}), member(rouge, {"texts"}), std::string(measure)};
        for (const std::string_view part : rouge_parts) {
          for (const char* end : {"mean", "low", "high"}) {
            row.push_back(member(rouge, {std::string(measure), std::string(part), end}));
          }
        }
        table.add(std::move(row));
      }
    }
  }
  std::move(table).finish("rouge_results.csv", files);
}

/// The second run less the first stands below them as `difference`.
void add_searches(const std::vector<RunRecord>& runs, std::vector<CsvFile>& files) {
  Table table({"run", "result", "queries", "search", "measure", "mean", "low", "high", "p", "better", "worse"});
  for (const RunRecord& run : runs) {
    for (const auto& search : run.evaluations.searches) {
      const auto add = [&](const std::string& name, const nlohmann::ordered_json& measures) {
        for (const std::string_view measure : ranking_measure_names) {
          const std::string key(measure);
          table.add({run.name, member(search, {"file"}), member(search, {"queries"}), name, key},
                    members(measures.at(key), {{"mean"}, {"low"}, {"high"}, {"p"}, {"better"}, {"worse"}}));
        }
      };
      for (const auto& found : search.at("runs")) add(member(found, {"run"}), found);
      if (search.contains("difference")) add("difference", search.at("difference"));
    }
  }
  std::move(table).finish("search.csv", files);
}

void add_settings(const std::vector<RunRecord>& runs, std::vector<CsvFile>& files) {
  Table table({"run", "key", "value"});
  for (const RunRecord& run : runs) {
    for (const auto& [key, value] : run.settings) table.add({run.name, key, value});
  }
  std::move(table).finish("configuration.csv", files);
}

}  // namespace

std::vector<CsvFile> to_csv(const std::vector<RunRecord>& runs) {
  std::vector<CsvFile> files;
  add_steps(runs, files);
  add_gates(runs, files);
  add_scores(runs, files);
  add_summaries(runs, files);
  add_rouges(runs, files);
  add_passkeys(runs, files);
  add_searches(runs, files);
  add_settings(runs, files);
  return files;
}

}  // namespace palimpsest
