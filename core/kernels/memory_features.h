// What keys and queries become where they meet the memory (core/kernels/memory.h).
#pragma once

namespace palimpsest {

/// sigma(x) = elu(x) + 1, always positive, or x itself.
enum class MemoryFeatures { elu, identity };

}  // namespace palimpsest
