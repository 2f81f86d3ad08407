#include "launch/inference/score_report.h"

#include <vector>

#include <fmt/format.h>

#include "launch/inference/memory_resets.h"
#include "launch/output/csv.h"
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

std::vector<std::string> error_row(const StandardErrors& errors) {
  return {"standard error",
          "",
          "",
          fmt::format("{:.4f}", errors.token_perplexity),
          fmt::format("{:.2f}", errors.word_perplexity),
          fmt::format("{:.4f}", errors.bits_per_byte)};
}

std::string position_table(const std::string& title, const std::vector<PositionScore>& scores) {
  if (scores.empty()) return "";
  std::vector<std::vector<std::string>> rows = {{title, "tokens", "nats a token", "token perplexity"}};
  for (const PositionScore& score : scores) {
    rows.push_back({fmt::format("{} to {}", score.begin, score.end - 1), fmt::format("{}", score.tokens),
                    fmt::format("{:.4f}", score.nll / static_cast<double>(score.tokens)),
                    fmt::format("{:.4f}", score.token_perplexity())});
  }
  return '\n' + format_table(rows);
}

std::vector<std::string> csv_row(const std::string& table, const Score& score,
                                 const std::optional<StandardErrors>& errors) {
  const auto error = [&](double StandardErrors::*of) {
    return errors ? fmt::format("{}", (*errors).*of) : std::string();
  };
  return {table,
          score.name,
          "",
          "",
          fmt::format("{}", score.tokens),
          fmt::format("{}", score.words),
          fmt::format("{}", score.bytes),
          fmt::format("{}", score.nll),
          fmt::format("{}", score.token_perplexity()),
          error(&StandardErrors::token_perplexity),
          fmt::format("{}", score.word_perplexity()),
          error(&StandardErrors::word_perplexity),
          fmt::format("{}", score.bits_per_byte()),
          error(&StandardErrors::bits_per_byte)};
}

/// "10146 Emma (1815)", as far as it is known.
std::string label(const Score& document) {
  return document.name + (document.title.empty() ? "" : ' ' + document.title) +
         (document.year == 0 ? "" : fmt::format(" ({})", document.year));
}

}  // namespace

std::string reading_name(std::int64_t memory_segments, std::int64_t window, std::int64_t stride) {
  return window > 0 ? fmt::format("windows of {}, stride {}", window, stride) : memory_name(memory_segments);
}

std::string format_evaluation(const EvaluationResult& result) {
  std::vector<std::vector<std::string>> rows = {
      {"document", "tokens", "words", "token perplexity", "word perplexity", "bits per byte"}};
  if (result.documents.size() <= max_table_documents) {
    for (const Score& document : result.documents) rows.push_back(score_row(label(document), document));
  }
  const auto count = result.documents.size();
  std::string name =
      result.complete() ? fmt::format("all {} documents", count) : fmt::format("complete ones: {}", count);
  if (result.memory_segments > 0) name += ", memory " + memory_name(result.memory_segments);
  if (result.window > 0) name += ", " + reading_name(0, result.window, result.stride);
  rows.push_back(score_row(name, result.total));
  if (const auto errors = standard_errors(result.documents)) rows.push_back(error_row(*errors));
  return format_table(rows) + position_table("position in the document", result.by_position) +
         position_table("position in the segment", result.by_position_in_segment) +
         position_table("compressions behind the token", result.by_compressions);
}

std::string format_score(const Score& score) {
  return fmt::format("token perplexity {:.4f}, word perplexity {:.2f}, bits per byte {:.4f}", score.token_perplexity(),
                     score.word_perplexity(), score.bits_per_byte());
}

nlohmann::ordered_json to_json(const Score& score) {
  nlohmann::ordered_json json = {{"name", score.name}};
  if (!score.title.empty()) json["title"] = score.title;
  if (score.year != 0) json["year"] = score.year;
  json.update({{"tokens", score.tokens},
               {"words", score.words},
               {"bytes", score.bytes},
               {"negative_log_likelihood", score.nll},
               {"token_perplexity", score.token_perplexity()},
               {"word_perplexity", score.word_perplexity()},
               {"bits_per_byte", score.bits_per_byte()}});
  return json;
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

nlohmann::ordered_json total_to_json(const Score& score, const std::optional<StandardErrors>& errors) {
  nlohmann::ordered_json total = to_json(score);
  total.erase("name");
  if (errors) {
    total["standard_error"] = {{"token_perplexity", errors->token_perplexity},
                               {"word_perplexity", errors->word_perplexity},
                               {"bits_per_byte", errors->bits_per_byte}};
  }
  return total;
}

nlohmann::ordered_json to_json(const EvaluationResult& result) {
  nlohmann::ordered_json documents = nlohmann::ordered_json::array();
  for (const Score& document : result.documents) documents.push_back(to_json(document));
  nlohmann::ordered_json json = {{"complete", result.complete()},
                                 {"unfinished_documents", result.unfinished},
                                 {"memory", memory_name(result.memory_segments)}};
  if (result.window > 0) json.update({{"window", result.window}, {"stride", result.stride}});
  json.update({{"total", total_to_json(result.total, standard_errors(result.documents))},
               {"by_position", to_json(result.by_position)},
               {"by_position_in_segment", to_json(result.by_position_in_segment)},
               {"by_compressions", to_json(result.by_compressions)},
               {"seconds", result.seconds},
               {"documents", documents}});
  return json;
}

std::string to_csv(const EvaluationResult& result) {
  std::vector<std::vector<std::string>> rows = {
      {"table", "name", "begin", "end", "tokens", "words", "bytes", "negative_log_likelihood", "token_perplexity",
       "token_perplexity_standard_error", "word_perplexity", "word_perplexity_standard_error", "bits_per_byte",
       "bits_per_byte_standard_error"}};
  for (const Score& document : result.documents) rows.push_back(csv_row("document", document, std::nullopt));
  rows.push_back(csv_row("total", result.total, standard_errors(result.documents)));
  const auto add = [&](const std::string& table, const std::vector<PositionScore>& scores) {
    for (const PositionScore& score : scores) {
      rows.push_back({table, "", fmt::format("{}", score.begin), fmt::format("{}", score.end),
                      fmt::format("{}", score.tokens), "", "", fmt::format("{}", score.nll),
                      fmt::format("{}", score.token_perplexity()), "", "", "", "", ""});
    }
  };
  add("by_position", result.by_position);
  add("by_position_in_segment", result.by_position_in_segment);
  add("by_compressions", result.by_compressions);
  return format_csv(rows);
}

}  // namespace palimpsest
