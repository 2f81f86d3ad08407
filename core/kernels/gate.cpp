#include "core/kernels/gate.h"

#include <algorithm>
#include <cassert>
#include <vector>

#include "core/kernels/vector_loops.h"

namespace palimpsest {

using vector_loops::for_each_vector, vector_loops::Lanes, vector_loops::sum_of;

namespace {

/// The gate of each head.
template <class A>
std::vector<A> gates_of(const A* beta, std::int64_t heads) {
  std::vector<A> gates(static_cast<std::size_t>(heads));
  std::transform(beta, beta + heads, gates.begin(), [](A logit) { return sigmoid(logit); });
  return gates;
}

}  // namespace

template <class T>
void gate_forward(const GateInputs<T>& in, HeadRows<T> output) {
  using A = accumulate_t<T>;
  const auto rows = static_cast<std::int64_t>(in.mixes.size());
  const std::int64_t d = output.head_size;
  assert(in.from_memory.head_size == d && in.local.head_size == d && in.local.heads == output.heads);
  const std::vector<A> gates = gates_of(in.beta, output.heads);
#pragma omp parallel for schedule(static) if (rows * output.stride() > 16384)
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t head = 0; head < output.heads; ++head) {
      const A g = in.mixes[static_cast<std::size_t>(row)] ? gates[static_cast<std::size_t>(head)] : A(0);
      const A kept = in.adds ? A(1) : A(1) - g;
      const T *const memory = in.from_memory.at(row, head), *const dot = in.local.at(row, head);
      T* const out = output.at(row, head);
      for_each_vector<T>(d, [&](std::int64_t j, auto elements) {
        elements.store(out + j, g * elements.load(memory + j) + kept * elements.load(dot + j));
      });
    }
  }
}

namespace {

/// The sum of dA (A_mem - A_dot) of a head, or of dA A_mem where the gate adds.
template <class T, class A = accumulate_t<T>>
A along_mixture(const T* d_out, const T* memory, const T* dot, bool adds, std::int64_t d) {
  Lanes<T> along{};
  for_each_vector<T>(d, [&](std::int64_t j, auto elements) {
    Lanes<T> mixed = elements.load(memory + j);
    if (!adds) mixed -= elements.load(dot + j);
    along += elements.load(d_out + j) * mixed;
  });
  return sum_of<T>(along);
}

/// target gets factor times d_out, added or written.
template <class T, class A = accumulate_t<T>>
void hand_on(const Gradient<HeadRows<T>>& to, std::int64_t row, std::int64_t head, A factor, const T* d_out) {
  T* const target = to.view.at(row, head);
  for_each_vector<T>(to.view.head_size, [&](std::int64_t j, auto elements) {
    const Lanes<T> added = factor * elements.load(d_out + j);
    elements.store(target + j, to.accumulate ? elements.load(target + j) + added : added);
  });
}

}  // namespace

std::int64_t gate_rows_of_block(std::int64_t rows) { return std::clamp<std::int64_t>(rows / 64, 8, 64); }

// dA_mem = g dA;  dA_dot = (1 - g) dA;  dbeta = g (1 - g) sum over mixing rows of dA (A_mem - A_dot)
// adding: dA_dot = dA;  dbeta = g (1 - g) sum over mixing rows of dA A_mem
template <class T>
void gate_backward(MemoryPool& pool, const GateInputs<T>& in, const GateGradients<T>& gradients) {
  using A = accumulate_t<T>;
  const Gradient<A*> d_beta = gradients.d_beta;
  const auto rows = static_cast<std::int64_t>(in.mixes.size());
  const std::int64_t d = gradients.d_output.head_size, heads = gradients.d_output.heads;
  const std::int64_t block_rows = gate_rows_of_block(rows), blocks = (rows + block_rows - 1) / block_rows;
  if (!gradients.d_from_memory.wanted() && !gradients.d_local.wanted() && !d_beta.wanted()) return;
  Tensor sums;
  if (d_beta.wanted()) sums = Tensor::zeros(pool, Shape{blocks, heads}, data_type_of<A>);
  A* const block_sums = d_beta.wanted() ? sums.template data<A>() : nullptr;
  const std::vector<A> gates = gates_of(in.beta, heads);
#pragma omp parallel for schedule(static) if (rows * heads * d > 16384)
  for (std::int64_t block = 0; block < blocks; ++block) {
    for (std::int64_t row = block * block_rows; row < std::min(rows, (block + 1) * block_rows); ++row) {
      const bool mixing = in.mixes[static_cast<std::size_t>(row)];
      for (std::int64_t head = 0; head < heads; ++head) {
        const A g = mixing ? gates[static_cast<std::size_t>(head)] : A(0);
        const T* const d_out = gradients.d_output.at(row, head);
        if (mixing && block_sums != nullptr) {
          block_sums[block * heads + head] +=
              along_mixture<T>(d_out, in.from_memory.at(row, head), in.local.at(row, head), in.adds, d);
        }
        if (gradients.d_from_memory.wanted()) hand_on<T>(gradients.d_from_memory, row, head, g, d_out);
        if (gradients.d_local.wanted()) hand_on<T>(gradients.d_local, row, head, in.adds ? A(1) : A(1) - g, d_out);
      }
    }
  }
  if (!d_beta.wanted()) return;
  for (std::int64_t head = 0; head < heads; ++head) {
    A sum = 0;
    for (std::int64_t block = 0; block < blocks; ++block) sum += block_sums[block * heads + head];
    const A g = gates[static_cast<std::size_t>(head)];
    d_beta.view[head] = (d_beta.accumulate ? d_beta.view[head] : A(0)) + g * (A(1) - g) * sum;
  }
}

#define PALIMPSEST_INSTANTIATE(T)                                   \
  template void gate_forward<T>(const GateInputs<T>&, HeadRows<T>); \
  template void gate_backward<T>(MemoryPool&, const GateInputs<T>&, const GateGradients<T>&);
PALIMPSEST_INSTANTIATE(float)
PALIMPSEST_INSTANTIATE(bfloat16)
PALIMPSEST_INSTANTIATE(double)
#undef PALIMPSEST_INSTANTIATE

}  // namespace palimpsest
