// A tokenizer over a short list of words, for tasks whose text is made of them: a word, a digit or a punctuation mark
// is a token.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/text/tokenizer.h"

namespace palimpsest {

/// Text to tokens to text gives the words back with one space between them, none before . , ; : ? ! and one between
/// digits; tokens to text to tokens is exact for whatever `encode` yields without unknown words.
class WordTokenizer final : public Tokenizer {
 public:
  /// `model` is the list: a word a line, the first three <unk>, <s> and </s>. Throws DataError on another beginning, an
  /// empty or repeated word, white space in one, or more than 65,536 of them.
  explicit WordTokenizer(std::string model);

  std::vector<std::int32_t> encode(std::string_view text) const override;
  std::string decode(std::span<const std::int32_t> tokens) const override;
  std::int64_t vocab_size() const override { return static_cast<std::int64_t>(words_.size()); }
  std::int32_t begin_id() const override { return 1; }
  std::int32_t end_id() const override { return 2; }
  std::int32_t unknown_id() const override { return 0; }
  /// "words:" and the hash of the list.
  std::string identity() const override { return identity_; }
  std::string_view model() const override { return model_; }
  std::string token_bytes(std::int32_t token, bool& at_start) const override;

 private:
  std::string model_, identity_;
  std::vector<std::string_view> words_;  // of model_
  std::unordered_map<std::string_view, std::int32_t> ids_;
};

/// The words of the passkey prompt, digits and names: what the tokenizer named "passkey" is made of.
std::string passkey_word_list();

}  // namespace palimpsest
