// The text of several token files, mixed by documents: what each lane reads one token after the other.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "core/token_batch.h"
#include "data/stream/mixed_order.h"
#include "data/stream/token_source.h"
#include "data/stream/token_window.h"

namespace palimpsest {

/// As a SegmentStream reads the epochs of one file: every span (MixedOrder) is cut into as many runs as there are
/// lanes, whose lengths differ by one token at most, and lane i reads run i of one span after the other.
class MixedText {
 public:
  /// `shape.batch_size` lanes. Throws DataError when a span has fewer tokens than there are lanes.
  MixedText(std::vector<MixedFile> files, const SourceShape& shape);

  /// Whether segments write to the memory with weights of their own.
  bool has_write_weights() const;
  const std::vector<MixedFile>& files() const { return files_; }
  /// Of all files together, after which each has come as its share says.
  std::int64_t span_tokens() const { return span_.tokens(); }

  /// Fills row `row` of a batch with a sequence of a lane that has read `sequences` of them before: inputs, targets,
  /// loss weights, the source of each token, and in `documents` which token of the lane, counted from its
  /// first one, its document, or as much of it as the lane reads, began with. Write weights only where there are any.
  void fill(std::int64_t lane, std::int64_t sequences, std::int64_t row, TokenBatch& batch);

 private:
  struct Lane {
    TokenWindow window;
    std::int64_t span = -1;  // of the order
    std::shared_ptr<const MixedOrder> order;
  };

  std::int64_t run_begin(std::int64_t lane) const;
  /// Of a span; lanes in the same one share it.
  const MixedOrder& order(Lane& lane, std::int64_t span);
  void fill_write_weights(std::int64_t lane, std::int64_t sequences, std::int64_t row, TokenBatch& batch) const;

  std::vector<MixedFile> files_;
  SourceShape shape_;
  MixedSpan span_;
  std::map<std::int64_t, Lane> lanes_;
};

}  // namespace palimpsest
