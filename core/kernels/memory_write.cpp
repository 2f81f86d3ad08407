#include "core/kernels/memory.h"
#include "core/kernels/memory_tiles.h"

namespace palimpsest {

using namespace memory_tiles;

namespace {

/// Tiles are as large as the longest segment needs, at most tile_rows.
std::int64_t tile_for(const SequenceLayout& layout) {
  std::int64_t longest = 0;
  for (const Segment& segment : layout.segments) longest = std::max(longest, segment.length - segment.kept);
  return std::min(tile_rows, padded(longest));
}

/// values (rows, d) <- values - N / D with N = sigma(K) M into `prediction`, D into `denominator`.
template <class A>
void subtract_prediction(const A* sk, const A* m, const A* z, double epsilon, std::int64_t rows, std::int64_t d,
                         A* values, A* prediction, A* denominator) {
  matmul(matrix(sk, padded(rows), d, d), matrix(m, d, d, d), matrix(prediction, padded(rows), d, d));
  for (std::int64_t i = 0; i < rows; ++i) {
    denominator[i] = dot(sk + i * d, z, d) + static_cast<A>(epsilon);
    add_scaled(values + i * d, A(-1) / denominator[i], prediction + i * d, d);
  }
}

}  // namespace

// M' = M + sigma(K)^T U, U = V (linear) or V - N / D (delta); z' = z + sum sigma(K)
template <class T>
void memory_write_forward(MemoryPool& pool, const SequenceLayout& layout, HeadRows<const T> key,
                          HeadRows<const T> value, MemoryRule rule, MemoryStates<accumulate_t<T>> states,
                          MemoryStates<accumulate_t<T>> after) {
  using A = accumulate_t<T>;
  const std::int64_t d = key.head_size, stride = key.stride(), heads = key.heads;
  const std::int64_t tile = tile_for(layout);
  Scratch<A> scratch(pool, 3, tile, d);
#pragma omp parallel for schedule(static)
  for (std::int64_t task = 0; task < layout.lanes * heads; ++task) {
    const std::int64_t lane = task / heads, head = task % heads;
    A *const sk = scratch.get(0), *const update = scratch.get(1), *const prediction = scratch.get(2);
    for (std::int64_t slot = 0; slot < layout.segments_per_lane; ++slot) {
      const Segment& segment = layout.segment(lane, slot);
      const A *const m = states.matrix_at(slot, lane, head), *const z = states.norm_at(slot, lane, head);
      const bool last = slot + 1 == layout.segments_per_lane;
      A* const next_m = last ? after.matrix_at(0, lane, head) : states.matrix_at(slot + 1, lane, head);
      A* const next_z = last ? after.norm_at(0, lane, head) : states.norm_at(slot + 1, lane, head);
      if (segment.keeps_memory) {
        std::copy(m, m + d * d, next_m);
        std::copy(z, z + d, next_z);
      } else {
        std::fill(next_m, next_m + d * d, A(0));
        std::fill(next_z, next_z + d, A(0));
      }
      for (std::int64_t begin = segment.kept; begin < segment.length; begin += tile) {
        const std::int64_t rows = std::min(tile, segment.length - begin);
        load(key.at(segment.begin + begin, head), stride, rows, d, sk, sigma<A>);
        load(value.at(segment.begin + begin, head), stride, rows, d, update, [](A x) { return x; });
        if (rule.delta && segment.keeps_memory) {
          A denominator[tile_rows];
          subtract_prediction(sk, m, z, rule.epsilon, rows, d, update, prediction, denominator);
        }
        matmul(matrix(sk, padded(rows), d, d).transposed(), matrix(update, padded(rows), d, d), matrix(next_m, d, d, d),
               Output::accumulate);
        for (std::int64_t i = 0; i < rows; ++i) add_scaled(next_z, A(1), sk + i * d, d);
      }
    }
  }
}

// With G = dM', g = dz' and U = V - N / D:
//   dU = sigma(K) G, dV = dU, dsigma(K) = U G^T + g
//   delta: dN = -dU / D, dD = (dU . N) / D^2, dsigma(K) += dN M^T + dD z
//   dM = G + sigma(K)^T dN, dz = g + sum dD sigma(K)     (nothing where the memory is not kept)
template <class T>
void memory_write_backward(MemoryPool& pool, const SequenceLayout& layout, HeadRows<const T> key,
                           HeadRows<const T> value, MemoryRule rule, MemoryStates<const accumulate_t<T>> states,
                           MemoryStates<const accumulate_t<T>> d_read, MemoryStates<const accumulate_t<T>> d_final,
                           HeadRows<T> d_key, bool accumulate_key, HeadRows<T> d_value, bool accumulate_value,
                           MemoryStates<accumulate_t<T>> d_initial) {
  using A = accumulate_t<T>;
  const std::int64_t d = key.head_size, stride = key.stride(), heads = key.heads;
  const std::int64_t tile = tile_for(layout);
  Scratch<A> tiles(pool, 5, tile, d);
  Scratch<A> running(pool, 2, d + 1, d);  // a matrix with its norm below it: dM', dz' and dM, dz
#pragma omp parallel for schedule(static)
  for (std::int64_t task = 0; task < layout.lanes * heads; ++task) {
    const std::int64_t lane = task / heads, head = task % heads;
    A *const sk = tiles.get(0), *const update = tiles.get(1), *const prediction = tiles.get(2);
    A *const d_update = tiles.get(3), *const dsk = tiles.get(4);
    A *after = running.get(0), *before = running.get(1);
    std::fill(after, after + (d + 1) * d, A(0));
    if (d_final.matrix) std::copy_n(d_final.matrix_at(0, lane, head), d * d, after);
    if (d_final.norm) std::copy_n(d_final.norm_at(0, lane, head), d, after + d * d);

    for (std::int64_t slot = layout.segments_per_lane - 1; slot >= 0; --slot) {
      const Segment& segment = layout.segment(lane, slot);
      const A *const m = states.matrix_at(slot, lane, head), *const z = states.norm_at(slot, lane, head);
      if (segment.keeps_memory) {
        std::copy_n(after, (d + 1) * d, before);
      } else {
        std::fill(before, before + (d + 1) * d, A(0));
      }
      for (std::int64_t begin = segment.kept; begin < segment.length; begin += tile) {
        const std::int64_t rows = std::min(tile, segment.length - begin), row = segment.begin + begin;
        const std::int64_t n = padded(rows);
        A denominator[tile_rows];
        load(key.at(row, head), stride, rows, d, sk, sigma<A>);
        load(value.at(row, head), stride, rows, d, update, [](A x) { return x; });
        const bool delta = rule.delta && segment.keeps_memory;
        if (delta) subtract_prediction(sk, m, z, rule.epsilon, rows, d, update, prediction, denominator);
        matmul(matrix(sk, n, d, d), matrix(after, d, d, d), matrix(d_update, n, d, d));
        matmul(matrix(update, n, d, d), matrix(after, d, d, d).transposed(), matrix(dsk, n, d, d));
        for (std::int64_t i = 0; i < rows; ++i) {
          add_scaled(dsk + i * d, A(1), after + d * d, d);
          T* const target = d_value.at(row + i, head);
#pragma omp simd
          for (std::int64_t j = 0; j < d; ++j) {
            target[j] = static_cast<T>((accumulate_value ? static_cast<A>(target[j]) : A(0)) + d_update[i * d + j]);
          }
        }
        if (delta) {
          for (std::int64_t i = 0; i < rows; ++i) {
            const A inverse = A(1) / denominator[i];
            const A d_denominator = dot(d_update + i * d, prediction + i * d, d) * inverse * inverse;
            add_scaled(dsk + i * d, d_denominator, z, d);
            add_scaled(before + d * d, d_denominator, sk + i * d, d);
#pragma omp simd
            for (std::int64_t j = 0; j < d; ++j) d_update[i * d + j] *= -inverse;  // now dN
          }
          matmul(matrix(d_update, n, d, d), matrix(m, d, d, d).transposed(), matrix(dsk, n, d, d), Output::accumulate);
          matmul(matrix(sk, n, d, d).transposed(), matrix(d_update, n, d, d), matrix(before, d, d, d),
                 Output::accumulate);
        }
        store_through_sigma(dsk, sk, rows, d, d_key.at(row, head), stride, accumulate_key);
      }
      if (!accumulate_key) zero_rows(d_key.at(segment.begin, head), stride, segment.kept, d);
      if (!accumulate_value) zero_rows(d_value.at(segment.begin, head), stride, segment.kept, d);
      if (d_read.matrix) add_scaled(before, A(1), d_read.matrix_at(slot, lane, head), d * d);
      if (d_read.norm) add_scaled(before + d * d, A(1), d_read.norm_at(slot, lane, head), d);
      std::swap(after, before);
    }
    if (d_initial.matrix) std::copy_n(after, d * d, d_initial.matrix_at(0, lane, head));
    if (d_initial.norm) std::copy_n(after + d * d, d, d_initial.norm_at(0, lane, head));
  }
}

#define PALIMPSEST_INSTANTIATE(T)                                                                                  \
  template void memory_write_forward<T>(MemoryPool&, const SequenceLayout&, HeadRows<const T>, HeadRows<const T>,  \
                                        MemoryRule, MemoryStates<accumulate_t<T>>, MemoryStates<accumulate_t<T>>); \
  template void memory_write_backward<T>(MemoryPool&, const SequenceLayout&, HeadRows<const T>, HeadRows<const T>, \
                                         MemoryRule, MemoryStates<const accumulate_t<T>>,                          \
                                         MemoryStates<const accumulate_t<T>>, MemoryStates<const accumulate_t<T>>, \
                                         HeadRows<T>, bool, HeadRows<T>, bool, MemoryStates<accumulate_t<T>>);
PALIMPSEST_INSTANTIATE(float)
PALIMPSEST_INSTANTIATE(bfloat16)
PALIMPSEST_INSTANTIATE(double)
#undef PALIMPSEST_INSTANTIATE

}  // namespace palimpsest
