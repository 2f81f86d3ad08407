// What the machine can do at best, measured in this process: the yardsticks of `palimpsest bench`.
#pragma once

#include "core/data_type.h"
#include "core/storage.h"

namespace palimpsest {

/// The best rate of matrix products of this type over several large shapes, in GFLOP/s, with all
/// OpenMP threads. Takes about a second.
double measure_matmul_peak(MemoryPool& pool, DataType type);

/// The rate of reading memory in long runs, in GB/s, with all OpenMP threads.
double measure_stream_bandwidth(MemoryPool& pool);

}  // namespace palimpsest
