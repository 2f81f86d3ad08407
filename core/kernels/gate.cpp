#include "core/kernels/gate.h"

#include <algorithm>

#include "core/kernels/vector_math.h"

namespace palimpsest {

namespace {

/// Rows whose contributions to d_beta are summed by one thread.
constexpr std::int64_t block_rows = 64;

}  // namespace

template <class T>
void gate_forward(const accumulate_t<T>* beta, std::span<const std::uint8_t> mixes, HeadRows<const T> from_memory,
                  HeadRows<const T> local, HeadRows<T> output) {
  using A = accumulate_t<T>;
  const auto rows = static_cast<std::int64_t>(mixes.size());
  const std::int64_t d = output.head_size;
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t head = 0; head < output.heads; ++head) {
      const A g = mixes[static_cast<std::size_t>(row)] ? sigmoid(beta[head]) : A(0);
      const T *const memory = from_memory.at(row, head), *const dot = local.at(row, head);
      T* const out = output.at(row, head);
#pragma omp simd
      for (std::int64_t j = 0; j < d; ++j) {
        out[j] = static_cast<T>(g * static_cast<A>(memory[j]) + (A(1) - g) * static_cast<A>(dot[j]));
      }
    }
  }
}

// dA_mem = g dA;  dA_dot = (1 - g) dA;  dbeta = g (1 - g) sum over mixing rows of dA (A_mem - A_dot)
template <class T>
void gate_backward(MemoryPool& pool, const accumulate_t<T>* beta, std::span<const std::uint8_t> mixes,
                   HeadRows<const T> from_memory, HeadRows<const T> local, HeadRows<const T> d_output,
                   HeadRows<T> d_from_memory, bool accumulate_memory, HeadRows<T> d_local, bool accumulate_local,
                   accumulate_t<T>* d_beta, bool accumulate_beta) {
  using A = accumulate_t<T>;
  const auto rows = static_cast<std::int64_t>(mixes.size());
  const std::int64_t d = d_output.head_size, heads = d_output.heads, blocks = (rows + block_rows - 1) / block_rows;
  Tensor sums = Tensor::zeros(pool, Shape{blocks, heads}, data_type_of<A>);
  A* const block_sums = sums.template data<A>();
#pragma omp parallel for schedule(static)
  for (std::int64_t block = 0; block < blocks; ++block) {
    for (std::int64_t row = block * block_rows; row < std::min(rows, (block + 1) * block_rows); ++row) {
      const bool mixing = mixes[static_cast<std::size_t>(row)];
      for (std::int64_t head = 0; head < heads; ++head) {
        const A g = mixing ? sigmoid(beta[head]) : A(0);
        const T *const memory = from_memory.at(row, head), *const dot = local.at(row, head);
        const T* const d_out = d_output.at(row, head);
        T *const d_memory = d_from_memory.at(row, head), *const d_dot = d_local.at(row, head);
        A along = 0;
#pragma omp simd reduction(+ : along)
        for (std::int64_t j = 0; j < d; ++j) {
          along += static_cast<A>(d_out[j]) * (static_cast<A>(memory[j]) - static_cast<A>(dot[j]));
        }
#pragma omp simd
        for (std::int64_t j = 0; j < d; ++j) {
          const A gradient = static_cast<A>(d_out[j]);
          d_memory[j] = static_cast<T>((accumulate_memory ? static_cast<A>(d_memory[j]) : A(0)) + g * gradient);
          d_dot[j] = static_cast<T>((accumulate_local ? static_cast<A>(d_dot[j]) : A(0)) + (A(1) - g) * gradient);
        }
        if (mixing) block_sums[block * heads + head] += along;
      }
    }
  }
  for (std::int64_t head = 0; head < heads; ++head) {
    A sum = 0;
    for (std::int64_t block = 0; block < blocks; ++block) sum += block_sums[block * heads + head];
    const A g = sigmoid(beta[head]);
    d_beta[head] = (accumulate_beta ? d_beta[head] : A(0)) + g * (A(1) - g) * sum;
  }
}

#define PALIMPSEST_INSTANTIATE(T)                                                                            \
  template void gate_forward<T>(const accumulate_t<T>*, std::span<const std::uint8_t>, HeadRows<const T>,    \
                                HeadRows<const T>, HeadRows<T>);                                             \
  template void gate_backward<T>(MemoryPool&, const accumulate_t<T>*, std::span<const std::uint8_t>,         \
                                 HeadRows<const T>, HeadRows<const T>, HeadRows<const T>, HeadRows<T>, bool, \
                                 HeadRows<T>, bool, accumulate_t<T>*, bool);
PALIMPSEST_INSTANTIATE(float)
PALIMPSEST_INSTANTIATE(bfloat16)
PALIMPSEST_INSTANTIATE(double)
#undef PALIMPSEST_INSTANTIATE

}  // namespace palimpsest
