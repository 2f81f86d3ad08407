// How good a ranking is, by judgements of people, as trec_eval computes it.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "launch/measures/bootstrap.h"
#include "launch/measures/trec_files.h"

namespace palimpsest {

/// trec_eval's names are ndcg_cut_10, recip_rank, recall_100 and map.
inline constexpr std::array<std::string_view, 4> ranking_measure_names = {"ndcg@10", "mrr", "recall@100", "map"};
/// In this order.
using RankingMeasures = std::array<double, 4>;

/// With r(i) the relevance of the document at rank i, counted from 1, and a document relevant where it is at least 1;
/// one that was not judged is not:
///   ndcg@10     sum over i = 1..10 of max(r(i), 0) / log2(i + 1), divided by the highest such sum that any ranking has
///   mrr         1 / the rank of the first relevant document (its mean over queries is the mean reciprocal rank)
///   recall@100  the share of all relevant documents among the first 100
///   map         the mean over all relevant documents of the precision at their rank, 0 for those not found (average
///               precision, whose mean over queries is the MAP)
/// All are 0 where no document is relevant.
RankingMeasures measure_ranking(const std::vector<RankedDocument>& documents,
                                const std::map<std::string, std::int64_t>& judged);

struct MeasuredRun {
  std::vector<std::string> queries;       // judged and counted, in the order of their bytes
  std::vector<RankingMeasures> by_query;  // of each
  std::int64_t judged = 0, unjudged = 0;  // queries with judgements, and the run's queries without any, left out
  std::int64_t unanswered = 0;            // judged queries that are not in the run
};

/// Queries that are both judged and in the run count, as in trec_eval; with `complete` all judged ones, of which those
/// that the run lacks have 0 (trec_eval -c). Throws DataError when there is none.
MeasuredRun measure_run(const Ranking& run, const Judgements& judgements, bool complete);

struct RankingDifference {
  MeanEstimate estimate;               // the other run less this one
  double p_value = 1;                  // bootstrap_p_value
  std::int64_t better = 0, worse = 0;  // queries where the other run is
};

/// Of each measure the mean and its interval over the queries.
std::array<MeanEstimate, 4> means_of(const MeasuredRun& run, const BootstrapOptions& options);
/// Of two runs on the same queries, paired query by query. Throws DataError on others.
std::array<RankingDifference, 4> differences(const MeasuredRun& run, const MeasuredRun& other,
                                             const BootstrapOptions& options);
/// Leaves in both the queries that both have. Throws DataError when there is none.
void keep_common_queries(MeasuredRun& run, MeasuredRun& other);

}  // namespace palimpsest
