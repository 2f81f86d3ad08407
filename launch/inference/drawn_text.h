// What is drawn of one text: the sampler's place, and tokens that become characters and then text that is certain to be
// written. With what the model carries (layers/decode_state.h) it is all that a generation remembers.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/text/tokenizer.h"
#include "launch/inference/sampler.h"
#include "launch/inference/stop_strings.h"

namespace palimpsest {

/// Of a DrawnText, as a value.
struct DrawnState {
  std::uint64_t draws = 0;         // random numbers used: the next token's index
  bool ended = false;              // the last draw was the end token
  bool at_start = true;            // of the text, for Tokenizer::token_bytes
  std::string held;                // drawn and not written: perhaps the beginning of a stop string
  std::string pending;             // bytes after that, of a character that is not complete
  std::vector<std::uint8_t> seen;  // per token of the vocabulary, 1 where the text has it
  /// Tokens drawn since text was last appended, those of draws whose options ask for them.
  std::vector<std::int32_t> recent = {};
};

class DrawnText {
 public:
  /// The tokenizer must outlive this.
  explicit DrawnText(const Tokenizer& tokenizer);
  /// Goes on where `state` was taken. Throws DataError on one of another vocabulary, or with a token that it lacks.
  DrawnText(const Tokenizer& tokenizer, const DrawnState& state);
  DrawnState state() const;

  /// The text goes on with tokens that were not drawn. What was held back is given up: `flush` takes it before.
  void append(std::span<const std::int32_t> tokens);
  /// From now on these texts end the drawing, also where they begin in what is held back.
  void stop_at(std::vector<std::string> stops);

  struct Draw {
    std::int32_t token;
    double log_probability;  // by the model alone; see sampler.h
    std::string text;        // certain now, valid UTF-8; often empty
  };
  /// The next token, from the logits of its predecessor, as many as the tokenizer has tokens. Throws NumericalError.
  Draw draw(std::span<const float> logits, const SamplingOptions& options);

  // The two halves of it, for a search that draws nothing.

  /// The logits of the next token after the repetition penalty. Throws NumericalError.
  std::vector<float> penalized(std::span<const float> logits, const SamplingOptions& options) const {
    return penalized_logits(logits, options, draws_, seen_);
  }
  /// Tokens that must not come next, some of them twice. The end token is none of them where all others are.
  std::vector<std::int32_t> forbidden(const SamplingOptions& options) const;
  /// Goes on with this token, and returns the text that is certain then.
  std::string take(std::int32_t token, const SamplingOptions& options);

  /// Whether the last draw was the end token, which is no part of the text.
  bool ended() const { return ended_; }
  /// Whether a stop string has been found.
  bool stopped() const { return stops_.found(); }
  /// What is held back, U+FFFD for bytes that never became a character.
  std::string flush();

 private:
  const Tokenizer* tokenizer_;
  TokenDecoder decoder_;
  StopStrings stops_;
  std::uint64_t draws_ = 0;
  bool ended_ = false;
  std::vector<std::uint8_t> seen_;
  std::vector<std::int32_t> recent_;
};

}  // namespace palimpsest
