#include "launch/inference/score_report.h"

#include <vector>

#include <fmt/format.h>

#include "launch/inference/memory_resets.h"
#include "launch/output/table.h"

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

std::string format_evaluation(const EvaluationResult& result) {
  std::vector<std::vector<std::string>> rows = {
      {"document", "tokens", "words", "token perplexity", "word perplexity", "bits per byte"}};
  if (result.documents.size() <= max_table_documents) {
    for (const Score& document : result.documents) rows.push_back(score_row(document.name, document));
  }
  const auto count = result.documents.size();
  std::string name =
      result.complete() ? fmt::format("all {} documents", count) : fmt::format("complete ones: {}", count);
  if (result.memory_segments > 0) name += ", memory " + memory_name(result.memory_segments);
  rows.push_back(score_row(name, result.total));
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

nlohmann::ordered_json to_json(const std::vector<PositionScore>& scores) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const PositionScore& score : scores) {
    list.push_back({{"begin", score.begin},
                    {"end", score.end},
                    {"tokens", score.tokens},
                    {"negative_log_likelihood", score.nll},
                    {"token_perplexity", score.token_perplexity()}});
  }
  return list;
}

nlohmann::ordered_json to_json(const EvaluationResult& result) {
  nlohmann::ordered_json total = to_json(result.total), documents = nlohmann::ordered_json::array();
  total.erase("name");
  for (const Score& document : result.documents) documents.push_back(to_json(document));
  return {{"complete", result.complete()},
          {"unfinished_documents", result.unfinished},
          {"memory", memory_name(result.memory_segments)},
          {"total", total},
          {"by_position", to_json(result.by_position)},
          {"by_position_in_segment", to_json(result.by_position_in_segment)},
          {"seconds", result.seconds},
          {"documents", documents}};
}

}  // namespace palimpsest
