// What an evaluation found, as tables for people, and as JSON and CSV for programs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "launch/inference/evaluation.h"
#include "launch/inference/standard_errors.h"

namespace palimpsest {

/// A row per complete document, as long as there are few enough, their total and its standard errors; then the loss by
/// position.
std::string format_evaluation(const EvaluationResult& result);
/// "token perplexity 3.99, word perplexity 1234.5, bits per byte 1.997"
std::string format_score(const Score& score);
nlohmann::ordered_json to_json(const Score& score);
nlohmann::ordered_json to_json(const std::vector<PositionScore>& scores);
nlohmann::ordered_json to_json(const EvaluationResult& result);
/// `score` without a name, and its standard errors as an object `standard_error` where there are any.
nlohmann::ordered_json total_to_json(const Score& score, const std::optional<StandardErrors>& errors);
/// A row for each complete document, their total and each range of positions; the first cell says which.
std::string to_csv(const EvaluationResult& result);
/// "kept", "reset:4" or "windows of 1024, stride 256".
std::string reading_name(std::int64_t memory_segments, std::int64_t window, std::int64_t stride);

}  // namespace palimpsest
