#include "core/matrix_vector.h"

#include <algorithm>

#include <omp.h>

#include "core/data_type.h"

namespace palimpsest {

namespace {

/// Partial sums of one output: enough vectors to hide the latency of an addition.
constexpr std::int64_t lanes = 32;
/// Outputs worked on together: streams that memory can prefetch side by side.
constexpr std::int64_t streams = 4;
/// Below this many weights the threads are not worth waking.
constexpr std::int64_t parallel_from = 1 << 15;

/// sums[s] <- x times row s of w.
template <class T>
void rows_times_vector(const T* x, const T* w, std::int64_t stride, std::int64_t inner, float (&sums)[streams]) {
  float partial[streams][lanes] = {};
  std::int64_t k = 0;
  for (; k + lanes <= inner; k += lanes) {
    for (std::int64_t s = 0; s < streams; ++s) {
#pragma omp simd
      for (std::int64_t lane = 0; lane < lanes; ++lane) {
        partial[s][lane] += static_cast<float>(x[k + lane]) * static_cast<float>(w[s * stride + k + lane]);
      }
    }
  }
  for (std::int64_t s = 0; s < streams; ++s) {
    for (std::int64_t rest = k; rest < inner; ++rest) {
      partial[s][rest - k] += static_cast<float>(x[rest]) * static_cast<float>(w[s * stride + rest]);
    }
    for (std::int64_t width = lanes / 2; width > 0; width /= 2) {
      for (std::int64_t lane = 0; lane < width; ++lane) partial[s][lane] += partial[s][lane + width];
    }
    sums[s] = partial[s][0];
  }
}

}  // namespace

template <class T, class Y>
void row_times_transposed(const T* x, const T* w, std::int64_t stride, std::int64_t inner, std::int64_t outputs, Y* y,
                          bool accumulate) {
  const std::int64_t groups = (outputs + streams - 1) / streams;
#pragma omp parallel for schedule(static) if (!omp_in_parallel() && inner * outputs >= parallel_from)
  for (std::int64_t group = 0; group < groups; ++group) {
    const std::int64_t begin = group * streams, count = std::min(streams, outputs - begin);
    float sums[streams];
    if (count == streams) {
      rows_times_vector(x, w + begin * stride, stride, inner, sums);
    } else {
      for (std::int64_t s = 0; s < count; ++s) {
        float same[streams];
        rows_times_vector(x, w + (begin + s) * stride, 0, inner, same);
        sums[s] = same[0];
      }
    }
    for (std::int64_t s = 0; s < count; ++s) {
      const float before = accumulate ? static_cast<float>(y[begin + s]) : 0.0f;
      y[begin + s] = static_cast<Y>(before + sums[s]);
    }
  }
}

template void row_times_transposed(const float*, const float*, std::int64_t, std::int64_t, std::int64_t, float*, bool);
template void row_times_transposed(const bfloat16*, const bfloat16*, std::int64_t, std::int64_t, std::int64_t,
                                   bfloat16*, bool);
template void row_times_transposed(const bfloat16*, const bfloat16*, std::int64_t, std::int64_t, std::int64_t, float*,
                                   bool);

}  // namespace palimpsest
