#include "launch/report.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include <fmt/format.h>

#include "launch/output/progress.h"

namespace palimpsest {

namespace {

/// More documents than that are only in the JSON result.
constexpr std::size_t max_table_documents = 50;

std::vector<std::string> score_row(const std::string& name, const Score& score) {
  return {name,
          fmt::format("{}", score.tokens),
          fmt::format("{}", score.words),
          fmt::format("{:.4f}", score.token_perplexity()),
          fmt::format("{:.2f}", score.word_perplexity()),
          fmt::format("{:.4f}", score.bits_per_byte())};
}

}  // namespace

std::string format_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string table;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += i == 0 ? fmt::format("{:<{}}", row[i], widths[i]) : fmt::format("  {:>{}}", row[i], widths[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    table += line + '\n';
  }
  return table;
}

std::string format_step(const StepMetrics& step, std::int64_t total_steps, double seconds_left) {
  return fmt::format(
      "step {}/{}  loss {:.4f}  ppl {:.2f}  bits/token {:.3f}  {} tokens/s  lr {:.2e}  grad {:.3f}  ETA {}", step.step,
      total_steps, step.loss, std::exp(step.loss), step.loss / std::log(2.0), format_count(step.tokens_per_second),
      step.learning_rate, step.gradient_norm, format_duration(seconds_left));
}

std::string format_evaluation(const EvaluationResult& result) {
  std::vector<std::vector<std::string>> rows = {
      {"document", "tokens", "words", "token perplexity", "word perplexity", "bits per byte"}};
  if (result.documents.size() <= max_table_documents) {
    for (const Score& document : result.documents) rows.push_back(score_row(document.name, document));
  }
  rows.push_back(score_row(fmt::format("all {} documents", result.documents.size()), result.total));
  return format_table(rows);
}

std::string format_score(const Score& score) {
  return fmt::format("token perplexity {:.4f}, word perplexity {:.2f}, bits per byte {:.4f}", score.token_perplexity(),
                     score.word_perplexity(), score.bits_per_byte());
}

nlohmann::ordered_json to_json(const Score& score) {
  return {{"name", score.name},
          {"tokens", score.tokens},
          {"words", score.words},
          {"bytes", score.bytes},
          {"negative_log_likelihood", score.nll},
          {"token_perplexity", score.token_perplexity()},
          {"word_perplexity", score.word_perplexity()},
          {"bits_per_byte", score.bits_per_byte()}};
}

nlohmann::ordered_json to_json(const EvaluationResult& result) {
  nlohmann::ordered_json total = to_json(result.total), documents = nlohmann::ordered_json::array();
  total.erase("name");
  for (const Score& document : result.documents) documents.push_back(to_json(document));
  return {{"total", total}, {"seconds", result.seconds}, {"documents", documents}};
}

std::string format_gates(const std::vector<std::vector<double>>& gates) {
  std::vector<std::vector<std::string>> rows(1, {"layer"});
  for (std::size_t head = 0; !gates.empty() && head < gates.front().size(); ++head) {
    rows.front().push_back(fmt::format("head {}", head));
  }
  for (std::size_t layer = 0; layer < gates.size(); ++layer) {
    rows.push_back({fmt::format("{}", layer)});
    for (const double gate : gates[layer]) rows.back().push_back(fmt::format("{:.3f}", gate));
  }
  return format_table(rows);
}

std::string format_parameters(const ParameterList& parameters) {
  std::vector<std::vector<std::string>> rows = {{"parameter", "role", "shape", "elements"}};
  for (const Parameter& parameter : parameters) {
    rows.push_back({parameter.name, name_of(parameter.role), parameter.master.shape().to_string(),
                    fmt::format("{}", parameter.master.elements())});
  }
  rows.push_back(
      {fmt::format("all {} parameters", parameters.size()), "", "", fmt::format("{}", parameters.elements())});
  return format_table(rows);
}

nlohmann::ordered_json to_json(const ParameterList& parameters) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Parameter& parameter : parameters) {
    const auto extents = parameter.master.shape().extents();
    list.push_back({{"name", parameter.name},
                    {"role", name_of(parameter.role)},
                    {"shape", std::vector<std::int64_t>(extents.begin(), extents.end())}});
  }
  return list;
}

std::string name_of(ParameterRole role) {
  switch (role) {
    case ParameterRole::matrix: return "matrix";
    case ParameterRole::embedding: return "embedding";
    case ParameterRole::norm: return "norm";
    case ParameterRole::memory_gate: return "memory_gate";
  }
  return "unknown";
}

}  // namespace palimpsest
