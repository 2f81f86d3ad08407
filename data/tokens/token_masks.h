// Masked spans of a token file: tokens that a model reads and that are no target, so neither a loss nor a perplexity
// counts them. The prompt before a completion is such a span, and what others say in a conversation.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "data/tokens/token_table.h"

namespace palimpsest {

/// Tokens [begin, end).
struct TokenSpan {
  std::int64_t begin = 0, end = 0;

  bool operator==(const TokenSpan&) const = default;
};

/// What of a document's text is masked, and how much of the text is not.
struct TextMasks {
  std::vector<TokenSpan> spans = {};  // in tokens of the text, ascending, none empty, no overlap; none: none is masked
  std::int64_t target_words = 0;  // between white space, of each part outside the spans for itself; with spans alone
  std::int64_t target_bytes = 0;
};

/// Puts the spans of a text that begins at token `begin` of a file, with `tokens` tokens before its end token, behind
/// `masked` (TokenTable), with spans that meet in one. With the last token the end token is masked, too. False, and
/// nothing done, where they are not as TextMasks says or leave no token of the text.
bool append_spans(std::span<const TokenSpan> spans, std::int64_t begin, std::int64_t tokens,
                  std::vector<std::int64_t>& masked);

/// The masked among tokens [begin, end), by the spans of a table.
std::vector<TokenSpan> masked_between(std::span<const std::int64_t> masked, std::int64_t begin, std::int64_t end);

/// Throws DataError, which names `path`, unless the masked spans of a table with sound offsets are ascending and apart
/// from each other, each in one document behind its begin token, every document has a token of its text outside
/// them, and the counts of what is not masked go with them.
void check_masks(const TokenTable& table, const std::filesystem::path& path);

}  // namespace palimpsest
