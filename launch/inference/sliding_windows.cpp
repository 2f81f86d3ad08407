#include "launch/inference/sliding_windows.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "core/error.h"
#include "layers/attention/registry.h"

namespace palimpsest {

namespace {

constexpr std::int64_t most = std::int64_t{1} << 40;  // tokens: longer than any document, and far from an overflow

}  // namespace

void check_windows(const ModelConfig& config, std::int64_t window, std::int64_t stride) {
  if (window < 1 || window > most) {
    throw ConfigError(fmt::format("--window is {}: expected 1 to {} tokens", window, most));
  }
  if (stride < 1 || stride > window) {
    throw ConfigError(fmt::format("--stride is {}: expected 1 to {}, the tokens of --window", stride, window));
  }
  const AttentionTraits& traits = traits_of(config.attention.kind);
  // What grows with the document is all of it, and a window of it is a shorter document.
  if (!traits.constant_state) return;
  if (traits.kept_numbers(config, std::numeric_limits<std::int64_t>::max()) > 0) {
    throw ConfigError(fmt::format(
        "--window: model.attention.kind: {} carries what it has read from segment to segment, which windows "
        "that begin anew would take from it; they are for kinds that carry nothing, local and full",
        traits.name));
  }
  if (window > config.segment_length) {
    throw ConfigError(fmt::format(
        "--window is {}: model.attention.kind: {} sees no further than its segment, of {} tokens; no longer "
        "window gives a token more to see",
        window, traits.name, config.segment_length));
  }
}

std::vector<Stretch> sliding_windows(std::int64_t document, std::int64_t tokens, std::int64_t window,
                                     std::int64_t stride) {
  std::vector<Stretch> windows;
  std::int64_t counted = 0;
  for (std::int64_t begin = 0; counted < tokens; begin += stride) {
    const std::int64_t end = std::min(begin + window, tokens);
    windows.push_back({document, begin, end, counted});
    counted = end;
  }
  return windows;
}

std::vector<Stretch> windows_of_rank(const std::vector<std::int64_t>& tokens, std::int64_t window, std::int64_t stride,
                                     int rank, int ranks) {
  std::vector<Stretch> windows;
  int next = 0;  // whose the next one is
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    for (const Stretch& stretch : sliding_windows(static_cast<std::int64_t>(i), tokens[i], window, stride)) {
      if (next == rank) windows.push_back(stretch);
      next = (next + 1) % ranks;
    }
  }
  return windows;
}

}  // namespace palimpsest
