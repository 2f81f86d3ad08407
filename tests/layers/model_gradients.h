// What a pass over a batch leaves behind, for tests that compare one way to compute it with another.
#pragma once

#include <vector>

#include "layers/training_pass.h"

namespace palimpsest::testing {

struct Gradients {
  double loss;
  std::vector<Tensor> parameters;  // in the model's order
  SequenceState memory;
};

/// Loss, gradients and the memory after, starting from `memory`.
inline Gradients gradients(LanguageModel& model, MemoryPool& pool, const TokenBatch& batch, SequenceState memory,
                           const PassOptions& options) {
  model.parameters().clear_gradients();
  Gradients result;
  result.loss = accumulate_gradients(model, pool, batch, memory, options);
  result.memory = memory;
  for (Parameter& parameter : model.parameters()) result.parameters.push_back(parameter.variable.take_gradient());
  return result;
}

}  // namespace palimpsest::testing
