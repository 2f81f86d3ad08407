// Reading a text of any length and going on with it. What is remembered is a value of constant size, for an attention
// whose state is: it can be copied, put aside and taken up again (generator_file.h), and going on from it is the same,
// bit for bit, as never having stopped.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/text/tokenizer.h"
#include "launch/inference/drawn_text.h"
#include "launch/inference/generation_options.h"
#include "layers/decode_state.h"

namespace palimpsest {

/// Segments of a text that pass at once, between two questions whether to go on.
inline constexpr std::int64_t segments_at_once = 16;

/// Throws DataError when the tokenizer has more tokens than the model.
void require_vocabulary(const LanguageModel& model, const Tokenizer& tokenizer);

/// Of a Generator, as a value.
struct GeneratorState {
  DecodeSnapshot decoder;            // one lane
  std::vector<float> logits;         // of the next token, over the model's vocabulary; empty while something is unread
  std::vector<std::int32_t> unread;  // tokens of the text that the model has not read yet; most often the last one
  DrawnState drawn;
};

/// A text that is read and continued. Copies go on apart from each other, sharing what they have in common. Model,
/// tokenizer and pool must outlive it.
class Generator {
 public:
  /// The start of a document. Throws DataError when the tokenizer has more tokens than the model.
  Generator(const LanguageModel& model, const Tokenizer& tokenizer, MemoryPool& pool);
  /// Throws DataError on a state that is not of this model and tokenizer.
  Generator(const LanguageModel& model, const Tokenizer& tokenizer, MemoryPool& pool, const GeneratorState& state);
  GeneratorState state() const;
  const LanguageModel& model() const { return *model_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }

  /// The text goes on with this, which the model reads when it is needed or `read` is called. What was held back is
  /// given up: `flush` takes it before.
  void append(std::string_view text);
  /// The same for tokens. Throws DataError on one outside the tokenizer's vocabulary; nothing has happened then.
  void append_tokens(std::span<const std::int32_t> tokens);
  /// Reads what is unread, sixteen segments at a time. False where `goes_on`, asked after each of them, said no; a
  /// later call goes on there.
  bool read(const GoesOn& goes_on = {});
  /// Tokens that the model has read, the begin token included, and those of the text that it has not.
  std::int64_t tokens() const { return decoder_.tokens(); }
  std::int64_t unread() const { return static_cast<std::int64_t>(unread_.size()) - next_; }

  /// Reads what is unread. The logits of the token that comes next, over the model's vocabulary; valid until the text
  /// goes on.
  std::span<const float> logits();

  /// Continues the text. What might yet become a character or a stop string is held back, also at the end, for a
  /// generation that goes on from here; see `flush`. With several beams the text is written when all of it is found,
  /// and going on from there is another search. Throws what `check` does, and NumericalError.
  GenerationResult generate(const GenerationOptions& options, const TextSink& write, const GoesOn& goes_on = {});
  /// What is held back when nothing comes after it, U+FFFD for bytes that never became a character.
  std::string flush() { return drawn_.flush(); }

 private:
  GenerationResult draw(const GenerationOptions& options, const TextSink& write, const GoesOn& goes_on);
  GenerationResult search(const GenerationOptions& options, const TextSink& write, const GoesOn& goes_on);

  const LanguageModel* model_;
  const Tokenizer* tokenizer_;
  DecodeState decoder_;
  DrawnText drawn_;
  Tensor logits_;                     // after the last token read
  std::vector<std::int32_t> unread_;  // from next_ on
  std::int64_t next_ = 0;
};

}  // namespace palimpsest
