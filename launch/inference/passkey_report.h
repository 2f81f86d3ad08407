// What passkey retrieval has found, as a table for people and as JSON for programs, from which an evaluation that was
// interrupted goes on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "launch/inference/passkey_evaluation.h"

namespace palimpsest {

/// A share of trials and its 95 % confidence interval (Wilson 1927), which is meaningful at 0 and 1, too.
struct Proportion {
  double share = 0, low = 0, high = 1;
};
Proportion wilson_interval(std::int64_t successes, std::int64_t trials);

/// Counts over the samples of a cell.
struct PasskeySummary {
  std::int64_t samples = 0, exact = 0, exact_without_memory = 0;
  std::int64_t tokens = 0, right = 0, right_without_memory = 0;
};
PasskeySummary summarize(const PasskeyCell& cell);

/// A row a length and a column a depth: the share of keys found whole, with its interval, and token accuracy; and with
/// the memory knocked out.
std::string format_passkey(const std::vector<PasskeyCell>& cells);

nlohmann::ordered_json to_json(const std::vector<PasskeyCell>& cells);
/// What to_json made, under "cells" of `json`. Throws DataError, naming the key, where it is not of that form.
std::vector<PasskeyCell> cells_from_json(const nlohmann::json& json);

/// The samples of a result that was there before go to the cells that are asked for; returned are its other cells,
/// which a new result has to hold, too.
std::vector<PasskeyCell> take_samples(std::vector<PasskeyCell> before, std::vector<PasskeyCell>& cells);
/// All of them by length and depth.
std::vector<PasskeyCell> joined(std::vector<PasskeyCell> cells, const std::vector<PasskeyCell>& others);

}  // namespace palimpsest
