// Several sources that are trained on together, each with its share of the tokens. Text of all token files is mixed
// document by document (mixed_text.h) and so shares lanes; a source of passkey prompts, whose documents fill sequences,
// has lanes of its own, as many as its share of the batch says. Where that is no whole number of lanes, one lane
// belongs to it and to its neighbour in turns (lane_turns.h). What a lane holds at a step follows from the step alone,
// and from where the curricula are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/stream/lane_turns.h"
#include "data/stream/mixed_text.h"
#include "data/stream/mixture_config.h"
#include "data/stream/passkey_source.h"
#include "data/stream/token_source.h"

namespace palimpsest {

class MixtureSource final : public TokenSource {
 public:
  static constexpr std::size_t most_sources = 100;
  static constexpr double least_share = 1e-4;

  /// Throws ConfigError, naming the entry of `data.train`, on one without a file, a share of less than `least_share`
  /// or too many of them, and on what PasskeySource refuses; DataError where two have different tokenizers; FileError
  /// or DataError over the files.
  MixtureSource(const std::vector<MixtureEntry>& entries, const SourceShape& shape);

  /// `documents` is, for each token, which token of its lane the document, or as much of it as the lane reads without a
  /// break, began with.
  TokenBatch next(LaneRun lanes) override;
  std::vector<std::string> mixed() const override { return names_; }
  void observe_each(std::span<const SourceTotals> sources) override;

  nlohmann::json state() const override;
  void restore(const nlohmann::json& state) override;
  std::string name() const override;
  std::string description() const override;
  std::string position() const override;
  std::int64_t vocab_size() const override { return vocab_size_; }
  std::string tokenizer_identity() const override { return tokenizer_identity_; }
  std::string_view tokenizer_model() const override { return tokenizer_model_; }

 private:
  struct Prompts {
    PasskeySource source;
    std::size_t number;  // among all sources
  };

  std::vector<MixedFile> open_texts(double weights);
  /// Refuses an entry whose tokenizer is not that of those before.
  void take_tokenizer(std::size_t number, const std::string& whose, const std::string& identity, std::string_view model,
                      std::int64_t vocab_size);
  /// A batch of these lanes without content.
  TokenBatch empty_batch(LaneRun lanes) const;
  void copy_prompts(const TokenBatch& prompts, std::int64_t from, std::size_t number, std::int64_t row,
                    TokenBatch& batch) const;
  std::size_t first_prompts() const { return text_ ? 1 : 0; }  // of the turns' holders
  nlohmann::json task() const;

  std::vector<MixtureEntry> entries_;
  SourceShape shape_;
  std::vector<std::string> names_;
  std::string tokenizer_identity_, tokenizer_model_;
  std::int64_t vocab_size_ = 0;
  std::optional<MixedText> text_;
  std::vector<Prompts> prompts_;
  std::optional<LaneTurns> turns_;
  bool write_weights_ = false;
  std::int64_t steps_ = 0;
};

}  // namespace palimpsest
