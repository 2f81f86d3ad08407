#include "launch/measures/rouge_report.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "launch/output/progress.h"
#include "launch/output/table.h"

namespace palimpsest {

namespace {

// In the order of rouge_parts.
constexpr std::array<double RougeScore::*, 3> parts = {&RougeScore::recall, &RougeScore::precision, &RougeScore::f1};
constexpr std::array<const char*, 4> titles = {"ROUGE-1", "ROUGE-2", "ROUGE-L", "ROUGE-Lsum"};

}  // namespace

RougeResult measure_rouge(const std::vector<TextPair>& pairs, bool stem, const BootstrapOptions& bootstrap) {
  check(bootstrap);
  RougeResult result{stem, bootstrap, {}, {}};
  const RougeScorer scorer(stem);
  for (const TextPair& pair : pairs) {
    result.ids.push_back(pair.id);
    result.scores.push_back(scorer.score(pair.references, pair.candidate));
  }
  return result;
}

std::vector<std::array<MeanEstimate, 3>> RougeResult::means() const {
  std::vector<std::vector<double>> columns;
  for (std::size_t measure = 0; measure < rouge_names.size(); ++measure) {
    for (const auto part : parts) {
      std::vector<double>& column = columns.emplace_back();
      for (const RougeScores& text : scores) column.push_back(text[measure].*part);
    }
  }
  const std::vector<MeanEstimate> estimates = bootstrap_means(columns, bootstrap);
  std::vector<std::array<MeanEstimate, 3>> means;
  for (std::size_t i = 0; i < estimates.size(); i += 3) {
    means.push_back({estimates[i], estimates[i + 1], estimates[i + 2]});
  }
  return means;
}

std::string format_rouge(const RougeResult& result) {
  const std::string interval = fmt::format("{:g} % interval", 100 * result.bootstrap.confidence);
  std::vector<std::vector<std::string>> rows = {
      {fmt::format("{}{}", format_plural(static_cast<std::int64_t>(result.ids.size()), "text"),
                   result.stem ? ", stemmed" : ""),
       "recall", interval, "precision", interval, "F1", interval}};
  const auto means = result.means();
  for (std::size_t measure = 0; measure < means.size(); ++measure) {
    std::vector<std::string>& row = rows.emplace_back(1, titles[measure]);
    for (const MeanEstimate& part : means[measure]) {
      row.push_back(fmt::format("{:.4f}", part.mean));
      row.push_back(fmt::format("{:.4f} to {:.4f}", part.low, part.high));
    }
  }
  return format_table(rows);
}

std::string rouge_json(const RougeResult& result) {
  nlohmann::ordered_json json = {{"texts", result.ids.size()},
                                 {"stem", result.stem},
                                 {"bootstrap", result.bootstrap.samples},
                                 {"confidence", result.bootstrap.confidence},
                                 {"seed", result.bootstrap.seed}};
  const auto means = result.means();
  for (std::size_t measure = 0; measure < means.size(); ++measure) {
    for (std::size_t part = 0; part < parts.size(); ++part) {
      const MeanEstimate& estimate = means[measure][part];
      json[std::string(rouge_names[measure])][std::string(rouge_parts[part])] = {
          {"mean", estimate.mean}, {"low", estimate.low}, {"high", estimate.high}};
    }
  }
  json["by_text"] = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < result.ids.size(); ++i) {
    nlohmann::ordered_json text = {{"id", result.ids[i]}};
    for (std::size_t measure = 0; measure < rouge_names.size(); ++measure) {
      for (std::size_t part = 0; part < parts.size(); ++part) {
        text[std::string(rouge_names[measure])][std::string(rouge_parts[part])] =
            result.scores[i][measure].*parts[part];
      }
    }
    json["by_text"].push_back(std::move(text));
  }
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

}  // namespace palimpsest
