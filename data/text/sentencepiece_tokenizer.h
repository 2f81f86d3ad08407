// SentencePiece models (Kudo and Richardson 2018, arXiv 1808.06226) as tokenizers, and their training.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/text/corpus.h"
#include "data/text/tokenizer.h"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace palimpsest {

class SentencePieceTokenizer final : public Tokenizer {
 public:
  /// Throws FileError when the file is not a SentencePiece model with begin (<s>) and end (</s>) tokens.
  static std::unique_ptr<SentencePieceTokenizer> load(const std::filesystem::path& path);
  /// From a model file's bytes; errors start with `name`. Throws FileError.
  SentencePieceTokenizer(std::string model, const std::string& name);
  ~SentencePieceTokenizer() override;

  std::vector<std::int32_t> encode(std::string_view text) const override;
  std::string decode(std::span<const std::int32_t> tokens) const override;
  std::int64_t vocab_size() const override;
  std::int32_t begin_id() const override;
  std::int32_t end_id() const override;
  std::int32_t unknown_id() const override { return unknown_id_; }
  std::string identity() const override { return identity_; }
  std::string_view model() const override { return model_; }
  std::string token_bytes(std::int32_t token, bool& at_start) const override;

  /// The piece as the model spells it ("▁the", "<0x0A>"). Throws DataError on a token outside the vocabulary.
  std::string piece(std::int32_t token) const;
  /// The model's <unk>, whether text ever needs it or not.
  std::int32_t unknown_piece() const;

 private:
  /// What decoding does to spaces that start the text.
  enum class LeadingSpaces { kept, one_dropped, all_dropped };

  void require_token(std::int32_t token) const;
  LeadingSpaces probe_leading_spaces() const;
  bool spells_bytes() const;

  std::string model_;
  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
  std::string identity_;
  LeadingSpaces leading_spaces_ = LeadingSpaces::kept;
  std::int32_t unknown_id_ = -1;
};

struct TokenizerTraining {
  enum class Model { unigram, bpe };

  Model model = Model::unigram;
  std::int64_t vocab_size = 8000;
  double character_coverage = 0.9995;      // share of the text's characters that get pieces; bytes spell the rest
  std::int64_t max_sentences = 1'000'000;  // lines to learn from, drawn at random; 0: all
  bool split_digits = false;               // every digit is a piece of its own
  std::int64_t threads = 1;
  std::uint32_t seed = 1;
};

struct TrainedTokenizer {
  std::string model;                    // the model file's bytes
  std::vector<CorpusProblem> problems;  // files that were passed over
};

/// Trains a model on the lines of text files. It is lossless: no normalisation, white space kept, and bytes (<0x00> to
/// <0xFF>) for what has no piece. Tokens: 0 <unk>, 1 <s>, 2 </s>. Throws ConfigError when the text cannot fill such a
/// vocabulary, DataError when there is no text.
TrainedTokenizer train_sentencepiece(const std::vector<std::filesystem::path>& files,
                                     const TokenizerTraining& training);

}  // namespace palimpsest
