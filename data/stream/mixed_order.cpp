#include "data/stream/mixed_order.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/random.h"
#include "data/stream/document_order.h"
#include "data/stream/source_seed.h"

namespace palimpsest {

MixedSpan::MixedSpan(std::span<const MixedFile> files) {
  double first = std::numeric_limits<double>::max(), last = 0;  // a span in which so many files are read through
  for (const MixedFile& mixed : files) {
    const double through = static_cast<double>(mixed.file->token_count()) / mixed.share;
    first = std::min(first, through);
    last = std::max(last, through);
  }
  const double all = std::max(first, std::min(last, static_cast<double>(most_tokens)));
  for (const MixedFile& mixed : files) {
    tokens_.push_back(std::max<std::int64_t>(1, std::llround(all * mixed.share)));
    all_ += tokens_.back();
  }
}

MixedOrder::MixedOrder(std::span<const MixedFile> files, const MixedSpan& span, std::uint64_t seed,
                       std::int64_t number) {
  std::vector<std::pair<double, Part>> placed;  // by the share of the span that comes before
  for (std::size_t index = 0; index < files.size(); ++index) {
    const TokenFile& file = *files[index].file;
    const std::int64_t quota = span.tokens(index), begin = number * quota, in_file = file.token_count();
    const Random random(seed, RandomPurpose::shuffle, static_cast<std::uint64_t>(number),
                        static_cast<std::uint32_t>(index + 1));
    std::uint64_t drawn = 0;
    for (std::int64_t epoch = begin / in_file; epoch * in_file < begin + quota; ++epoch) {
      const DocumentOrder order(file.document_offsets(), source_seed(seed, index), epoch);
      const std::int64_t epoch_end = std::min((epoch + 1) * in_file, begin + quota);
      for (std::int64_t at = std::max(epoch * in_file, begin); at < epoch_end;) {
        const DocumentOrder::Place place = order.place(at - epoch * in_file);
        const DocumentInfo document = file.document(place.document);
        const std::int64_t count = std::min(document.tokens - place.offset, epoch_end - at);
        // A point within the document, not its begin: files whose documents are equally long would else take turns
        // in the same places of all lanes.
        const double point = static_cast<double>(at - begin) + random.uniform(drawn++) * static_cast<double>(count);
        placed.emplace_back(point / static_cast<double>(quota),
                            Part{index, 0, document.begin + place.offset, count, document.begin + document.tokens});
        at += count;
      }
    }
  }
  std::ranges::stable_sort(placed, {}, &std::pair<double, Part>::first);
  std::int64_t position = 0;
  parts_.reserve(placed.size());
  for (auto& [point, part] : placed) {
    part.begin = position;
    position += part.count;
    parts_.push_back(part);
  }
}

const MixedOrder::Part& MixedOrder::at(std::int64_t position) const {
  return *(std::ranges::upper_bound(parts_, position, {}, &Part::begin) - 1);
}

}  // namespace palimpsest
