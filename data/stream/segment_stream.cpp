#include "data/stream/segment_stream.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <type_traits>
#include <utility>

#include "core/error.h"
#include "data/stream/source_parts.h"
#include "data/stream/virtual_length.h"

namespace palimpsest {

namespace {

template <class T>
T field(const nlohmann::json& json, const char* key) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  if (found == json.end()) throw DataError(fmt::format("data cursor: key \"{}\" is missing", key));
  const bool fits = std::is_same_v<T, std::string> ? found->is_string() : found->is_number_unsigned();
  if (!fits) {
    throw DataError(fmt::format("data cursor: \"{}\" is {}, expected {}", key, found->dump(),
                                std::is_same_v<T, std::string> ? "a string" : "a non-negative integer"));
  }
  return found->get<T>();
}

void require_positive(std::int64_t value, const char* name) {
  if (value <= 0) throw ConfigError(fmt::format("{} is {}, expected at least 1", name, value));
}

}  // namespace

nlohmann::json to_json(const StreamCursor& cursor) {
  return {{"steps", static_cast<std::uint64_t>(cursor.steps)},
          {"data_checksum", cursor.data_checksum},
          {"seed", cursor.seed},
          {"batch_size", static_cast<std::uint64_t>(cursor.batch_size)},
          {"sequence_length", static_cast<std::uint64_t>(cursor.sequence_length)},
          {"interleave", static_cast<std::uint64_t>(cursor.interleave)}};
}

StreamCursor stream_cursor_from_json(const nlohmann::json& json) {
  return {field<std::int64_t>(json, "steps"),
          field<std::string>(json, "data_checksum"),
          field<std::uint64_t>(json, "seed"),
          field<std::int64_t>(json, "batch_size"),
          field<std::int64_t>(json, "sequence_length"),
          json.contains("interleave") ? field<std::int64_t>(json, "interleave") : 1};
}

SegmentStream::SegmentStream(const TokenFile& file, const StreamConfig& config)
    : SegmentStream(std::shared_ptr<const TokenFile>(std::shared_ptr<void>(), &file), config) {}

SegmentStream::SegmentStream(std::shared_ptr<const TokenFile> file, const StreamConfig& config)
    : file_(std::move(file)), config_(config) {
  require_positive(config.batch_size, "batch_size");
  require_positive(config.sequence_length, "sequence_length");
  require_positive(config.interleave, "interleave");
  require_lanes({config.first_lane, config.lane_count});
  if (config.virtual_length > 1) require_positive(config.segment_length, "segment_length");
  if (file_->token_count() / config.interleave < config.batch_size) {
    throw DataError(fmt::format(
        "{}: holds {} tokens, too few for a batch of {} lanes{}", file_->path().string(), file_->token_count(),
        config.batch_size,
        config.interleave > 1 ? fmt::format(", each of which reads {} places in turn", config.interleave) : ""));
  }
}

void SegmentStream::require_lanes(LaneRun lanes) const {
  require_positive(lanes.count, "lane_count");
  palimpsest::require_lanes(lanes, config_.batch_size);
}

TokenBatch SegmentStream::next(LaneRun lanes) {
  require_lanes(lanes);
  TokenBatch batch = empty_batch(lanes, config_.sequence_length);
  for (std::int64_t i = 0; i < lanes.count; ++i) {
    const std::int64_t run = run_of(lanes.first + i);
    TokenWindow& window = windows_.try_emplace(run, read_ahead / config_.interleave).first->second;
    fill_row(run, window, i * config_.sequence_length, batch);
  }
  if (config_.virtual_length > 1) {
    for (std::int64_t i = 0; i < lanes.count; ++i) append_write_weights(lanes.first + i, batch.write_weights);
  }
  ++steps_;
  orders_.erase(orders_.begin(), orders_.lower_bound(epoch()));
  return batch;
}

std::string SegmentStream::description() const {
  return fmt::format("{}: {} tokens in {} documents", file_->path().string(), file_->token_count(),
                     file_->document_count());
}

void SegmentStream::append_write_weights(std::int64_t lane, std::vector<float>& weights) const {
  Draws draws(
      Random(config_.seed, RandomPurpose::data, static_cast<std::uint64_t>(steps_), static_cast<std::uint32_t>(lane)));
  const VirtualLength virtual_length(config_.virtual_length, draws);
  for (std::int64_t done = 0; done < config_.sequence_length;) {
    const std::int64_t count = std::min(config_.segment_length, config_.sequence_length - done);
    weights.insert(weights.end(), static_cast<std::size_t>(count), virtual_length.segment_weight(draws));
    done += count;
  }
}

void SegmentStream::fill_row(std::int64_t run, TokenWindow& window, std::int64_t row, TokenBatch& batch) {
  const std::int64_t length = run_length(run);
  std::int64_t consumed = steps_ / config_.interleave * config_.sequence_length;
  for (std::int64_t remaining = config_.sequence_length; remaining > 0;) {
    const std::int64_t epoch = consumed / length;
    const std::int64_t in_run = consumed % length;
    const DocumentOrder::Place place = order(epoch).place(run_begin(run) + in_run);
    const DocumentInfo document = file_->document(place.document);
    const std::int64_t in_document = document.tokens - place.offset;
    const std::int64_t count = std::min({remaining, length - in_run, in_document});
    const std::int64_t token = document.begin + place.offset;
    fill_text(*file_, window, {token, token + count}, document.begin + document.tokens, static_cast<std::size_t>(row),
              batch);
    std::fill_n(batch.documents.begin() + row, count, epoch * file_->document_count() + place.rank);
    row += count;
    consumed += count;
    remaining -= count;
  }
}

const DocumentOrder& SegmentStream::order(std::int64_t epoch) {
  const auto found = orders_.find(epoch);
  if (found != orders_.end()) return found->second;
  return orders_.try_emplace(epoch, file_->document_offsets(), config_.seed, epoch).first->second;
}

std::int64_t SegmentStream::run_begin(std::int64_t run) const {
  const std::int64_t tokens = file_->token_count();
  return run * (tokens / runs()) + std::min(run, tokens % runs());
}

std::int64_t SegmentStream::run_length(std::int64_t run) const { return run_begin(run + 1) - run_begin(run); }

std::int64_t SegmentStream::epoch() const {
  // The longest run, one of the first, is finished last.
  return steps_ / config_.interleave * config_.sequence_length / run_length(config_.first_lane * config_.interleave);
}

StreamCursor SegmentStream::cursor() const {
  return {steps_, file_->checksum(), config_.seed, config_.batch_size, config_.sequence_length, config_.interleave};
}

void SegmentStream::seek(const StreamCursor& cursor) {
  const StreamCursor own = this->cursor();
  std::vector<std::string> differences;
  const auto compare = [&](const char* name, const auto& theirs, const auto& ours) {
    if (theirs != ours) differences.push_back(fmt::format("{} was {} and is {}", name, theirs, ours));
  };
  compare("the checksum of the training data", cursor.data_checksum, own.data_checksum);
  compare("seed", cursor.seed, own.seed);
  compare("batch_size", cursor.batch_size, own.batch_size);
  compare("sequence_length", cursor.sequence_length, own.sequence_length);
  compare("interleave", cursor.interleave, own.interleave);
  if (!differences.empty()) {
    throw ConfigError(fmt::format("{}: the position in the data cannot be resumed: {}", file_->path().string(),
                                  fmt::join(differences, "; ")));
  }
  const std::int64_t last = std::numeric_limits<std::int64_t>::max() / config_.sequence_length - 1;
  if (cursor.steps < 0 || cursor.steps > last) {
    throw DataError(fmt::format("data cursor: steps is {}, expected 0 to {}", cursor.steps, last));
  }
  steps_ = cursor.steps;
  orders_.clear();
}

}  // namespace palimpsest
