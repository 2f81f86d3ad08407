// Tables and summaries for people, and the same as JSON for programs.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "autograd/parameter.h"
#include "launch/inference/evaluator.h"
#include "launch/training/metrics.h"

namespace palimpsest {

/// Columns aligned: the first to the left, the others to the right; the first row is the heading. Every
/// line ends with a newline.
std::string format_table(const std::vector<std::vector<std::string>>& rows);

/// "step 120/1000  loss 2.3456  ppl 10.44  bits/token 3.384  12.3 k tokens/s  lr 3.00e-04  grad 0.912  ETA 3 min 05 s"
std::string format_step(const StepMetrics& step, std::int64_t total_steps, double seconds_left);

/// A row per document, as long as there are few enough, and the total.
std::string format_evaluation(const EvaluationResult& result);
/// "token perplexity 3.99, word perplexity 1234.5, bits per byte 1.997"
std::string format_score(const Score& score);
nlohmann::ordered_json to_json(const Score& score);
nlohmann::ordered_json to_json(const EvaluationResult& result);

/// A row per layer and a column per head of sigmoid(beta): 0 local attention only, 1 memory only.
std::string format_gates(const std::vector<std::vector<double>>& gates);

/// Name, role, shape and size of every parameter, and the total.
std::string format_parameters(const ParameterList& parameters);
nlohmann::ordered_json to_json(const ParameterList& parameters);

/// "matrix", "embedding", "norm", "memory_gate".
std::string name_of(ParameterRole role);

}  // namespace palimpsest
