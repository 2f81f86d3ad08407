// The measures of one or two runs, for people and for programs.
#pragma once

#include <optional>
#include <string>

#include "launch/measures/ranking_measures.h"

namespace palimpsest {

struct RankingReport {
  std::string name;  // of the run, and of the other one
  MeasuredRun run;
  std::string other_name;
  std::optional<MeasuredRun> other;  // on the same queries
  bool complete = false;             // judged queries that a run lacks count as 0
  BootstrapOptions bootstrap;
};

/// A table for people; with another run a second one of the differences.
std::string format_ranking(const RankingReport& report);
/// docs/file-formats.md, "Measures of search", with a line end.
std::string ranking_json(const RankingReport& report);

}  // namespace palimpsest
