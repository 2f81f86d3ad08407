#include "data/tokens/masked_text.h"

#include <algorithm>
#include <utility>

#include "data/text/utf8.h"

namespace palimpsest {

namespace {

void add_span(std::int64_t begin, std::int64_t end, std::vector<TokenSpan>& spans) {
  if (begin == end) return;
  if (!spans.empty() && spans.back().end == begin) {
    spans.back().end = end;
  } else {
    spans.push_back({begin, end});
  }
}

std::vector<std::int32_t> encode_parts(const std::vector<TextPart>& parts, const Tokenizer& tokenizer,
                                       std::vector<TokenSpan>& spans) {
  std::vector<std::int32_t> tokens;
  for (const TextPart& part : parts) {
    const auto begin = static_cast<std::int64_t>(tokens.size());
    const std::vector<std::int32_t> more = tokenizer.encode(part.text);
    tokens.insert(tokens.end(), more.begin(), more.end());
    if (part.masked) add_span(begin, static_cast<std::int64_t>(tokens.size()), spans);
  }
  return tokens;
}

/// The spans of tokens that give the whole text back.
std::vector<TokenSpan> spans_of_whole(const CorpusDocument& document, std::span<const std::int32_t> tokens,
                                      const Tokenizer& tokenizer) {
  std::vector<TokenSpan> spans;
  std::int64_t begin = 0;  // of the token in the text
  bool at_start = true;
  auto masked = document.masked.begin();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::int64_t bytes = std::ssize(tokenizer.token_bytes(tokens[i], at_start));
    const std::int64_t end = begin + std::max<std::int64_t>(1, bytes);  // some stand for nothing
    while (masked != document.masked.end() && masked->end <= begin) ++masked;
    const bool inside = masked != document.masked.end() && masked->begin <= begin && end <= masked->end;
    if (inside) add_span(static_cast<std::int64_t>(i), static_cast<std::int64_t>(i) + 1, spans);
    begin += bytes;
  }
  return spans;
}

}  // namespace

EncodedText encode_text(const CorpusDocument& document, const Tokenizer& tokenizer, const RoundTrip& round_trip) {
  EncodedText encoded;
  if (document.masked.empty()) {
    encoded.tokens = tokenizer.encode(document.text);
    encoded.difference = round_trip.difference(document.text, encoded.tokens);
    return encoded;
  }
  const std::vector<TextPart> parts = parts_of(document);
  encoded.tokens = encode_parts(parts, tokenizer, encoded.masks.spans);
  encoded.difference = round_trip.difference(document.text, encoded.tokens);
  if (encoded.difference) {
    std::vector<std::int32_t> whole = tokenizer.encode(document.text);
    if (!round_trip.difference(document.text, whole)) {
      encoded.masks.spans = spans_of_whole(document, whole, tokenizer);
      encoded.tokens = std::move(whole);
      encoded.difference.reset();
    }
  }
  for (const TextPart& part : parts) {
    if (part.masked) continue;
    encoded.masks.target_words += count_words(part.text);
    encoded.masks.target_bytes += std::ssize(part.text);
  }
  return encoded;
}

}  // namespace palimpsest
