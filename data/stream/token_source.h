// What a run is trained on, as the trainer sees it: a token file, or a generator.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/token_batch.h"

namespace palimpsest {

/// Lanes [first, first + count) of the global batch.
struct LaneRun {
  std::int64_t first = 0;
  std::int64_t count = 1;
};

/// The batches that are asked for.
struct SourceShape {
  std::uint64_t seed = 1;
  std::int64_t batch_size = 1;       // lanes of the global batch
  std::int64_t sequence_length = 1;  // tokens per lane and step
  std::int64_t segment_length = 1;   // of the model
  std::int64_t interleave = 1;       // places that each lane reads in turn, a step of each
};

/// An endless sequence of global batches. Where it is follows from what `cursor` says alone, and what a lane holds then
/// from that, the seed and the lane: the number of ranks that share the lanes makes no difference.
class TokenSource {
 public:
  virtual ~TokenSource() = default;

  /// The rows of these lanes of the next batch, and a step further. Throws ConfigError on lanes outside the batch.
  virtual TokenBatch next(LaneRun lanes) = 0;
  /// Told after every step of the answers on all ranks, the same on every rank.
  virtual void observe(const AnswerCounts&) {}
  /// What logs call the sources of a mixture, by their numbers in TokenBatch::sources; none for anything else.
  virtual std::vector<std::string> mixed() const { return {}; }
  /// Told instead by a mixture's steps: of the answers of each source.
  virtual void observe_each(std::span<const SourceTotals>) {}

  /// The position of the batch that `next` will return, with what it is a position in; the same on every rank.
  virtual nlohmann::json state() const = 0;
  /// Continues where `state` was taken. Throws ConfigError, naming every difference, when that was another source, and
  /// DataError when it is no such state.
  virtual void restore(const nlohmann::json& state) = 0;

  /// What errors call it: the file, if it is one.
  virtual std::string name() const = 0;
  /// What it is, for people: "train.h5: 3456 tokens in 12 documents".
  virtual std::string description() const = 0;
  /// After how many tokens it begins anew; nothing for what never does.
  virtual std::optional<std::int64_t> epoch_tokens() const { return std::nullopt; }
  /// How far it is, for people, where the step does not say it all: "stage 2 of 6". May be empty.
  virtual std::string position() const = 0;

  virtual std::int64_t vocab_size() const = 0;
  /// As in Tokenizer: with these two a checkpoint can make the tokenizer again.
  virtual std::string tokenizer_identity() const = 0;
  virtual std::string_view tokenizer_model() const = 0;
};

}  // namespace palimpsest
