// Beam search (Sutskever et al. 2014, section 3.2): of the continuations of a text some, the likeliest so far, go on
// side by side, a token at a time. One that comes to its end gives its place up, so that a single beam takes the
// likeliest token each time, as temperature 0 does.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "launch/inference/drawn_text.h"
#include "launch/inference/generation_options.h"
#include "layers/decode_state.h"

namespace palimpsest {

/// What a search has found.
struct BeamText {
  DrawnText drawn;                   // with the tokens, and the end token if there is one
  std::string text;                  // that is certain then
  std::vector<std::int32_t> tokens;  // the end token left out
  Finish finish = Finish::length;
  /// ln p of the tokens, the end token's too: the model's, after the repetition penalty. Forbidden tokens keep their
  /// share, so that a text which had to avoid one is no likelier for it.
  double log_probability = 0;
  double score = 0;  // log_probability / length^length_penalty, the end token counted
};

/// The best of the texts that the search ends with, by their scores: those that ended, stopped, or reached max_tokens,
/// the earliest of equals. Ends as soon as none that is open can become better; where `goes_on`, asked before each
/// token, says no, the best so far is `interrupted`, whether it had ended or not. `before` has one lane, which has read
/// the text and gave `logits`, at least as many as the tokenizer has tokens. max_tokens is at least 1; options.stop are
/// those of `drawn` already. Throws NumericalError.
BeamText search_beams(const DecodeState& before, std::span<const float> logits, const DrawnText& drawn,
                      const Tokenizer& tokenizer, const GenerationOptions& options, const GoesOn& goes_on = {});

}  // namespace palimpsest
