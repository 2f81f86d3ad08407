// From a document with masked parts to its tokens.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/text/corpus.h"
#include "data/text/tokenizer.h"
#include "data/tokens/round_trip.h"
#include "data/tokens/token_masks.h"

namespace palimpsest {

struct EncodedText {
  std::vector<std::int32_t> tokens;  // without begin and end token
  TextMasks masks;
  std::optional<std::string> difference;  // the first one between the text and what the tokens give back
};

/// Each part of the text, masked or not, is encoded for itself, as a prompt is that a model goes on from. Where a
/// tokenizer then does not give the text back (many SentencePiece models put a space before every text that they
/// encode) but does so for the text as a whole, the tokens are those, and one that stands for some of both is not
/// masked.
EncodedText encode_text(const CorpusDocument& document, const Tokenizer& tokenizer, const RoundTrip& round_trip);

}  // namespace palimpsest
