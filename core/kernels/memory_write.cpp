#include <algorithm>
#include <cassert>

#include "core/kernels/memory.h"
#include "core/kernels/memory_parts.h"
#include "core/kernels/memory_tiles.h"
#include "core/products/least_rows.h"

namespace palimpsest {

using namespace memory_tiles;

namespace {

/// values (rows, d) <- values - N / D with N = sigma(K) M into `prediction`, D into `denominator`, in some of the
/// columns.
template <class A>
void subtract_prediction(MemoryPool& pool, const A* sk, const A* m, const A* z, double epsilon, std::int64_t rows,
                         std::int64_t d, const Range& columns, A* values, A* prediction, A* denominator) {
  const std::int64_t first = columns.begin, width = columns.count();
  matmul(pool, matrix(sk, padded(rows), d, d), matrix(m + first, d, width, d),
         matrix(prediction + first, padded(rows), width, d));
  for (std::int64_t i = 0; i < rows; ++i) {
    denominator[i] = dot(sk + i * d, z, d) + static_cast<A>(epsilon);
    add_scaled(values + i * d + first, A(-1) / denominator[i], prediction + i * d + first, width);
  }
}

/// Each row times how much its token writes.
template <class A>
void weigh(const SequenceLayout& layout, std::int64_t first_row, std::int64_t rows, std::int64_t d, A* values) {
  if (layout.write_weights.empty()) return;
  for (std::int64_t i = 0; i < rows; ++i) {
    const A weight = write_weight<A>(layout, first_row + i);
#pragma omp simd
    for (std::int64_t j = 0; j < d; ++j) values[i * d + j] *= weight;
  }
}

template <class T>
void check([[maybe_unused]] const MemoryWriteInputs<T>& in,
           [[maybe_unused]] const MemoryStates<const accumulate_t<T>>& states) {
  assert(in.key.heads == in.value.heads && in.key.head_size == in.value.head_size);
  assert(states.kv_heads == in.key.heads && states.head_size == in.key.head_size && states.lanes == in.layout.lanes);
  assert(in.layout.write_weights.empty() ||
         in.layout.write_weights.size() == static_cast<std::size_t>(in.layout.rows()));
}

/// Whether a segment has a tile of so few tokens that another kernel takes its products, in blocks of other bits.
bool has_short_tiles(const SequenceLayout& layout, std::int64_t tile) {
  return std::ranges::any_of(layout.segments, [&](const Segment& segment) {
    const std::int64_t last = (segment.length - segment.kept) % tile;
    return last > 0 && padded(last) < products::least_rows;
  });
}

/// (M, z) <- the share of the memory that goes on into the segment's result, or nothing.
template <class A>
void start_from(bool kept, A share, const A* from, A* to, std::int64_t size) {
  if (kept) {
    scale(to, share, from, size);
  } else {
    std::fill_n(to, size, A(0));
  }
}

}  // namespace

// With weights W, excess e and decay a: M' = a M + sigma(K)^T W U, U = V (linear) or V - N / D (delta), D = sigma(K) (z
// + e) + epsilon; z' = a z + sum w sigma(K)
template <class T>
void memory_write_forward(MemoryPool& pool, const MemoryWriteInputs<T>& in, const MemoryWriteResult<T>& result) {
  using A = accumulate_t<T>;
  check(in, {result.before.matrix, result.before.norm, result.before.lanes, result.before.kv_heads,
             result.before.head_size});
  const SequenceLayout& layout = in.layout;
  const HeadRows<const T>&key = in.key, &value = in.value;
  const MemoryStates<A>&states = result.before, &after = result.after;
  const std::int64_t d = key.head_size, stride = key.stride(), heads = key.heads;
  const std::int64_t tile = tile_for(layout);
  Scratch<A> scratch(pool, 3, tile, d), norms(pool, 2, 2, d);
  // A column of M depends on the same column of V and M alone, and without predictions each of its elements does.
  const int threads = in.rule.delta && has_short_tiles(layout, tile) ? 1 : threads_for_parts(data_type_of<A>, d);
  const MatrixBlocks blocks = blocks_for(layout.lanes * heads, d, in.rule.delta, threads);
  for_each_task(layout.lanes * heads * blocks.count(), [&](std::int64_t task) {
    const std::int64_t lane = task / blocks.count() / heads, head = task / blocks.count() % heads;
    const Range down = blocks.rows(task % blocks.count()), across = blocks.columns(task % blocks.count());
    const bool first_block = task % blocks.count() == 0;
    A *const sk = scratch.get(0), *const update = scratch.get(1), *const prediction = scratch.get(2);
    A* const own_norms = norms.get(1);  // of blocks but the first, which writes those of the states
    for (std::int64_t slot = 0; slot < layout.segments_per_lane; ++slot) {
      const Segment& segment = layout.segment(lane, slot);
      const A* const m = states.matrix_at(slot, lane, head);
      const A* const z = first_block || slot == 0 ? states.norm_at(slot, lane, head) : own_norms + slot % 2 * d;
      const bool last = slot + 1 == layout.segments_per_lane, delta = in.rule.delta && segment.keeps_memory;
      A* const next_m = last ? after.matrix_at(0, lane, head) : states.matrix_at(slot + 1, lane, head);
      A* const next_z = !first_block ? own_norms + (slot + 1) % 2 * d
                        : last       ? after.norm_at(0, lane, head)
                                     : states.norm_at(slot + 1, lane, head);
      const A share = share_going_on(in.decay, segment, head);
      for (std::int64_t i = down.begin; i < down.end; ++i) {
        start_from(segment.keeps_memory, share, m + i * d + across.begin, next_m + i * d + across.begin,
                   across.count());
      }
      start_from(segment.keeps_memory, share, z, next_z, d);
      const A* const divisor = delta ? norm_with_excess(layout, segment, key, head, z, norms.get(0)) : z;
      for (std::int64_t begin = segment.kept; begin < segment.length; begin += tile) {
        const std::int64_t rows = std::min(tile, segment.length - begin), row = segment.begin + begin;
        const std::int64_t n = padded(rows);
        load_sigma(key.at(row, head), stride, rows, d, sk);
        load(value.at(row, head), stride, rows, d, update);
        if (delta) {
          A denominator[tile_rows];
          subtract_prediction(pool, sk, m, divisor, in.rule.epsilon, rows, d, across, update, prediction, denominator);
        }
        weigh(layout, row, rows, d, update);
        matmul(pool, matrix(sk + down.begin, n, down.count(), d).transposed(),
               matrix(update + across.begin, n, across.count(), d),
               matrix(next_m + down.begin * d + across.begin, down.count(), across.count(), d), Output::accumulate);
        for (std::int64_t i = 0; (first_block || in.rule.delta) && i < rows; ++i) {
          add_scaled(next_z, write_weight<A>(layout, row + i), sk + i * d, d);
        }
      }
    }
  });
}

namespace {

/// What backward of a segment of one lane and head adds to the gradients of what it has read and written.
template <class T>
class SegmentBackward {
 public:
  using A = accumulate_t<T>;

  SegmentBackward(MemoryPool& pool, const MemoryWriteInputs<T>& in, const MemoryWriteGradients<T>& gradients,
                  std::int64_t tile, Scratch<A>& tiles, Scratch<A>& norms)
      : pool_(pool),
        in_(in),
        gradients_(gradients),
        d_(in.key.head_size),
        tile_(tile),
        sk_(tiles.get(0)),
        update_(tiles.get(1)),
        prediction_(tiles.get(2)),
        d_update_(tiles.get(3)),
        dsk_(tiles.get(4)),
        divisor_sum_(norms.get(0)),
        excess_gradient_(norms.get(1)) {}

  /// `after` and `before`: the gradients of the memory after and, added to, before the segment, (d + 1, d) with the
  /// norm below the matrix.
  /// Of the segment's run `run` of `runs` of tokens, of which there are several for the linear rule alone.
  void run(const Segment& segment, std::int64_t slot, std::int64_t lane, std::int64_t head, std::int64_t run,
           std::int64_t runs, const A* after, A* before) {
    const A* const z = gradients_.before.norm_at(slot, lane, head);
    m_ = gradients_.before.matrix_at(slot, lane, head);
    delta_ = in_.rule.delta && segment.keeps_memory;
    divisor_ = delta_ ? norm_with_excess(in_.layout, segment, in_.key, head, z, divisor_sum_) : z;
    const bool excess = divisor_ != z;
    std::fill_n(excess_gradient_, d_, A(0));
    d_divisor_ = excess ? excess_gradient_ : before + d_ * d_;
    const Range tokens = run_of_tokens(segment.length - segment.kept, tile_, run, runs);
    for (Range t = first_tile(tokens, tile_); t.count() > 0; t = next_tile(tokens, tile_, t)) {
      tile(segment.begin + segment.kept + t.begin, t.count(), head, after, before);
    }
    const Gradient<HeadRows<T>>&d_key = gradients_.d_key, &d_value = gradients_.d_value;
    if (excess) add_scaled(before + d_ * d_, A(1), d_divisor_, d_);
    if (excess && d_key.wanted()) {
      add_norm_gradient<T>(
          segment, in_.key, head, d_divisor_, [&](std::int64_t row) { return excess_weight<A>(in_.layout, row); },
          d_key.view);
    }
    for (const Gradient<HeadRows<T>>* gradient : {&d_key, &d_value}) {
      if (!gradient->wanted() || gradient->accumulate || run > 0) continue;
      zero_rows(gradient->view.at(segment.begin, head), gradient->view.stride(), segment.kept, d_);
    }
  }

 private:
  void tile(std::int64_t row, std::int64_t rows, std::int64_t head, const A* after, A* before) {
    const std::int64_t d = d_, n = padded(rows);
    A denominator[tile_rows];
    load_sigma(in_.key.at(row, head), in_.key.stride(), rows, d, sk_);
    load(in_.value.at(row, head), in_.value.stride(), rows, d, update_);
    if (delta_)
      subtract_prediction(pool_, sk_, m_, divisor_, in_.rule.epsilon, rows, d, {0, d}, update_, prediction_,
                          denominator);
    weigh(in_.layout, row, rows, d, update_);
    if (delta_ || gradients_.d_value.wanted()) {
      matmul(pool_, matrix(sk_, n, d, d), matrix(after, d, d, d), matrix(d_update_, n, d, d));
      weigh(in_.layout, row, rows, d, d_update_);
    }
    if (gradients_.d_key.wanted()) {
      matmul(pool_, matrix(update_, n, d, d), matrix(after, d, d, d).transposed(), matrix(dsk_, n, d, d));
      for (std::int64_t i = 0; i < rows; ++i) {
        add_scaled(dsk_ + i * d, write_weight<A>(in_.layout, row + i), after + d * d, d);
      }
    }
    if (gradients_.d_value.wanted()) store_value_gradient(row, rows, head);
    if (delta_) through_prediction(rows, denominator, before);
    if (gradients_.d_key.wanted()) {
      const Gradient<HeadRows<T>>& d_key = gradients_.d_key;
      store_through_sigma(dsk_, sk_, rows, d, d_key.view.at(row, head), d_key.view.stride(), d_key.accumulate);
    }
  }

  void store_value_gradient(std::int64_t row, std::int64_t rows, std::int64_t head) const {
    const HeadRows<T>& to = gradients_.d_value.view;
    for (std::int64_t i = 0; i < rows; ++i) {
      T* const target = to.at(row + i, head);
      prefetch_row(target + rows_ahead * to.stride(), d_);
      store_row(d_update_ + i * d_, d_, target, gradients_.d_value.accumulate);
    }
  }

  void through_prediction(std::int64_t rows, const A* denominator, A* before) {
    const std::int64_t d = d_, n = padded(rows);
    for (std::int64_t i = 0; i < rows; ++i) {
      const A inverse = A(1) / denominator[i];
      const A d_denominator = dot(d_update_ + i * d, prediction_ + i * d, d) * inverse * inverse;
      if (gradients_.d_key.wanted()) add_scaled(dsk_ + i * d, d_denominator, divisor_, d);
      add_scaled(d_divisor_, d_denominator, sk_ + i * d, d);
#pragma omp simd
      for (std::int64_t j = 0; j < d; ++j) d_update_[i * d + j] *= -inverse;  // now dN
    }
    if (gradients_.d_key.wanted()) {
      matmul(pool_, matrix(d_update_, n, d, d), matrix(m_, d, d, d).transposed(), matrix(dsk_, n, d, d),
             Output::accumulate);
    }
    matmul(pool_, matrix(sk_, n, d, d).transposed(), matrix(d_update_, n, d, d), matrix(before, d, d, d),
           Output::accumulate);
  }

  MemoryPool& pool_;
  const MemoryWriteInputs<T>& in_;
  const MemoryWriteGradients<T>& gradients_;
  std::int64_t d_, tile_;
  A *sk_, *update_, *prediction_, *d_update_, *dsk_;  // (tile, d)
  A *divisor_sum_, *excess_gradient_;                 // (d)
  A* d_divisor_ = nullptr;
  const A *m_ = nullptr, *divisor_ = nullptr;
  bool delta_ = false;
};

}  // namespace

// With G = dM', g = dz' and U = V - N / D, D = sigma(K) (z + e) + epsilon:
//   dU = W sigma(K) G, dV = dU, dsigma(K) = W U G^T + w g
//   delta: dN = -dU / D, dD = (dU . N) / D^2, dsigma(K) += dN M^T + dD (z + e) + (w - 1)+ de, de = sum dD sigma(K)
//   dM = a G + sigma(K)^T dN, dz = a g + de, da = sum G M + sum g z     (nothing where the memory is not kept)
template <class T>
void memory_write_backward(MemoryPool& pool, const MemoryWriteInputs<T>& in, const MemoryWriteGradients<T>& gradients) {
  using A = accumulate_t<T>;
  if (!gradients.d_key.wanted() && !gradients.d_value.wanted() && !gradients.d_initial.wanted() &&
      !gradients.d_decay.wanted()) {
    return;
  }
  check(in, gradients.before);
  const SequenceLayout& layout = in.layout;
  const std::int64_t d = in.key.head_size, heads = in.key.heads, tile = tile_for(layout);
  Scratch<A> tiles(pool, 5, tile, d), norms(pool, 2, 1, d);
  SumOverLanes<A> d_decay(pool, gradients.d_decay, layout.lanes, heads);
  Scratch<A> running(pool, 2, d + 1, d);  // a matrix with its norm below it: dM', dz' and dM, dz
  // Of the linear rule, dM is no product, and each run of tokens may sum it up for itself.
  const int threads = in.rule.delta ? 1 : threads_for_parts(data_type_of<A>, d);
  const std::int64_t runs = runs_for(layout.lanes * heads, longest_segment(layout), threads);
  for_each_task(layout.lanes * heads * runs, [&](std::int64_t task) {
    const std::int64_t lane = task / runs / heads, head = task / runs % heads, run = task % runs;
    SegmentBackward<T> segments(pool, in, gradients, tile, tiles, norms);
    A *after = running.get(0), *before = running.get(1);
    std::fill(after, after + (d + 1) * d, A(0));
    if (gradients.d_after.matrix) std::copy_n(gradients.d_after.matrix_at(0, lane, head), d * d, after);
    if (gradients.d_after.norm) std::copy_n(gradients.d_after.norm_at(0, lane, head), d, after + d * d);
    for (std::int64_t slot = layout.segments_per_lane - 1; slot >= 0; --slot) {
      const Segment& segment = layout.segment(lane, slot);
      const A share = share_going_on(in.decay, segment, head);
      start_from(segment.keeps_memory, share, after, before, (d + 1) * d);
      if (run == 0 && d_decay.wanted() && segment.keeps_memory && segment.kept < segment.length) {
        d_decay.add(lane, head,
                    dot(after, gradients.before.matrix_at(slot, lane, head), d * d) +
                        dot(after + d * d, gradients.before.norm_at(slot, lane, head), d));
      }
      segments.run(segment, slot, lane, head, run, runs, after, before);
      if (gradients.d_read.matrix) add_scaled(before, A(1), gradients.d_read.matrix_at(slot, lane, head), d * d);
      if (gradients.d_read.norm) add_scaled(before + d * d, A(1), gradients.d_read.norm_at(slot, lane, head), d);
      std::swap(after, before);
    }
    if (run > 0) return;
    const MemoryStates<A>& initial = gradients.d_initial.view;
    const auto store = [&](const A* from, A* to, std::int64_t size) {
      if (gradients.d_initial.accumulate) {
        add_scaled(to, A(1), from, size);
      } else {
        std::copy_n(from, size, to);
      }
    };
    if (initial.matrix) store(after, initial.matrix_at(0, lane, head), d * d);
    if (initial.norm) store(after + d * d, initial.norm_at(0, lane, head), d);
  });
  d_decay.store();
}

#define PALIMPSEST_INSTANTIATE(T)                                                                               \
  template void memory_write_forward<T>(MemoryPool&, const MemoryWriteInputs<T>&, const MemoryWriteResult<T>&); \
  template void memory_write_backward<T>(MemoryPool&, const MemoryWriteInputs<T>&, const MemoryWriteGradients<T>&);
PALIMPSEST_INSTANTIATE(float)
PALIMPSEST_INSTANTIATE(bfloat16)
PALIMPSEST_INSTANTIATE(double)
#undef PALIMPSEST_INSTANTIATE

}  // namespace palimpsest
