#include "data/stream/source_parts.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/printable.h"

namespace palimpsest {

void require_lanes(LaneRun lanes, std::int64_t batch_size, std::string_view whose) {
  if (lanes.first >= 0 && lanes.count >= 1 && lanes.first <= batch_size - lanes.count) return;
  throw ConfigError(fmt::format("{}lanes {} to {} are asked for, but the batch has {}", whose, lanes.first,
                                lanes.first + lanes.count - 1, batch_size));
}

TokenBatch empty_batch(LaneRun lanes, std::int64_t sequence_length) {
  TokenBatch batch;
  batch.lanes = lanes.count;
  batch.tokens = sequence_length;
  const auto size = static_cast<std::size_t>(lanes.count * sequence_length);
  batch.inputs.resize(size);
  batch.targets.resize(size);
  batch.documents.resize(size);
  batch.loss_weights.resize(size);
  return batch;
}

void leave_out_masked(const TokenFile& file, std::int64_t begin, std::span<float> weights) {
  const auto count = static_cast<std::int64_t>(weights.size());
  for (const TokenSpan& span : file.masked(begin, begin + count)) {
    std::fill(weights.begin() + (span.begin - begin), weights.begin() + (span.end - begin), 0.0f);
  }
}

void require_same_task(std::string_view whose, const nlohmann::json& ours, const nlohmann::json& theirs) {
  std::vector<std::string> differences;
  for (const auto& [key, value] : ours.items()) {
    const nlohmann::json other = theirs.value(key, nlohmann::json());
    if (other == value) continue;
    differences.push_back(fmt::format("{} was {} and is {}", key, printable(other.dump()), value.dump()));
  }
  if (differences.empty()) return;
  throw ConfigError(
      fmt::format("{}: the position in the data cannot be resumed: {}", whose, fmt::join(differences, "; ")));
}

}  // namespace palimpsest
