// How the inner dimension of a product is cut, so that what is multiplied stays in a cache.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/round_up.h"

namespace palimpsest::products {

/// Chunks of nearly equal length, at most `most` (a multiple of `granularity`), all but the last a multiple of
/// `granularity`.
struct Chunks {
  std::int64_t inner, length, count;

  Chunks(std::int64_t inner, std::int64_t most, std::int64_t granularity) : inner(inner) {
    const std::int64_t least = (inner + most - 1) / most;
    length = round_up((inner + least - 1) / least, granularity);
    count = (inner + length - 1) / length;
  }
  std::int64_t begin(std::int64_t chunk) const { return chunk * length; }
  std::int64_t extent(std::int64_t chunk) const { return std::min(length, inner - begin(chunk)); }
};

}  // namespace palimpsest::products
