// What the machine can do at best, measured in this process: the yardsticks of `palimpsest bench`.
#pragma once

#include "core/data_type.h"
#include "core/storage.h"

namespace palimpsest {

/// The best rate of matrix products over several large shapes, in GFLOP/s.
struct MatmulPeak {
  double gflops = 0;
  double processor_gflops = 0;  // by processor time: per second in which every thread computed
};

/// Of this type, with all OpenMP threads. Takes about a second.
MatmulPeak measure_matmul_peak(MemoryPool& pool, DataType type);

/// The rate of reading memory in long runs, in GB/s, with all OpenMP threads.
double measure_stream_bandwidth(MemoryPool& pool);

}  // namespace palimpsest
