// The endless sequence of training batches. Every epoch shuffles the documents, lays them end to end and
// cuts the result into `batch_size` runs whose lengths differ by one token at most. Lane i reads run i
// of one epoch after the other, `sequence_length` tokens a step: nothing is padded, and each token is an
// input exactly once an epoch. Where a lane is after n steps follows from n alone, so a step's samples
// do not depend on how many ranks share the lanes, and any step can be reached at once.
//
// With `interleave` there are as many times more runs, and each lane has so many that lie side by side: it reads them
// in turn, a step of each.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/token_batch.h"
#include "data/stream/document_order.h"
#include "data/stream/token_source.h"
#include "data/stream/token_window.h"
#include "data/tokens/token_file.h"

namespace palimpsest {

struct StreamConfig {
  std::uint64_t seed = 1;
  std::int64_t batch_size = 1;       // lanes of the global batch
  std::int64_t sequence_length = 1;  // tokens per lane and step
  std::int64_t first_lane = 0;       // the lanes of this stream: [first_lane, first_lane + lane_count)
  std::int64_t lane_count = 1;
  std::int64_t interleave = 1;      // runs that a lane reads in turn
  double virtual_length = 1;        // the most that a segment writes to the memory (data/stream/virtual_length.h)
  std::int64_t segment_length = 0;  // of the model; needed for virtual length alone
};

/// A position in the sequence, with what it is a position in.
struct StreamCursor {
  std::int64_t steps = 0;     // batches consumed
  std::string data_checksum;  // TokenFile::checksum
  std::uint64_t seed = 0;
  std::int64_t batch_size = 0;
  std::int64_t sequence_length = 0;
  std::int64_t interleave = 1;

  bool operator==(const StreamCursor&) const = default;
};

nlohmann::json to_json(const StreamCursor& cursor);
/// Throws DataError, naming the key, when one is missing or of another type. Without "interleave", which positions of
/// before 1 December 2026 lack, it is 1.
StreamCursor stream_cursor_from_json(const nlohmann::json& json);

/// Reads ahead by pieces of `read_ahead` tokens a lane, which its runs share; holds no more of the file than that, or a
/// step of each run.
class SegmentStream final : public TokenSource {
 public:
  static constexpr std::int64_t read_ahead = TokenWindow::read_ahead;

  /// `file` must outlive the stream. Throws ConfigError on sizes that are not positive or lanes outside
  /// the batch, DataError when the file has fewer tokens than there are runs.
  SegmentStream(const TokenFile& file, const StreamConfig& config);
  /// Keeps the file.
  SegmentStream(std::shared_ptr<const TokenFile> file, const StreamConfig& config);

  /// The next batch of the configuration's lanes, in order. The target of an input token is its successor in its
  /// document, wherever a run ends; an end token has none (target 0, weight 0), and masked targets have weight 0.
  /// `documents` grows by at least one with every document of a run, and with every part of a document that one starts
  /// with. With a virtual length above 1, segments have write weights that depend on seed, step and lane.
  TokenBatch next() { return next({config_.first_lane, config_.lane_count}); }
  TokenBatch next(LaneRun lanes) override;

  /// The position of the batch that `next` will return; the same on every rank.
  StreamCursor cursor() const;
  /// Continues where `cursor` was taken: the batches that follow are the same, document indices
  /// included. Throws ConfigError, naming every difference, when it belongs to other data, another seed,
  /// batch size, sequence length or number of runs a lane.
  void seek(const StreamCursor& cursor);
  nlohmann::json state() const override { return to_json(cursor()); }
  void restore(const nlohmann::json& state) override { seek(stream_cursor_from_json(state)); }

  /// The epoch (counted from 0) of the slowest next token of the configuration's lanes.
  std::int64_t epoch() const;

  std::string name() const override { return file_->path().string(); }
  std::string description() const override;
  std::optional<std::int64_t> epoch_tokens() const override { return file_->token_count(); }
  std::string position() const override { return {}; }
  std::int64_t vocab_size() const override { return file_->vocab_size(); }
  std::string tokenizer_identity() const override { return file_->tokenizer_identity(); }
  std::string_view tokenizer_model() const override { return file_->tokenizer_model(); }

 private:
  void require_lanes(LaneRun lanes) const;
  std::int64_t runs() const { return config_.batch_size * config_.interleave; }
  /// That the lane reads from in the next step.
  std::int64_t run_of(std::int64_t lane) const { return lane * config_.interleave + steps_ % config_.interleave; }
  std::int64_t run_begin(std::int64_t run) const;
  std::int64_t run_length(std::int64_t run) const;
  const DocumentOrder& order(std::int64_t epoch);
  void append_write_weights(std::int64_t lane, std::vector<float>& weights) const;
  void fill_row(std::int64_t run, TokenWindow& window, std::int64_t row, TokenBatch& batch);

  std::shared_ptr<const TokenFile> file_;
  StreamConfig config_;
  std::int64_t steps_ = 0;
  std::map<std::int64_t, TokenWindow> windows_;  // by run
  std::map<std::int64_t, DocumentOrder> orders_;
};

}  // namespace palimpsest
