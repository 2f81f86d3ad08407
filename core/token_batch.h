// What the data pipeline hands to the model: one training sequence for each of some lanes.
#pragma once

#include <cstdint>
#include <vector>

namespace palimpsest {

/// All arrays are (lanes, tokens), row-major.
struct TokenBatch {
  std::int64_t lanes = 0;
  std::int64_t tokens = 0;
  std::vector<std::int32_t> inputs;
  std::vector<std::int32_t> targets;
  /// The document of each input token: an index that never decreases within a lane, from batch to
  /// batch too, and that changes wherever the memory has to start empty.
  std::vector<std::int64_t> documents;
  /// 1 where the target is to be predicted; 0 where it belongs to another document.
  std::vector<float> loss_weights;
};

}  // namespace palimpsest
