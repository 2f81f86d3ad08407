// Text to tokens and back. Four kinds of tokenizers: bytes, which needs no file, SentencePiece models, byte-level BPE
// (byte_pair_tokenizer.h), and short word lists for tasks (word_tokenizer.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/text/utf8.h"

namespace palimpsest {

/// Immutable; safe to use from several threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// The tokens of `text`, without begin and end tokens.
  virtual std::vector<std::int32_t> encode(std::string_view text) const = 0;
  /// The text of a whole sequence; begin and end tokens stand for nothing. Throws DataError on a token
  /// outside the vocabulary. For text that arrives token by token see TokenDecoder.
  virtual std::string decode(std::span<const std::int32_t> tokens) const = 0;

  virtual std::int64_t vocab_size() const = 0;
  /// Stand before and after every document.
  virtual std::int32_t begin_id() const = 0;
  virtual std::int32_t end_id() const = 0;
  /// The token of text that the vocabulary cannot express; -1 when it can express everything.
  virtual std::int32_t unknown_id() const { return -1; }

  /// Names the tokenizer exactly: "bytes", or "sentencepiece:", "byte_pair:" or "words:" and the hash of the model.
  /// Token files, checkpoints and prompts go together when their identities are equal.
  virtual std::string identity() const = 0;
  /// What make_tokenizer needs besides the identity: a model file's bytes, or nothing.
  virtual std::string_view model() const { return {}; }

  /// The bytes one token stands for, a whole character or not; nothing for begin and end tokens.
  /// `at_start` says whether the text starts with them, where `decode` may drop a space that `encode` puts
  /// there, and afterwards whether it still does. Throws DataError on a token outside the vocabulary.
  virtual std::string token_bytes(std::int32_t token, bool& at_start) const = 0;
};

/// "bytes", "passkey" (that task's words), or the path of a SentencePiece model or tokenizer.json. Throws FileError.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& specification);

/// From what a token file or checkpoint stores. Throws DataError when identity and model disagree.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& identity, std::string_view model);

/// Every byte is a token of its own value; 256 begins and 257 ends a document. `encode` and `decode`
/// are exact inverses for any bytes, valid UTF-8 or not.
class ByteTokenizer final : public Tokenizer {
 public:
  std::vector<std::int32_t> encode(std::string_view text) const override;
  std::string decode(std::span<const std::int32_t> tokens) const override;
  std::int64_t vocab_size() const override { return 258; }
  std::int32_t begin_id() const override { return 256; }
  std::int32_t end_id() const override { return 257; }
  std::string identity() const override { return "bytes"; }
  std::string token_bytes(std::int32_t token, bool& at_start) const override;
};

/// The text of a sequence whose tokens come one by one. What `append` and `finish` return, joined, is
/// the text of the whole sequence, and each piece of it is valid UTF-8 for itself. To continue a
/// prompt, append the prompt's tokens first and leave aside what they return.
class TokenDecoder {
 public:
  /// The tokenizer must outlive the decoder.
  explicit TokenDecoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}
  /// Goes on where another decoder had these values.
  TokenDecoder(const Tokenizer& tokenizer, bool at_start, std::string_view pending)
      : tokenizer_(&tokenizer), at_start_(at_start) {
    characters_.append(pending);
  }

  /// The text that is complete with this token; often nothing, when a character takes several.
  std::string append(std::int32_t token);
  /// U+FFFD for what never became a character.
  std::string finish() { return characters_.finish(); }

  /// Whether the text is still at its start, for Tokenizer::token_bytes.
  bool at_start() const { return at_start_; }
  /// The bytes of a character that is not complete.
  std::string_view pending() const { return characters_.pending(); }

 private:
  const Tokenizer* tokenizer_;
  Utf8Stream characters_;
  bool at_start_ = true;
};

}  // namespace palimpsest
