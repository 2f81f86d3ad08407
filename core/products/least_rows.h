// Where our own products end.
#pragma once

#include <cstdint>

namespace palimpsest::products {

/// Products of fewer rows are left to oneDNN, whose sums have another order.
inline constexpr std::int64_t least_rows = 24;

}  // namespace palimpsest::products
