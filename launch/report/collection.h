// Everything that a report shows, out of run directories, as one JSON document.
#pragma once

#include <cstddef>
#include <filesystem>
#include <vector>

#include <nlohmann/json.hpp>

#include "launch/report/evaluation_files.h"
#include "launch/report/run_history.h"

namespace palimpsest {

/// What a run directory holds, as it was read.
struct RunRecord {
  std::string name;                                           // short, and unlike that of every other run
  std::filesystem::path path;                                 // as it was given
  std::vector<std::pair<std::string, std::string>> settings;  // "model.hidden_size": "512", in the file's order
  RunHistory history;
  std::vector<double> hours;  // of training, up to each step of `history`
  EvaluationFiles evaluations;
};

/// Reads runs; a run that was imported or copied may lack metrics when it has evaluations. Throws FileError, naming it,
/// when a path is no run directory, a file is damaged, or a run has neither a logged step nor an evaluation.
std::vector<RunRecord> read_runs(const std::vector<std::filesystem::path>& paths);

/// {"runs": [{"name", "path", "columns": {"step": [...], ..., "hours"}, "logged_steps", "gates": {"steps", "values"},
/// "logged_gates", "validation", "summaries", "scores", "passkeys", "searches", "rouges", "others", "settings"}]}: of
/// each run about `max_steps` steps (launch/report/thinning.h), of gates as many frames as have `max_gates` numbers.
nlohmann::ordered_json to_report(const std::vector<RunRecord>& runs, std::size_t max_steps = 3000,
                                 std::size_t max_gates = 100'000);

}  // namespace palimpsest
