#include "data/tokens/round_trip.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/printable.h"

namespace palimpsest {

namespace {

constexpr std::size_t excerpt_bytes = 24;

}  // namespace

std::optional<std::string> first_difference(std::string_view text, std::string_view restored) {
  if (text == restored) return std::nullopt;
  const auto mismatch = std::ranges::mismatch(text, restored);
  auto at = static_cast<std::size_t>(mismatch.in1 - text.begin());
  // From the start of the character.
  const auto continues = [&](std::string_view where) {
    return at < where.size() && (static_cast<unsigned char>(where[at]) & 0xC0) == 0x80;
  };
  while (at > 0 && (continues(text) || continues(restored))) --at;
  const auto excerpt = [&](std::string_view of) {
    return at == of.size() ? std::string("nothing") : '"' + printable(of.substr(at), excerpt_bytes) + '"';
  };
  const auto line = std::ranges::count(text.substr(0, at), '\n') + 1;
  return fmt::format("byte {} (line {}): {} comes back as {}", at, line, excerpt(text), excerpt(restored));
}

RoundTrip::RoundTrip(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {
  bytes_.reserve(static_cast<std::size_t>(tokenizer.vocab_size()));
  for (std::int64_t token = 0; token < tokenizer.vocab_size(); ++token) {
    bool at_start = false;
    bytes_.push_back(tokenizer.token_bytes(static_cast<std::int32_t>(token), at_start));
  }
}

bool RoundTrip::gives_back(std::string_view text, std::span<const std::int32_t> tokens) const {
  bool at_start = true;
  for (const std::int32_t token : tokens) {
    const auto index = static_cast<std::size_t>(token);
    const bool known = !at_start && token >= 0 && index < bytes_.size();
    const std::string first = known ? std::string() : tokenizer_->token_bytes(token, at_start);
    const std::string_view bytes = known ? bytes_[index] : first;
    if (!text.starts_with(bytes)) return false;
    text.remove_prefix(bytes.size());
  }
  return text.empty();
}

std::optional<std::string> RoundTrip::difference(std::string_view text, std::span<const std::int32_t> tokens) const {
  if (gives_back(text, tokens)) return std::nullopt;
  return first_difference(text, tokenizer_->decode(tokens));
}

}  // namespace palimpsest
