// A training batch of random tokens for tests of the model.
#pragma once

#include <algorithm>
#include <vector>

#include "core/random.h"
#include "layers/language_model.h"

namespace palimpsest::testing {

/// `boundaries`: the tokens (of every lane) at which a new document starts.
inline TokenBatch random_batch(std::int64_t lanes, std::int64_t tokens, std::int64_t vocabulary,
                               const std::vector<std::int64_t>& boundaries, std::uint64_t seed = 5) {
  TokenBatch batch;
  batch.lanes = lanes;
  batch.tokens = tokens;
  const Random random(seed, RandomPurpose::test);
  const auto bound = static_cast<std::uint64_t>(vocabulary);
  for (std::int64_t i = 0; i < lanes * tokens; ++i) {
    batch.inputs.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(2 * i), bound)));
    batch.targets.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(2 * i + 1), bound)));
    batch.documents.push_back(std::ranges::count_if(boundaries, [&](std::int64_t b) { return b <= i % tokens; }));
    batch.loss_weights.push_back(std::ranges::find(boundaries, i % tokens + 1) == boundaries.end() ? 1.0f : 0.0f);
  }
  return batch;
}

}  // namespace palimpsest::testing
