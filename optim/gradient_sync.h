// The sum of gradients over the ranks of a data-parallel run.
#pragma once

#include <cstdint>

#include "autograd/parameter.h"
#include "core/comm/communicator.h"

namespace palimpsest {

/// 32 MB of float32: large enough for full bandwidth, small enough to bound the copy.
inline constexpr std::int64_t gradient_bucket_elements = std::int64_t{8} << 20;

/// Replaces every gradient by its sum over ranks; the same bits on every rank. A parameter without
/// gradient on this rank counts as zero and has one afterwards. Gradients pass in parameter order,
/// end to end, through buckets of `bucket_elements` elements of their own type (float32; float64 in
/// tests), one all_reduce_sum each, so every rank makes the same calls whatever it has accumulated.
void synchronize_gradients(ParameterList& parameters, Communicator& communicator, MemoryPool& pool,
                           std::int64_t bucket_elements = gradient_bucket_elements);

}  // namespace palimpsest
