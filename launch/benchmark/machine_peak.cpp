#include "launch/benchmark/machine_peak.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>

#include <omp.h>

#include "core/elapsed.h"
#include "core/matmul.h"

namespace palimpsest {

namespace {

struct Times {
  double seconds = 1e30;
  double processor_seconds = 1e30;
};

/// The shortest times of several runs: what the machine does when nobody disturbs it.
/// Of `runs` at most, or, where they are long, of as many as fit into a quarter of a second, but two at least.
template <class Function>
Times shortest_times(int runs, Function function) {
  Times best;
  double all = 0;
  for (int run = 0; run < runs && (run < 2 || all < 0.25); ++run) {
    const auto start = std::chrono::steady_clock::now();
    const double used = processor_seconds();
    function();
    const double seconds = seconds_since(start);
    best.seconds = std::min(best.seconds, seconds);
    best.processor_seconds = std::min(best.processor_seconds, processor_seconds() - used);
    all += seconds;
  }
  return best;
}

}  // namespace

MatmulPeak measure_matmul_peak(MemoryPool& pool, DataType type) {
  struct Extents {
    std::int64_t m, n, k;
  };
  constexpr std::array<Extents, 4> shapes = {
      {{1024, 1024, 1024}, {2048, 2048, 2048}, {4096, 1536, 512}, {4096, 512, 1536}}};
  MatmulPeak peak;
  for (const auto& [m, n, k] : shapes) {
    Tensor a(pool, Shape{m, k}, type), b(pool, Shape{n, k}, type), c(pool, Shape{m, n}, type);
    fill(a, 0.37);
    fill(b, -0.61);
    const auto multiply = [&] {
      matmul(pool, ConstMatrix(matrix_of(a)), ConstMatrix(matrix_of(b)).transposed(), matrix_of(c));
    };
    multiply();
    const Times times = shortest_times(8, multiply);
    const double gigaflops = 2e-9 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
    peak.gflops = std::max(peak.gflops, gigaflops / times.seconds);
    peak.processor_gflops =
        std::max(peak.processor_gflops, gigaflops * omp_get_max_threads() / times.processor_seconds);
  }
  return peak;
}

double measure_stream_bandwidth(MemoryPool& pool) {
  const Tensor data = Tensor::zeros(pool, Shape{std::int64_t{64} << 20}, DataType::float32);
  const float* const values = data.data<float>();
  // Four streams a thread, as products of one row read their weights (core/products/row.cpp).
  constexpr std::int64_t block = 4096, streams = 4, width = 16;
  const std::int64_t quarter = data.elements() / streams, blocks = quarter / block;
  float total = 0;
  const Times times = shortest_times(6, [&] {
    float sum = 0;
#pragma omp parallel for schedule(static) reduction(+ : sum)
    for (std::int64_t b = 0; b < blocks; ++b) {
      float sums[streams][width] = {};
      for (std::int64_t i = 0; i < block; i += width) {
        for (std::int64_t s = 0; s < streams; ++s) {
#pragma omp simd
          for (std::int64_t j = 0; j < width; ++j) sums[s][j] += values[s * quarter + b * block + i + j];
        }
      }
      for (const auto& stream : sums) {
        for (const float part : stream) sum += part;
      }
    }
    total += sum;
  });
  // The sum is used, so that it has to be computed.
  return total == 0.0f ? static_cast<double>(data.bytes()) / times.seconds / 1e9 : 0.0;
}

}  // namespace palimpsest
