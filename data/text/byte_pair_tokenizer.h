// Byte-level BPE as GPT-2, Llama 3, Qwen and SmolLM have it, from Hugging Face's tokenizer.json: text is cut into
// pieces, and the bytes of each merge, two neighbours at a time, into tokens. Whatever bytes a text has, tokens can
// spell them; what is not UTF-8 becomes U+FFFD.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/text/piece_splitter.h"
#include "data/text/tokenizer.h"
#include "data/text/tokenizer_json.h"

namespace palimpsest {

class BytePairTokenizer final : public Tokenizer {
 public:
  /// From `tokenizer.json` and, for the tokens that begin and end a document (bos_token, eos_token; without the one the
  /// other), `tokenizer_config.json` beside it. Throws FileError.
  static std::unique_ptr<BytePairTokenizer> load(const std::filesystem::path& path);
  /// From what `model` has returned: a line of JSON with `begin` and `end`, then tokenizer.json. Errors start with
  /// `name`. Throws FileError.
  BytePairTokenizer(std::string model, const std::string& name);

  /// Text that spells an added token becomes it. What spells a special one is text like any other, unless
  /// `reads_special`: whoever wrote it cannot end a document or speak in another's name. Throws DataError on more than
  /// 2 GiB.
  std::vector<std::int32_t> encode(std::string_view text) const override;
  bool reads_special = false;
  std::string decode(std::span<const std::int32_t> tokens) const override;
  std::int64_t vocab_size() const override { return static_cast<std::int64_t>(description_.tokens.size()); }
  std::int32_t begin_id() const override { return begin_; }
  std::int32_t end_id() const override { return end_; }
  std::string identity() const override { return identity_; }
  std::string_view model() const override { return model_; }
  std::string token_bytes(std::int32_t token, bool& at_start) const override;

  /// tokenizer.json, as it was read.
  std::string_view json() const { return std::string_view(model_).substr(model_.find('\n') + 1); }
  /// An added token's text, or the bytes of another one. Throws DataError on a token outside the vocabulary.
  const std::string& content(std::int32_t token) const;

 private:
  struct Merge {
    std::size_t rank;
    std::int32_t result;
  };
  /// Added tokens by the first byte of their content, the longest first.
  using AddedTokens = std::vector<std::vector<const BytePairDescription::Added*>>;
  class Encoding;

  /// The id of one that begins or ends a document, which makes it special.
  std::int32_t added_token(const std::string& content, const std::string& name);
  void part_special_tokens(const std::string& name);
  const Merge* merge_of(std::int32_t left, std::int32_t right) const;

  std::string model_;
  BytePairDescription description_;
  PieceSplitter splitter_;
  std::unordered_map<std::uint64_t, Merge> merges_;  // by both tokens
  AddedTokens added_first_, added_normalized_;
  std::int32_t begin_ = 0, end_ = 0;
  std::string identity_;
};

/// The same tokenizer, but text that spells one of its special tokens becomes it. Throws ConfigError when it has none
/// that text can spell.
std::unique_ptr<Tokenizer> with_special_tokens(std::unique_ptr<Tokenizer> tokenizer);

}  // namespace palimpsest
