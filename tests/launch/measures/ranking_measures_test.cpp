// Measures of rankings against numbers worked out by hand from trec_eval's definitions.
#include "launch/measures/ranking_measures.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "launch/measures/ranking_report.h"

namespace palimpsest {

namespace {

enum Measure { ndcg, mrr, recall, map };

std::vector<RankedDocument> ranked(const std::vector<std::string>& documents) {
  std::vector<RankedDocument> result;
  for (const std::string& document : documents) result.push_back({document, -static_cast<double>(result.size())});
  return result;
}

/// "1", "2", ...
std::vector<RankedDocument> numbers(int count) {
  std::vector<std::string> documents;
  for (int i = 1; i <= count; ++i) documents.push_back(std::to_string(i));
  return ranked(documents);
}

TEST(RankingMeasures, OfGradedJudgements) {
  // Relevances by rank: 0 (not judged), 2, -1 (counts as 0), 1; a document of relevance 3 is not found.
  const auto result =
      measure_ranking(ranked({"a", "b", "c", "d"}), {{"b", 2}, {"c", -1}, {"d", 1}, {"e", 3}, {"f", 0}});
  const double gained = 2 / std::log2(3.) + 1 / std::log2(5.), ideal = 3 + 2 / std::log2(3.) + 1 / std::log2(4.);
  EXPECT_NEAR(result[ndcg], gained / ideal, 1e-15);
  EXPECT_NEAR(result[ndcg], 0.3554360, 1e-7);
  EXPECT_EQ(result[mrr], 1. / 2);
  EXPECT_NEAR(result[recall], 2. / 3, 1e-15);
  EXPECT_NEAR(result[map], (1. / 2 + 2. / 4) / 3, 1e-15);
}

TEST(RankingMeasures, EndWhereTheyEnd) {
  // Relevant are the ranks 1, 11, 100 and 101.
  const auto result = measure_ranking(numbers(150), {{"1", 1}, {"11", 1}, {"100", 1}, {"101", 1}});
  const double ideal = 1 + 1 / std::log2(3.) + 1 / std::log2(4.) + 1 / std::log2(5.);
  EXPECT_NEAR(result[ndcg], 1 / ideal, 1e-15);
  EXPECT_EQ(result[mrr], 1);
  EXPECT_EQ(result[recall], 3. / 4);
  EXPECT_NEAR(result[map], (1 + 2. / 11 + 3. / 100 + 4. / 101) / 4, 1e-15);
  // With twelve relevant documents, the first ten make the best sum.
  std::map<std::string, std::int64_t> twelve;
  for (int i = 1; i <= 12; ++i) twelve[std::to_string(i)] = 1;
  EXPECT_NEAR(measure_ranking(numbers(12), twelve)[ndcg], 1, 1e-15);
}

TEST(RankingMeasures, OfNothingRelevantOrFound) {
  EXPECT_EQ(measure_ranking(numbers(3), {{"1", 0}, {"2", -1}}), RankingMeasures{});
  EXPECT_EQ(measure_ranking({}, {{"1", 1}}), RankingMeasures{});
}

const Judgements judgements = {{"1", {{"a", 1}}}, {"2", {{"a", 1}}}, {"3", {{"a", 0}}}, {"4", {{"a", 1}}}};
const Ranking run = {{"1", ranked({"a"})}, {"2", ranked({"b", "a"})}, {"3", ranked({"a"})}, {"9", ranked({"a"})}};

TEST(RankingMeasures, QueriesThatAreJudgedAndAnsweredCount) {
  const MeasuredRun some = measure_run(run, judgements, /*complete=*/false);
  EXPECT_EQ(some.queries, (std::vector<std::string>{"1", "2", "3"}));
  EXPECT_EQ(some.unanswered, 1);
  EXPECT_EQ(some.unjudged, 1);
  EXPECT_EQ(some.judged, 4);
  EXPECT_NEAR(means_of(some, {})[mrr].mean, (1 + 1. / 2 + 0) / 3, 1e-15);
  const MeasuredRun all = measure_run(run, judgements, /*complete=*/true);
  EXPECT_EQ(all.queries.size(), 4u);
  EXPECT_NEAR(means_of(all, {})[mrr].mean, (1 + 1. / 2) / 4, 1e-15);
  EXPECT_THROW(measure_run({{"x", {}}}, judgements, false), DataError);
}

TEST(RankingMeasures, TwoRunsArePairedByQuery) {
  const Ranking better = {{"1", ranked({"a"})}, {"2", ranked({"a"})}, {"4", ranked({"b", "a"})}};
  MeasuredRun first = measure_run(run, judgements, false), second = measure_run(better, judgements, false);
  EXPECT_THROW(differences(first, second, {}), DataError);
  keep_common_queries(first, second);
  EXPECT_EQ(first.queries, (std::vector<std::string>{"1", "2"}));
  const auto changes = differences(first, second, {});
  EXPECT_NEAR(changes[mrr].estimate.mean, (0 + 1. / 2) / 2, 1e-15);
  EXPECT_EQ(changes[mrr].better, 1);
  EXPECT_EQ(changes[mrr].worse, 0);
  EXPECT_EQ(changes[recall].estimate.high, 0);
  EXPECT_EQ(changes[recall].p_value, 1);
  MeasuredRun other = measure_run({{"4", ranked({"a"})}}, judgements, false);
  EXPECT_THROW(keep_common_queries(first, other), DataError);
}

TEST(RankingReport, TablesAndJson) {
  RankingReport report{"bm25.run", measure_run(run, judgements, true), "", {}, true, {}};
  EXPECT_NE(format_ranking(report).find("MRR           0.3750"), std::string::npos) << format_ranking(report);
  report.other_name = "other.run";
  report.other = report.run;
  const std::string table = format_ranking(report), json = ranking_json(report);
  EXPECT_NE(table.find("second less first"), std::string::npos) << table;
  EXPECT_NE(table.find("+0.0000 to +0.0000  1.000"), std::string::npos) << table;
  for (const char* key : {"\"ndcg@10\"", "\"difference\"", "\"by_query\"", "\"unanswered\": 1"}) {
    EXPECT_NE(json.find(key), std::string::npos) << json;
  }
}

}  // namespace

}  // namespace palimpsest
