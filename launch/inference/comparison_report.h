// A comparison of evaluations, as tables for people, and as JSON and CSV for programs.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "launch/inference/comparison.h"

namespace palimpsest {

/// The totals of all runs, their differences from the first, and these by position.
std::string format_comparison(const std::vector<ComparedRun>& runs);
nlohmann::ordered_json to_json(const std::vector<ComparedRun>& runs);
std::string to_csv(const std::vector<ComparedRun>& runs);

}  // namespace palimpsest
