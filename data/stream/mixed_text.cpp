#include "data/stream/mixed_text.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/random.h"
#include "data/stream/source_parts.h"
#include "data/stream/virtual_length.h"

namespace palimpsest {

MixedText::MixedText(std::vector<MixedFile> files, const SourceShape& shape)
    : files_(std::move(files)), shape_(shape), span_(files_) {
  if (span_.tokens() >= shape.batch_size) return;
  throw DataError(fmt::format("{}: the text of the mixture has {} tokens, too few for {} lanes",
                              files_.front().file->path().string(), span_.tokens(), shape.batch_size));
}

bool MixedText::has_write_weights() const {
  return std::ranges::any_of(files_, [](const MixedFile& mixed) { return mixed.virtual_length > 1; });
}

std::int64_t MixedText::run_begin(std::int64_t lane) const {
  return lane * (span_.tokens() / shape_.batch_size) + std::min(lane, span_.tokens() % shape_.batch_size);
}

const MixedOrder& MixedText::order(Lane& lane, std::int64_t span) {
  if (lane.span == span) return *lane.order;
  const auto same = std::ranges::find_if(lanes_, [&](const auto& other) { return other.second.span == span; });
  lane.order =
      same != lanes_.end() ? same->second.order : std::make_shared<const MixedOrder>(files_, span_, shape_.seed, span);
  lane.span = span;
  return *lane.order;
}

void MixedText::fill(std::int64_t lane, std::int64_t sequences, std::int64_t row, TokenBatch& batch) {
  Lane& reader = lanes_[lane];
  const std::int64_t run = run_begin(lane), length = run_begin(lane + 1) - run;
  std::int64_t consumed = sequences * shape_.sequence_length;
  std::int64_t at = row * shape_.sequence_length;
  for (std::int64_t remaining = shape_.sequence_length; remaining > 0;) {
    const std::int64_t in_run = consumed % length;
    const MixedOrder::Part& part = order(reader, consumed / length).at(run + in_run);
    const std::int64_t in_part = run + in_run - part.begin;
    const std::int64_t count = std::min({remaining, length - in_run, part.count - in_part});
    const std::int64_t token = part.token + in_part;
    fill_text(*files_[part.file].file, reader.window, {token, token + count}, part.document_end,
              static_cast<std::size_t>(at), batch);
    std::fill_n(batch.documents.begin() + at, count, consumed - std::min(in_part, in_run));
    std::fill_n(batch.sources.begin() + at, count, static_cast<std::uint8_t>(files_[part.file].source));
    at += count;
    consumed += count;
    remaining -= count;
  }
  if (has_write_weights()) fill_write_weights(lane, sequences, row, batch);
}

void MixedText::fill_write_weights(std::int64_t lane, std::int64_t sequences, std::int64_t row,
                                   TokenBatch& batch) const {
  const auto first = static_cast<std::size_t>(row * shape_.sequence_length);
  for (std::size_t file = 0; file < files_.size(); ++file) {
    Draws draws(Random(shape_.seed, RandomPurpose::data, static_cast<std::uint64_t>(sequences),
                       static_cast<std::uint32_t>(lane)));
    const VirtualLength virtual_length(files_[file].virtual_length, draws);
    for (std::int64_t begin = 0; begin < shape_.sequence_length; begin += shape_.segment_length) {
      const float weight = virtual_length.segment_weight(draws);
      const std::int64_t end = std::min(begin + shape_.segment_length, shape_.sequence_length);
      for (std::size_t at = first + static_cast<std::size_t>(begin); at < first + static_cast<std::size_t>(end); ++at) {
        if (batch.sources[at] == files_[file].source) batch.write_weights[at] = weight;
      }
    }
  }
}

}  // namespace palimpsest
