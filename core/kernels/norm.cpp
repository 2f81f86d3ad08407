#include "core/kernels/norm.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <vector>

#include <omp.h>

#include "core/kernels/vector_loops.h"
#include "core/work_shares.h"

namespace palimpsest {

using namespace vector_loops;

namespace {

/// Rows whose contributions to a weight's gradient are summed by one thread: fewer where there are few in all, so that
/// dozens of threads have some.
std::int64_t rows_per_block(std::int64_t rows) { return std::clamp<std::int64_t>(rows / 128, 8, 32); }

/// Threads share the sums of a weight's gradient over the blocks by lines of a cache, of so many columns.
constexpr std::int64_t line = 16;

/// Adds dy x r to `dweight` unless it is null; -> the sum of dy w x.
template <class T, class A = accumulate_t<T>>
A weight_row(const T* x, const A* weight, A r, const T* dy, std::int64_t columns, A* dweight) {
  Lanes<T> along{};
  for_each_vector<T>(columns, [&](std::int64_t j, auto elements) {
    const Lanes<T> x_j = elements.load(x + j), dy_j = elements.load(dy + j);
    if (dweight != nullptr) elements.store(dweight + j, elements.load(dweight + j) + dy_j * (x_j * r));
    along += dy_j * elements.load(weight + j) * x_j;
  });
  return sum_of<T>(along);
}

template <class T, class A = accumulate_t<T>>
void row_backward(const T* x, const A* weight, A r, const T* dy, A along, std::int64_t columns, T* dx,
                  bool accumulate) {
  const A projection = r * r * along / static_cast<A>(columns);
  for_each_vector<T>(columns, [&](std::int64_t j, auto elements) {
    const Lanes<T> value = r * (elements.load(dy + j) * elements.load(weight + j) - elements.load(x + j) * projection);
    elements.store(dx + j, accumulate ? elements.load(dx + j) + value : value);
  });
}

}  // namespace

template <class T>
void rms_norm_forward(const RmsNormInputs<T>& in, double epsilon, const RmsNormResult<T>& result) {
  using A = accumulate_t<T>;
  const std::int64_t rows = in.rows, columns = in.columns;
  const A* const weight = in.weight;
#pragma omp parallel for schedule(static) if (rows * columns > 16384)
  for (std::int64_t i = 0; i < rows; ++i) {
    const T* const x_row = in.x + i * columns;
    T* const y_row = result.y + i * columns;
    Lanes<T> squares{};
    for_each_vector<T>(columns, [&](std::int64_t j, auto elements) {
      const Lanes<T> x = elements.load(x_row + j);
      squares += x * x;
    });
    const A r = A{1} / std::sqrt(sum_of<T>(squares) / static_cast<A>(columns) + static_cast<A>(epsilon));
    result.inverse_rms[i] = r;
    for_each_vector<T>(columns, [&](std::int64_t j, auto elements) {
      elements.store(y_row + j, elements.load(x_row + j) * r * elements.load(weight + j));
    });
  }
}

std::int64_t rms_norm_blocks(std::int64_t rows) { return (rows + rows_per_block(rows) - 1) / rows_per_block(rows); }

template <class T>
void rms_norm_backward(const RmsNormInputs<T>& in, const RmsNormGradients<T>& gradients) {
  using A = accumulate_t<T>;
  const std::int64_t rows = in.rows, columns = in.columns, blocks = rms_norm_blocks(rows);
  const std::int64_t block_rows = rows_per_block(rows);
  const Gradient<T*> dx = gradients.dx;
  const Gradient<A*> dweight = gradients.dweight;
  if (!dx.wanted() && !dweight.wanted()) return;
  assert(!dweight.wanted() || rows == 0 || gradients.scratch != nullptr);
#pragma omp parallel for schedule(static) if (rows * columns > 16384)
  for (std::int64_t block = 0; block < blocks; ++block) {
    A* const partial = gradients.scratch + block * columns;
    if (dweight.wanted()) std::fill(partial, partial + columns, A{0});
    const std::int64_t end = std::min(rows, (block + 1) * block_rows);
    for (std::int64_t i = block * block_rows; i < end; ++i) {
      const T* const x_row = in.x + i * columns;
      const T* const dy_row = gradients.dy + i * columns;
      const A r = gradients.inverse_rms[i];
      const A along = weight_row<T>(x_row, in.weight, r, dy_row, columns, dweight.wanted() ? partial : nullptr);
      if (dx.wanted()) {
        row_backward<T>(x_row, in.weight, r, dy_row, along, columns, dx.view + i * columns, dx.accumulate);
      }
    }
  }
  if (!dweight.wanted()) return;
#pragma omp parallel if (rows * columns > 16384)
  {
    const TaskRange own = columns_of(columns, line, omp_get_thread_num(), omp_get_num_threads());
    if (!dweight.accumulate) std::fill(dweight.view + own.begin, dweight.view + own.end, A{0});
    for (std::int64_t block = 0; block < blocks; ++block) {
      const A* const partial = gradients.scratch + block * columns;
#pragma omp simd
      for (std::int64_t j = own.begin; j < own.end; ++j) dweight.view[j] += partial[j];
    }
  }
}

std::vector<double> rms_norm_backward_shares(std::int64_t rows, std::int64_t columns, int threads) {
  const std::int64_t block_rows = rows_per_block(rows), blocks = rms_norm_blocks(rows);
  std::vector<double> tasks;
  for (std::int64_t block = 0; block < blocks; ++block) {
    tasks.push_back(static_cast<double>(std::min(block_rows, rows - block * block_rows) * columns));
  }
  std::vector<double> shares = shared_out(tasks, threads);
  for (int thread = 0; thread < threads; ++thread) {
    const auto [begin, end] = columns_of(columns, line, thread, threads);
    shares[static_cast<std::size_t>(thread)] += static_cast<double>(blocks * (end - begin));
  }
  return shares;
}

#define PALIMPSEST_INSTANTIATE(T)                                                              \
  template void rms_norm_forward<T>(const RmsNormInputs<T>&, double, const RmsNormResult<T>&); \
  template void rms_norm_backward<T>(const RmsNormInputs<T>&, const RmsNormGradients<T>&);
PALIMPSEST_INSTANTIATE(float)
PALIMPSEST_INSTANTIATE(double)
PALIMPSEST_INSTANTIATE(bfloat16)
#undef PALIMPSEST_INSTANTIATE

}  // namespace palimpsest
