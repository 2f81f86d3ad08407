#include "launch/measures/ranking_measures.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "core/error.h"

namespace palimpsest {

namespace {

constexpr std::size_t ndcg_cut = 10, recall_cut = 100;

std::array<std::vector<double>, 4> columns_of(const std::vector<RankingMeasures>& by_query) {
  std::array<std::vector<double>, 4> columns;
  for (const RankingMeasures& measures : by_query) {
    for (std::size_t i = 0; i < columns.size(); ++i) columns[i].push_back(measures[i]);
  }
  return columns;
}

}  // namespace

RankingMeasures measure_ranking(const std::vector<RankedDocument>& documents,
                                const std::map<std::string, std::int64_t>& judged) {
  std::vector<std::int64_t> best;
  for (const auto& [document, relevance] : judged) {
    if (relevance >= 1) best.push_back(relevance);
  }
  if (best.empty()) return {};
  std::ranges::sort(best, std::greater{});
  const auto gain = [](std::int64_t relevance, std::size_t index) {
    return static_cast<double>(relevance) / std::log2(static_cast<double>(index + 2));
  };
  double ideal = 0, gained = 0, first = 0, precisions = 0;
  for (std::size_t i = 0; i < std::min(best.size(), ndcg_cut); ++i) ideal += gain(best[i], i);
  std::size_t found = 0, found_early = 0;
  for (std::size_t i = 0; i < documents.size(); ++i) {
    const auto entry = judged.find(documents[i].document);
    if (entry == judged.end() || entry->second < 1) continue;
    const auto rank = static_cast<double>(i + 1);
    if (++found == 1) first = 1 / rank;
    if (i < ndcg_cut) gained += gain(entry->second, i);
    if (i < recall_cut) ++found_early;
    precisions += static_cast<double>(found) / rank;
  }
  const auto relevant = static_cast<double>(best.size());
  return {gained / ideal, first, static_cast<double>(found_early) / relevant, precisions / relevant};
}

MeasuredRun measure_run(const Ranking& run, const Judgements& judgements, bool complete) {
  MeasuredRun result;
  result.judged = static_cast<std::int64_t>(judgements.size());
  for (const auto& [query, judged] : judgements) {
    const auto documents = run.find(query);
    if (documents == run.end()) {
      ++result.unanswered;
      if (!complete) continue;
    }
    result.queries.push_back(query);
    result.by_query.push_back(documents == run.end() ? RankingMeasures{} : measure_ranking(documents->second, judged));
  }
  for (const auto& [query, documents] : run) result.unjudged += !judgements.contains(query);
  if (result.queries.empty()) throw DataError("no query of the run is judged: the ids of queries have to be the same");
  return result;
}

std::array<MeanEstimate, 4> means_of(const MeasuredRun& run, const BootstrapOptions& options) {
  const auto columns = columns_of(run.by_query);
  std::array<MeanEstimate, 4> means;
  std::ranges::copy(bootstrap_means(columns, options), means.begin());
  return means;
}

std::array<RankingDifference, 4> differences(const MeasuredRun& run, const MeasuredRun& other,
                                             const BootstrapOptions& options) {
  if (run.queries != other.queries) throw DataError("two runs are compared on the same queries only");
  std::vector<RankingMeasures> by_query = other.by_query;
  for (std::size_t i = 0; i < by_query.size(); ++i) {
    for (std::size_t measure = 0; measure < 4; ++measure) by_query[i][measure] -= run.by_query[i][measure];
  }
  const auto columns = columns_of(by_query);
  const std::vector<MeanEstimate> means = bootstrap_means(columns, options);
  std::array<RankingDifference, 4> differences;
  for (std::size_t measure = 0; measure < differences.size(); ++measure) {
    differences[measure] = {means[measure], bootstrap_p_value(columns[measure], options),
                            std::ranges::count_if(columns[measure], [](double difference) { return difference > 0; }),
                            std::ranges::count_if(columns[measure], [](double difference) { return difference < 0; })};
  }
  return differences;
}

void keep_common_queries(MeasuredRun& run, MeasuredRun& other) {
  MeasuredRun ours = run, theirs = other;
  for (MeasuredRun* kept : {&ours, &theirs}) kept->queries.clear(), kept->by_query.clear();
  for (std::size_t i = 0, j = 0; i < run.queries.size() && j < other.queries.size();) {
    if (run.queries[i] != other.queries[j]) {
      run.queries[i] < other.queries[j] ? ++i : ++j;
      continue;
    }
    ours.queries.push_back(run.queries[i]);
    ours.by_query.push_back(run.by_query[i++]);
    theirs.queries.push_back(other.queries[j]);
    theirs.by_query.push_back(other.by_query[j++]);
  }
  if (ours.queries.empty()) throw DataError("the two runs have no judged query in common");
  run = std::move(ours);
  other = std::move(theirs);
}

}  // namespace palimpsest
