// How a split is evaluated while training (launch/inference/evaluator.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace palimpsest {

/// A token file that is evaluated along with the validation split.
struct EvaluationSet {
  std::string name;  // in logs and metrics
  std::string file;
};

struct EvaluationConfig {
  std::int64_t every = 0;          // steps between evaluations of the validation split; 0: only at the end
  std::int64_t batch_size = 8;     // documents a rank evaluates at once
  std::int64_t max_documents = 0;  // 0: all
  std::vector<EvaluationSet> sets;
};

}  // namespace palimpsest
