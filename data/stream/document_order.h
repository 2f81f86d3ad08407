// The order in which one epoch reads the documents.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace palimpsest {

/// A shuffle of the documents that depends on the seed and the epoch only, and the place of each token
/// in the documents laid end to end in that order.
class DocumentOrder {
 public:
  /// Where a token of the epoch lies.
  struct Place {
    std::int64_t rank = 0;      // how many documents the epoch reads before this one
    std::int64_t document = 0;  // index in the token file
    std::int64_t offset = 0;    // of the token in its document
  };

  /// `document_offsets` as in TokenFile. Fisher-Yates from Random(seed, shuffle, epoch).
  DocumentOrder(std::span<const std::int64_t> document_offsets, std::uint64_t seed, std::int64_t epoch);

  /// The place of token `position` of the epoch, 0 <= position < number of tokens.
  Place place(std::int64_t position) const;

 private:
  std::vector<std::int64_t> documents_;
  std::vector<std::int64_t> begins_;  // first position of each rank, and the number of tokens
};

}  // namespace palimpsest
