// What an evaluation is told of: the losses of a document's tokens, run by run. Whatever is to be measured of them
// (by document, by position) is an accumulator, and sums.
#pragma once

#include <cstdint>
#include <span>

namespace palimpsest {

/// Consecutive tokens of a document's text.
struct EvaluatedRun {
  std::int64_t document = 0;         // index in the token file
  std::int64_t position = 0;         // of the first token in the text; 0: the one predicted from the begin token
  std::int64_t segment_length = 1;   // the model's; a document begins where a segment does
  std::int64_t memory_segments = 0;  // after so many segments the memory begins empty again; 0: never
  std::span<const double> losses;    // negative log-likelihoods, nats

  std::int64_t tokens() const { return static_cast<std::int64_t>(losses.size()); }
  /// Of token i of the run: how many tokens of its segment local attention has before it.
  std::int64_t position_in_segment(std::int64_t i) const { return (position + i) % segment_length; }
  /// Of token i of the run: how many segments of its document were compressed into the memory before its own was read,
  /// since the memory last began empty.
  std::int64_t compressions(std::int64_t i) const {
    const std::int64_t segments = (position + i) / segment_length;
    return memory_segments > 0 ? segments % memory_segments : segments;
  }
};

class EvaluationAccumulator {
 public:
  virtual ~EvaluationAccumulator() = default;

  /// Every token that is not masked comes once among all ranks; runs of several documents are mixed, and those of a
  /// document in order unless it is read in windows.
  virtual void add(const EvaluatedRun& run) = 0;
  /// What the runs have summed up to, as many numbers on every rank: at the end the ranks' are added up.
  virtual std::span<double> sums() = 0;
};

}  // namespace palimpsest
