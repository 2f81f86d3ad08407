// Passkey prompts to train on, with a curriculum, and virtual length: in training a segment that holds nothing but
// filler writes to the memory with a weight r, as r repetitions of it would, so that a short prompt stands for a long
// one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/stream/passkey_config.h"
#include "data/stream/passkey_prompt.h"
#include "data/stream/token_source.h"

namespace palimpsest {

/// What prompts of this configuration are made of. Without a tokenizer of its own or its filler's it takes that of a
/// text that it is mixed with, or else, without such a text, the prompts' own.
std::shared_ptr<const PasskeyLanguage> passkey_language(const PasskeyConfig& config, const TokenFile* mixed_with);

class PasskeySource final : public TokenSource {
 public:
  /// Sequences are a multiple of the segment. Throws ConfigError on numbers that do not go together, FileError or
  /// DataError over the filler or the tokenizer.
  PasskeySource(const PasskeyConfig& config, const SourceShape& shape)
      : PasskeySource(config, shape, passkey_language(config, nullptr)) {}
  PasskeySource(const PasskeyConfig& config, const SourceShape& shape, std::shared_ptr<const PasskeyLanguage> language);

  /// A lane holds as many prompts of this step's length as fit, each a document of its own that starts at a segment's
  /// border; the last one takes the segments that are left. Loss weights: for each prompt the mean over the answer's
  /// tokens plus `text_loss` times the mean over all its tokens, scaled to add up to the prompt's length.
  TokenBatch next(LaneRun lanes) override;
  /// A step further without any rows.
  void skip() { ++steps_; }
  /// Counts towards the next stage, unless the step had prompts of an earlier length.
  void observe(const AnswerCounts& answers) override;
  nlohmann::json state() const override;
  void restore(const nlohmann::json& state) override;
  std::string name() const override { return "the passkey prompts"; }
  std::string description() const override;
  std::string position() const override;
  std::int64_t vocab_size() const override { return language_->tokenizer().vocab_size(); }
  std::string tokenizer_identity() const override { return language_->tokenizer().identity(); }
  std::string_view tokenizer_model() const override { return language_->tokenizer().model(); }

  const std::vector<PasskeyStage>& stages() const { return stages_; }
  std::int64_t stage() const { return static_cast<std::int64_t>(stage_begins_.size()) - 1; }
  /// The prompts of one lane of the next batch, in order.
  std::vector<PasskeyPrompt> prompts(std::int64_t lane) const;
  /// The weight with which each segment of a lane of the next batch writes to the memory.
  std::vector<float> segment_weights(std::int64_t lane) const;

 private:
  struct Slot {
    PasskeyPrompt prompt;
    std::vector<float> segment_weights;
  };

  void check() const;
  std::vector<PasskeyStage> default_stages() const;
  /// Segments of the next batch's prompts.
  std::int64_t prompt_segments() const;
  std::vector<Slot> slots(std::int64_t lane) const;
  nlohmann::json task() const;

  PasskeyConfig config_;
  SourceShape shape_;
  std::shared_ptr<const PasskeyLanguage> language_;
  std::vector<PasskeyStage> stages_;
  std::int64_t steps_ = 0;
  std::vector<std::int64_t> stage_begins_{0};  // the step at which each stage so far began
  std::int64_t counted_steps_ = 0;             // towards the next stage
  AnswerCounts counted_;
};

}  // namespace palimpsest
