#include "launch/inference/memory_resets.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

namespace palimpsest {

std::string memory_name(std::int64_t segments) {
  if (segments == 0) return "kept";
  return segments == 1 ? "none" : fmt::format("reset:{}", segments);
}

std::optional<std::int64_t> memory_segments(std::string_view name) {
  constexpr std::string_view reset = "reset:";
  constexpr std::int64_t most = 1'000'000'000;
  if (name == "kept") return 0;
  if (name == "none") return 1;
  if (!name.starts_with(reset)) return std::nullopt;
  name.remove_prefix(reset.size());
  std::int64_t segments = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), segments);
  const bool valid = error == std::errc() && end == name.data() + name.size() && segments >= 1 && segments <= most;
  return valid ? std::optional(segments) : std::nullopt;
}

void reset_memory(TokenBatch& batch, std::span<const std::int64_t> before, std::int64_t period, std::int64_t pieces) {
  auto document = batch.documents.begin();
  for (const std::int64_t done : before) {
    for (std::int64_t i = 0; i < batch.tokens; ++i, ++document) {
      *document = *document * pieces + std::min((done + i) / period, pieces - 1);
    }
  }
}

}  // namespace palimpsest
