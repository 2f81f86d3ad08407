// What an evaluation found, as a table for people and as JSON for programs.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "launch/inference/evaluation.h"

namespace palimpsest {

/// A row per complete document, as long as there are few enough, and their total.
std::string format_evaluation(const EvaluationResult& result);
/// "token perplexity 3.99, word perplexity 1234.5, bits per byte 1.997"
std::string format_score(const Score& score);
nlohmann::ordered_json to_json(const Score& score);
nlohmann::ordered_json to_json(const std::vector<PositionScore>& scores);
nlohmann::ordered_json to_json(const EvaluationResult& result);

}  // namespace palimpsest
