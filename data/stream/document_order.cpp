#include "data/stream/document_order.h"

#include <algorithm>
#include <numeric>

#include "core/random.h"

namespace palimpsest {

DocumentOrder::DocumentOrder(std::span<const std::int64_t> document_offsets, std::uint64_t seed, std::int64_t epoch)
    : documents_(document_offsets.size() - 1), begins_(document_offsets.size()) {
  std::iota(documents_.begin(), documents_.end(), std::int64_t{0});
  const Random random(seed, RandomPurpose::shuffle, static_cast<std::uint64_t>(epoch));
  for (std::size_t last = documents_.size() - 1; last > 0; --last) {
    std::swap(documents_[last], documents_[random.below(last, last + 1)]);
  }
  for (std::size_t rank = 0; rank < documents_.size(); ++rank) {
    const auto document = static_cast<std::size_t>(documents_[rank]);
    begins_[rank + 1] = begins_[rank] + document_offsets[document + 1] - document_offsets[document];
  }
}

DocumentOrder::Place DocumentOrder::place(std::int64_t position) const {
  const auto next = std::upper_bound(begins_.begin(), begins_.end(), position);
  const std::int64_t rank = next - begins_.begin() - 1;
  return {rank, documents_[static_cast<std::size_t>(rank)], position - begins_[static_cast<std::size_t>(rank)]};
}

}  // namespace palimpsest
