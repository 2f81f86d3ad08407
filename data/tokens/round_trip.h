// Whether tokens give a document's text back.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/text/tokenizer.h"

namespace palimpsest {

/// Where `restored`, the text that a tokenizer gives back, first differs from `text`, in words; nothing when it does
/// not.
std::optional<std::string> first_difference(std::string_view text, std::string_view restored);

/// Compares texts with what their tokens stand for, token by token, which is much faster than to decode them.
/// Immutable; safe to use from several threads. The tokenizer must outlive it.
class RoundTrip {
 public:
  explicit RoundTrip(const Tokenizer& tokenizer);

  /// As first_difference(text, tokenizer.decode(tokens)) for valid UTF-8. Throws DataError on a token outside the
  /// vocabulary.
  std::optional<std::string> difference(std::string_view text, std::span<const std::int32_t> tokens) const;

 private:
  bool gives_back(std::string_view text, std::span<const std::int32_t> tokens) const;

  const Tokenizer* tokenizer_;
  std::vector<std::string> bytes_;  // what each token stands for behind the start of a text
};

}  // namespace palimpsest
