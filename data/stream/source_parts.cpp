#include "data/stream/source_parts.h"

#include <algorithm>
#include <cstddef>
#include <limits>
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

void fill_text(const TokenFile& file, TokenWindow& window, TokenSpan tokens, std::int64_t end, std::size_t at,
               TokenBatch& batch) {
  const std::int64_t count = tokens.end - tokens.begin;
  // One token more than the inputs, unless they reach the document's end: the last one's target.
  const auto read = window.read(file, tokens.begin, count + (tokens.end == end ? 0 : 1), end);
  const auto targets = read.subspan(1);
  const auto place = [at](auto& values) { return values.begin() + static_cast<std::ptrdiff_t>(at); };
  std::ranges::copy(read.first(static_cast<std::size_t>(count)), place(batch.inputs));
  const auto last = std::ranges::copy(targets, place(batch.targets)).out;
  std::fill(last, place(batch.targets) + count, 0);
  const auto weighted = std::fill_n(place(batch.loss_weights), targets.size(), 1.0f);
  std::fill(weighted, place(batch.loss_weights) + count, 0.0f);
  const std::int64_t first = tokens.begin + 1;  // target
  for (const TokenSpan& span : file.masked(first, first + static_cast<std::int64_t>(targets.size()))) {
    std::fill(place(batch.loss_weights) + (span.begin - first), place(batch.loss_weights) + (span.end - first), 0.0f);
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

void require_kind(const nlohmann::json& state, std::string_view kind, std::string_view whose,
                  std::string_view expected) {
  if (state.is_object() && state.value("kind", nlohmann::json()) == kind) return;
  throw ConfigError(fmt::format("{}: the position in the data cannot be resumed: it is not {}", whose, expected));
}

std::int64_t restored_steps(const nlohmann::json& state, const StepsPosition& position, const nlohmann::json& task) {
  require_kind(state, position.kind, position.whose, position.expected);
  const auto theirs = state.find("task"), steps = state.find("steps");
  const std::int64_t last = std::numeric_limits<std::int64_t>::max() / position.sequence_length - 1;
  if (theirs == state.end() || !theirs->is_object() || steps == state.end() || !steps->is_number_unsigned() ||
      steps->get<std::uint64_t>() > static_cast<std::uint64_t>(last)) {
    throw DataError("data cursor: \"task\" or \"steps\" is not as expected");
  }
  require_same_task(position.whose, task, *theirs);
  return steps->get<std::int64_t>();
}

}  // namespace palimpsest
