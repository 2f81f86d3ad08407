#include "launch/measures/ranking_report.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "launch/output/progress.h"
#include "launch/output/table.h"

namespace palimpsest {

namespace {

using Json = nlohmann::ordered_json;
using Row = std::vector<std::string>;

constexpr std::array<const char*, 4> titles = {"nDCG@10", "MRR", "recall@100", "MAP"};

std::string interval_of(const MeanEstimate& estimate, const char* number) {
  return fmt::format("{} to {}", fmt::format(fmt::runtime(number), estimate.low),
                     fmt::format(fmt::runtime(number), estimate.high));
}

Json to_json(const MeanEstimate& estimate) {
  return {{"mean", estimate.mean}, {"low", estimate.low}, {"high", estimate.high}};
}

Json by_measure(const RankingMeasures& measures) {
  Json json;
  for (std::size_t i = 0; i < measures.size(); ++i) json[std::string(ranking_measure_names[i])] = measures[i];
  return json;
}

Json run_json(const std::string& name, const MeasuredRun& run, const BootstrapOptions& bootstrap) {
  Json json = {{"run", name}, {"unanswered", run.unanswered}, {"unjudged", run.unjudged}};
  const auto means = means_of(run, bootstrap);
  for (std::size_t i = 0; i < means.size(); ++i) json[std::string(ranking_measure_names[i])] = to_json(means[i]);
  return json;
}

}  // namespace

std::string format_ranking(const RankingReport& report) {
  const std::string interval = fmt::format("{:g} % interval", 100 * report.bootstrap.confidence);
  const auto count = static_cast<std::int64_t>(report.run.queries.size());
  Row heading = {count == 1 ? "1 query" : fmt::format("{} queries", count)};
  const auto add_heading = [&](const std::string& name) {
    heading.push_back(name);
    heading.push_back(interval);
  };
  add_heading(report.name);
  if (report.other) add_heading(report.other_name);
  std::vector<Row> rows = {heading};
  for (const char* title : titles) rows.push_back({title});
  const auto add = [&](const MeasuredRun& run) {
    const auto means = means_of(run, report.bootstrap);
    for (std::size_t i = 0; i < means.size(); ++i) {
      rows[i + 1].push_back(fmt::format("{:.4f}", means[i].mean));
      rows[i + 1].push_back(interval_of(means[i], "{:.4f}"));
    }
  };
  add(report.run);
  if (!report.other) return format_table(rows);
  add(*report.other);
  std::vector<Row> changes = {{"second less first", "difference", interval, "p", "better", "worse"}};
  const auto all = differences(report.run, *report.other, report.bootstrap);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const RankingDifference& change = all[i];
    changes.push_back({titles[i], fmt::format("{:+.4f}", change.estimate.mean), interval_of(change.estimate, "{:+.4f}"),
                       fmt::format("{:.3f}", change.p_value), std::to_string(change.better),
                       std::to_string(change.worse)});
  }
  return format_table(rows) + '\n' + format_table(changes);
}

std::string ranking_json(const RankingReport& report) {
  Json json = {{"queries", report.run.queries.size()},
               {"judged", report.run.judged},
               {"complete", report.complete},
               {"bootstrap", report.bootstrap.samples},
               {"confidence", report.bootstrap.confidence},
               {"seed", report.bootstrap.seed}};
  json["runs"] = Json::array({run_json(report.name, report.run, report.bootstrap)});
  if (report.other) {
    json["runs"].push_back(run_json(report.other_name, *report.other, report.bootstrap));
    const auto all = differences(report.run, *report.other, report.bootstrap);
    for (std::size_t i = 0; i < all.size(); ++i) {
      Json change = to_json(all[i].estimate);
      change.update({{"p", all[i].p_value}, {"better", all[i].better}, {"worse", all[i].worse}});
      json["difference"][std::string(ranking_measure_names[i])] = std::move(change);
    }
  }
  json["by_query"] = Json::array();
  for (std::size_t i = 0; i < report.run.queries.size(); ++i) {
    Json query = {{"query", report.run.queries[i]}, {"runs", Json::array({by_measure(report.run.by_query[i])})}};
    if (report.other) query["runs"].push_back(by_measure(report.other->by_query[i]));
    json["by_query"].push_back(std::move(query));
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace palimpsest
