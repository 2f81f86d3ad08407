#include <cassert>
#include <cmath>

#include "core/kernels/memory.h"
#include "core/kernels/memory_parts.h"
#include "core/kernels/memory_tiles.h"

namespace palimpsest {

using namespace memory_tiles;

namespace {

template <class T>
void check([[maybe_unused]] const MemoryReadInputs<T>& in) {
  assert(in.query.heads % in.states.kv_heads == 0 && in.query.head_size == in.states.head_size);
  assert(in.states.lanes == in.layout.lanes && in.epsilon > 0);
  assert(in.features == MemoryFeatures::elu || in.gain != nullptr);
}

}  // namespace

namespace {

/// r = 1 / sqrt(mean(n^2) + epsilon)
template <class A>
A inverse_root_mean_square(const A* n, std::int64_t d, double epsilon) {
  return A(1) / std::sqrt(dot(n, n, d) / static_cast<A>(d) + static_cast<A>(epsilon));
}

/// dN <- r (G dA - N r^2 mean(G dA N)), where `dn` holds dA; adds dA N r to dG unless it is null. All (d).
template <class A>
void through_root_mean_square(const A* n, const A* gain, double epsilon, std::int64_t d, A* dn, A* d_gain) {
  const A r = inverse_root_mean_square(n, d, epsilon);
  A along = 0;
#pragma omp simd reduction(+ : along)
  for (std::int64_t j = 0; j < d; ++j) along += gain[j] * dn[j] * n[j];
  const A pull = r * r * along / static_cast<A>(d);
  for (std::int64_t j = 0; d_gain != nullptr && j < d; ++j) d_gain[j] += dn[j] * n[j] * r;
#pragma omp simd
  for (std::int64_t j = 0; j < d; ++j) dn[j] = r * (gain[j] * dn[j] - n[j] * pull);
}

}  // namespace

// output = N / D, N = sigma(Q) M, D = sigma(Q) z + epsilon; with a gain N r G, r = 1 / sqrt(mean(N^2) + epsilon)
template <class T>
void memory_read_forward(MemoryPool& pool, const MemoryReadInputs<T>& in, HeadRows<T> output) {
  using A = accumulate_t<T>;
  check(in);
  const SequenceLayout& layout = in.layout;
  const HeadRows<const T>& query = in.query;
  const MemoryStates<const A>& states = in.states;
  const std::int64_t d = query.head_size, stride = query.stride(), group = query.heads / states.kv_heads;
  const ReadParts parts(layout, states.kv_heads, d, threads_for_parts(data_type_of<T>, d));
  const std::int64_t tile = parts.tile();
  Scratch<A> numerators(pool, 1, tile, d);
  Scratch<T> queries(pool, 1, tile, d), matrices(pool, 1, d, d);
  for_each_task(parts.count(), [&](std::int64_t task) {
    const auto [lane, slot, kv_head, tokens, last] = parts.part(task);
    const Segment& segment = layout.segment(lane, slot);
    const T* const m = as_operand(states.matrix_at(slot, lane, kv_head), d * d, matrices.get(0));
    const A* const z = states.norm_at(slot, lane, kv_head);
    T* const sq = queries.get(0);
    A* const numerator = numerators.get(0);
    for (std::int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      for (Range t = first_tile(tokens, tile); t.count() > 0; t = next_tile(tokens, tile, t)) {
        const std::int64_t begin = t.begin, rows = t.count();
        load_features(in.features, query.at(segment.begin + begin, head), stride, rows, d, sq);
        matmul(pool, matrix(sq, padded(rows), d, d), matrix(m, d, d, d), matrix(numerator, padded(rows), d, d));
        T* const out = output.at(segment.begin + begin, head);
        for (std::int64_t i = 0; i < rows; ++i) {
          const A* const n = numerator + i * d;
          prefetch_row(out + (i + rows_ahead) * stride, d);
          if (in.gain != nullptr) {
            const A* const gain = in.gain + head * d;
            const A r = inverse_root_mean_square(n, d, in.epsilon);
            for_each_vector<T>(d, [&](std::int64_t j, auto elements) {
              elements.store(out + i * stride + j, elements.load(n + j) * r * elements.load(gain + j));
            });
            continue;
          }
          const A inverse = A(1) / (dot(sq + i * d, z, d) + static_cast<A>(in.epsilon));
          for_each_vector<T>(d, [&](std::int64_t j, auto elements) {
            elements.store(out + i * stride + j, elements.load(n + j) * inverse);
          });
        }
      }
      if (last) {
        zero_rows(output.at(segment.begin + segment.carried, head), stride, segment.length - segment.carried, d);
      }
    }
  });
}

// dN = dA / D, dD = -(dA . A) / D
// dM += sigma(Q)^T dN, dz += sum dD sigma(Q), dsigma(Q) = dN M^T + dD z; with a gain there is no D
template <class T>
void memory_read_backward(MemoryPool& pool, const MemoryReadInputs<T>& in, const MemoryReadGradients<T>& gradients) {
  using A = accumulate_t<T>;
  check(in);
  const SequenceLayout& layout = in.layout;
  const HeadRows<const T>&query = in.query, &output = gradients.output, &d_output = gradients.d_output;
  const MemoryStates<const A>& states = in.states;
  const Gradient<HeadRows<T>>& d_query = gradients.d_query;
  const Gradient<MemoryStates<A>>& d_states = gradients.d_states;
  const Gradient<A*>& d_gain = gradients.d_gain;
  if (!d_query.wanted() && !d_states.wanted() && !d_gain.wanted()) return;
  const std::int64_t d = query.head_size, stride = query.stride(), group = query.heads / states.kv_heads;
  const int threads = threads_for_parts(data_type_of<T>, d);
  // With a gain, that of the states needs all that those of the queries need.
  const ReadParts parts(layout, states.kv_heads, d, in.gain ? 1 : threads);
  const std::int64_t tile = parts.tile();
  Scratch<A> products(pool, in.gain ? 2 : 1, tile, d);
  Scratch<T> operands(pool, 2, tile, d), matrices(pool, 1, d, d);
  const std::int64_t segments = layout.lanes * layout.segments_per_lane;
  Tensor gain_sums;
  if (d_gain.wanted()) gain_sums = Tensor::zeros(pool, Shape{segments, query.stride()}, data_type_of<A>);
  A* const sums = d_gain.wanted() ? gain_sums.template data<A>() : nullptr;
  const bool apart = !parts.whole();
  const MatrixBlocks blocks = apart ? blocks_for(parts.heads(), d, threads) : MatrixBlocks{d};
  const auto run = [&](const ReadPart& part, bool of_queries, bool of_states, std::int64_t block) {
    const auto [lane, slot, kv_head, tokens, last] = part;
    const Segment& segment = layout.segment(lane, slot);
    const Range down = blocks.rows(block), across = blocks.columns(block);
    const T* const m = as_operand(states.matrix_at(slot, lane, kv_head), d * d, matrices.get(0));
    const A* const z = states.norm_at(slot, lane, kv_head);
    A* const dm = of_states && d_states.view.matrix ? d_states.view.matrix_at(slot, lane, kv_head) : nullptr;
    A* const dz = of_states && block == 0 && d_states.view.norm ? d_states.view.norm_at(slot, lane, kv_head) : nullptr;
    for (std::int64_t i = down.begin; dm && !d_states.accumulate && i < down.end; ++i) {
      std::fill_n(dm + i * d + across.begin, across.count(), A(0));
    }
    if (dz && !d_states.accumulate) std::fill_n(dz, d, A(0));
    T *const sq = operands.get(0), *const rounded = operands.get(1);
    A* const dsq = products.get(0);
    for (std::int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      A* const sum_of_gain =
          sums != nullptr ? sums + (lane * layout.segments_per_lane + slot) * query.stride() + head * d : nullptr;
      for (Range t = first_tile(tokens, tile); t.count() > 0; t = next_tile(tokens, tile, t)) {
        const std::int64_t begin = t.begin, rows = t.count(), n = padded(rows);
        const std::int64_t row = segment.begin + begin;
        load_features(in.features, query.at(row, head), stride, rows, d, sq);
        A d_denominator[tile_rows];
        const T* dn = rounded;
        if (in.gain != nullptr) {
          A* const exact = products.get(1);
          load(d_output.at(row, head), stride, rows, d, exact);
          matmul(pool, matrix(sq, n, d, d), matrix(m, d, d, d), matrix(dsq, n, d, d));
          for (std::int64_t i = 0; i < rows; ++i) {
            through_root_mean_square(dsq + i * d, in.gain + head * d, in.epsilon, d, exact + i * d, sum_of_gain);
          }
          dn = as_operand(exact, n * d, rounded);
        } else {
          load(d_output.at(row, head), stride, rows, d, rounded);
        }
        for (std::int64_t i = 0; in.gain == nullptr && i < rows; ++i) {
          const T* const out = output.at(row + i, head);
          prefetch_row(out + rows_ahead * stride, d);
          const A inverse = A(1) / (dot(sq + i * d, z, d) + static_cast<A>(in.epsilon));
          Lanes<T> along{};
          for_each_vector<T>(d, [&](std::int64_t j, auto elements) {
            T* const at = rounded + i * d + j;
            const Lanes<T> gradient = elements.load(at);
            along += gradient * elements.load(out + j);
            elements.store(at, gradient * inverse);
          });
          const A sum = vector_loops::sum_of<T>(along);
          d_denominator[i] = -sum * inverse;
        }
        if (dm) {
          matmul(pool, matrix(sq + down.begin, n, down.count(), d).transposed(),
                 matrix(dn + across.begin, n, across.count(), d),
                 matrix(dm + down.begin * d + across.begin, down.count(), across.count(), d), Output::accumulate);
        }
        for (std::int64_t i = 0; dz && !in.gain && i < rows; ++i) add_scaled(dz, d_denominator[i], sq + i * d, d);
        if (!of_queries) continue;
        // With a gain dN is at right angles to N, from which a memory whose rows are much alike hardly differs: what is
        // left is less than rounding would add.
        const ConstMatrix gradient = in.gain ? matrix<A>(products.get(1), n, d, d) : matrix(dn, n, d, d);
        const ConstMatrix memory =
            in.gain ? matrix(states.matrix_at(slot, lane, kv_head), d, d, d) : matrix(m, d, d, d);
        matmul(pool, gradient, memory.transposed(), matrix(dsq, n, d, d));
        for (std::int64_t i = 0; !in.gain && i < rows; ++i) add_scaled(dsq + i * d, d_denominator[i], z, d);
        store_through_features(in.features, dsq, sq, rows, d, d_query.view.at(row, head), stride, d_query.accumulate);
      }
      if (of_queries && last && !d_query.accumulate) {
        zero_rows(d_query.view.at(segment.begin + segment.carried, head), stride, segment.length - segment.carried, d);
      }
    }
  };
  if (!apart) {
    for_each_task(parts.heads(), [&](std::int64_t task) { run(parts.head(task), d_query.wanted(), true, 0); });
  } else {
    if (d_query.wanted()) {
      for_each_task(parts.count(), [&](std::int64_t task) { run(parts.part(task), true, false, 0); });
    }
    if (d_states.wanted()) {
      for_each_task(parts.heads() * blocks.count(), [&](std::int64_t task) {
        run(parts.head(task / blocks.count()), false, true, task % blocks.count());
      });
    }
  }
  for (std::int64_t i = 0; d_gain.wanted() && i < query.stride(); ++i) {
    A sum = d_gain.accumulate ? d_gain.view[i] : A(0);
    for (std::int64_t segment = 0; segment < segments; ++segment) sum += sums[segment * query.stride() + i];
    d_gain.view[i] = sum;
  }
}

#define PALIMPSEST_INSTANTIATE(T)                                                             \
  template void memory_read_forward<T>(MemoryPool&, const MemoryReadInputs<T>&, HeadRows<T>); \
  template void memory_read_backward<T>(MemoryPool&, const MemoryReadInputs<T>&, const MemoryReadGradients<T>&);
PALIMPSEST_INSTANTIATE(float)
PALIMPSEST_INSTANTIATE(bfloat16)
PALIMPSEST_INSTANTIATE(double)
#undef PALIMPSEST_INSTANTIATE

}  // namespace palimpsest
