#include "core/products/row.h"

#include <algorithm>

#include <omp.h>

namespace palimpsest::products {

namespace {

/// Partial sums of one output: enough vectors to hide the latency of an addition.
constexpr std::int64_t partial_sums = 32;
/// Outputs worked on together, a quarter of the matrix apart: long streams that memory can prefetch side by
/// side. Neighbouring rows would be streams of a page each, at a third of the speed.
constexpr std::int64_t streams = 4;
/// Below this many weights the threads are not worth waking. Unused in builds without OpenMP.
[[maybe_unused]] constexpr std::int64_t parallel_from = 1 << 15;

/// sums[s] <- x times the row at rows[s].
template <class T>
void rows_times_vector(const T* x, const T* const (&rows)[streams], std::int64_t inner, float (&sums)[streams]) {
  float partial[streams][partial_sums] = {};
  std::int64_t k = 0;
  for (; k + partial_sums <= inner; k += partial_sums) {
    float wide[partial_sums];
#pragma omp simd
    for (std::int64_t i = 0; i < partial_sums; ++i) wide[i] = static_cast<float>(x[k + i]);
#pragma GCC unroll 4
    for (std::int64_t s = 0; s < streams; ++s) {
      const T* const row = rows[s] + k;
#pragma omp simd
      for (std::int64_t i = 0; i < partial_sums; ++i) partial[s][i] += wide[i] * static_cast<float>(row[i]);
    }
  }
  for (std::int64_t s = 0; s < streams; ++s) {
    for (std::int64_t rest = k; rest < inner; ++rest) {
      partial[s][rest - k] += static_cast<float>(x[rest]) * static_cast<float>(rows[s][rest]);
    }
    for (std::int64_t width = partial_sums / 2; width > 0; width /= 2) {
      for (std::int64_t i = 0; i < width; ++i) partial[s][i] += partial[s][i + width];
    }
    sums[s] = partial[s][0];
  }
}

/// y[n] <- sum over k of x[k] w[n stride + k], plus y[n] before if `accumulate`. x: (inner), w: (outputs, inner) with
/// rows `stride` elements apart, y: (outputs).
template <class T, class Y>
void row_times_transposed(const T* x, const T* w, std::int64_t stride, std::int64_t inner, std::int64_t outputs, Y* y,
                          bool accumulate) {
  const std::int64_t apart = (outputs + streams - 1) / streams;
#pragma omp parallel for schedule(static) if (!omp_in_parallel() && inner * outputs >= parallel_from)
  for (std::int64_t first = 0; first < apart; ++first) {
    const T* rows[streams];
    for (std::int64_t s = 0; s < streams; ++s) rows[s] = w + std::min(first + s * apart, outputs - 1) * stride;
    float sums[streams];
    rows_times_vector(x, rows, inner, sums);
    for (std::int64_t s = 0; s < streams && first + s * apart < outputs; ++s) {
      Y& target = y[first + s * apart];
      target = static_cast<Y>((accumulate ? static_cast<float>(target) : 0.0f) + sums[s]);
    }
  }
}

}  // namespace

bool row_suits(const ConstMatrix& a, const ConstMatrix& b) {
  return a.rows == 1 && a.column_stride == 1 && b.row_stride == 1;
}

void row_product(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output) {
  const auto run = [&]<class T, class Y>() {
    row_times_transposed(static_cast<const T*>(a.data), static_cast<const T*>(b.data), b.column_stride, b.rows,
                         b.columns, static_cast<Y*>(c.data), output == Output::accumulate);
  };
  if (a.type == DataType::float32) {
    run.operator()<float, float>();
  } else if (c.type == DataType::bfloat16) {
    run.operator()<bfloat16, bfloat16>();
  } else {
    run.operator()<bfloat16, float>();
  }
}

}  // namespace palimpsest::products
