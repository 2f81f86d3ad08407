#include "data/text/tokenizer.h"

#include <fmt/format.h>

#include "core/error.h"
#include "data/text/byte_pair_tokenizer.h"
#include "data/text/sentencepiece_tokenizer.h"
#include "data/text/word_tokenizer.h"

namespace palimpsest {

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& specification) {
  if (specification == "bytes") return std::make_unique<ByteTokenizer>();
  if (specification == "passkey") return std::make_unique<WordTokenizer>(passkey_word_list());
  std::error_code error;
  if (std::filesystem::status(specification, error).type() == std::filesystem::file_type::not_found) {
    throw FileError(
        fmt::format("{}: no such tokenizer; expected \"bytes\", \"passkey\", a SentencePiece model file or a "
                    "tokenizer.json",
                    specification));
  }
  if (specification.ends_with(".json")) return BytePairTokenizer::load(specification);
  return SentencePieceTokenizer::load(specification);
}

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& identity, std::string_view model) {
  std::unique_ptr<Tokenizer> tokenizer;
  if (identity == "bytes") {
    tokenizer = std::make_unique<ByteTokenizer>();
  } else if (identity.starts_with("sentencepiece:")) {
    tokenizer = std::make_unique<SentencePieceTokenizer>(std::string(model), "the stored SentencePiece model");
  } else if (identity.starts_with("byte_pair:")) {
    tokenizer = std::make_unique<BytePairTokenizer>(std::string(model), "the stored tokenizer.json");
  } else if (identity.starts_with("words:")) {
    tokenizer = std::make_unique<WordTokenizer>(std::string(model));
  } else {
    throw DataError(fmt::format(
        "unknown tokenizer \"{}\"; expected \"bytes\", \"sentencepiece:HASH\", \"byte_pair:HASH\" or \"words:HASH\"",
        identity));
  }
  if (tokenizer->identity() != identity) {
    throw DataError(
        fmt::format("the stored tokenizer model is {}, but {} is expected", tokenizer->identity(), identity));
  }
  return tokenizer;
}

std::vector<std::int32_t> ByteTokenizer::encode(std::string_view text) const {
  std::vector<std::int32_t> tokens;
  tokens.reserve(text.size());
  for (const char byte : text) tokens.push_back(static_cast<unsigned char>(byte));
  return tokens;
}

std::string ByteTokenizer::decode(std::span<const std::int32_t> tokens) const {
  std::string text;
  text.reserve(tokens.size());
  bool at_start = true;
  for (const std::int32_t token : tokens) text += token_bytes(token, at_start);
  return text;
}

std::string ByteTokenizer::token_bytes(std::int32_t token, bool& at_start) const {
  if (token < 0 || token >= vocab_size()) {
    throw DataError(fmt::format("token {} is outside the vocabulary of {} tokens", token, vocab_size()));
  }
  at_start = false;
  return token < 256 ? std::string(1, static_cast<char>(token)) : std::string();
}

std::string TokenDecoder::append(std::int32_t token) {
  const std::string bytes = tokenizer_->token_bytes(token, at_start_);
  // A begin or end token parts the characters before it from those after it.
  const bool is_marker = token == tokenizer_->begin_id() || token == tokenizer_->end_id();
  return is_marker ? characters_.finish() : characters_.append(bytes);
}

}  // namespace palimpsest
