#include "layers/rows_at_once.h"

#include <algorithm>

#include "layers/attention/registry.h"

namespace palimpsest {

std::int64_t lanes_at_once(const ModelConfig& config, std::int64_t lanes, std::int64_t tokens) {
  const AttentionTraits& attention = traits_of(config.attention.kind);
  // States that grow are not cut up, and segments that follow each other are short enough.
  if (!attention.constant_state || !attention.parallel_segments || lanes * tokens <= rows_at_once) return lanes;
  const std::int64_t most = std::max<std::int64_t>(rows_at_once / tokens, 1), groups = (lanes + most - 1) / most;
  return (lanes + groups - 1) / groups;
}

}  // namespace palimpsest
