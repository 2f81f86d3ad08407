#include <algorithm>

#include "core/kernels/memory.h"
#include "core/kernels/memory_parts.h"
#include "core/kernels/memory_tiles.h"
#include "core/kernels/memory_write_tiles.h"

namespace palimpsest {

using namespace memory_tiles;

namespace {

/// What backward does with a segment of one lane and head (WriteParts::for_each_segment): it goes from the gradients
/// dM', dz' of the memory after the segment to those before it, dM, dz.
template <class T>
class BackwardWrite {
 public:
  using A = accumulate_t<T>;

  BackwardWrite(MemoryPool& pool, const MemoryWriteInputs<T>& in, const MemoryWriteGradients<T>& gradients,
                const WriteParts& parts, SumOverLanes<A>& d_decay)
      : pool_(pool),
        in_(in),
        gradients_(gradients),
        parts_(parts),
        d_decay_(d_decay),
        d_(in.key.head_size),
        sk_(pool, parts, d_),
        d_numerator_(pool, parts, in.rule.delta ? d_ : 0),
        d_denominator_(pool, parts, 1),
        tiles_(pool, in.rule.delta ? 3 : 2, parts.tile(), d_),
        updates_(pool, 1, parts.tile(), d_),
        matrices_(pool, in.rule.delta ? 2 : 1, d_, d_),
        norms_(pool, 2, 1, d_),
        running_(pool, Shape{parts.places(), 2, d_ + 1, d_}, data_type_of<A>) {}

  void start(std::int64_t index) {
    const WrittenHead last = parts_.head(index, in_.layout.segments_per_lane - 1);
    A* const after = state_after(last);
    std::fill_n(after, (d_ + 1) * d_, A(0));
    const MemoryStates<const A>& given = gradients_.d_after;
    if (given.matrix) std::copy_n(given.matrix_at(0, last.lane, last.head), d_ * d_, after);
    if (given.norm) std::copy_n(given.norm_at(0, last.lane, last.head), d_, after + d_ * d_);
  }

  void begin(const WrittenHead& at, const WritePart& part) {
    const A* const after = state_after(at);
    A* const before = state_before(at);
    const bool kept = at.segment.keeps_memory;
    const A share = share_going_on(in_.decay, at.segment, at.head);
    Block(parts_.blocks(), part.block).for_each_row(after, before, [&](const A* from, A* to, std::int64_t size) {
      start_from(kept, share, from, to, size);
    });
    if (part.block > 0) return;
    start_from(kept, share, after + d_ * d_, before + d_ * d_, d_);
    std::fill_n(excess_gradient(), d_, A(0));
    if (part.first() && d_decay_.wanted() && kept && at.segment.kept < at.segment.length) {
      d_decay_.add(at.lane, at.head, dot(after, matrix_of(at), d_ * d_) + dot(after + d_ * d_, norm_of(at), d_));
    }
  }

  template <class Then>
  void tokens(const WrittenHead& at, const Range& run, Then then) {
    const A* const divisor =
        delta(at) ? norm_with_excess(in_.layout, at.segment, in_.key, at.head, norm_of(at), norms_.get(0)) : nullptr;
    const T* const after = as_operand<T>(state_after(at), d_ * d_, matrices_.get(0));
    const T* const before = delta(at) ? as_operand<T>(matrix_of(at), d_ * d_, matrices_.get(1)) : nullptr;
    parts_.for_each_tile(run, [&](const Range& tile) {
      tokens_of_tile(at, tile, divisor, after, before);
      then(tile);
    });
  }

  void sums(const WrittenHead& at, const Range& tile, const WritePart& part) {
    if (!delta(at)) return;
    const T* const sk = sk_.at(at, tile.begin);
    Block(parts_.blocks(), part.block)
        .add_sums<T>(pool_, sk, d_numerator_.at(at, tile.begin), tile.count(), state_before(at));
    if (part.block > 0) return;
    A* const d_divisor = has_excess(in_.layout, at.segment) ? excess_gradient() : state_before(at) + d_ * d_;
    const A* const d_denominator = d_denominator_.at(at, tile.begin);
    for (std::int64_t i = 0; i < tile.count(); ++i) add_scaled(d_divisor, d_denominator[i], sk + i * d_, d_);
  }

  void end(const WrittenHead& at, const WritePart& part) {
    A* const before = state_before(at);
    const MemoryStates<const A>& d_read = gradients_.d_read;
    if (d_read.matrix) {
      Block(parts_.blocks(), part.block)
          .for_each_row(d_read.matrix_at(at.slot, at.lane, at.head), before,
                        [](const A* from, A* to, std::int64_t size) { add_scaled(to, A(1), from, size); });
    }
    if (part.block > 0) return;
    const Gradient<HeadRows<T>>&d_key = gradients_.d_key, &d_value = gradients_.d_value;
    if (delta(at) && has_excess(in_.layout, at.segment)) {
      add_scaled(before + d_ * d_, A(1), excess_gradient(), d_);
      if (d_key.wanted()) {
        const auto excess = [&](std::int64_t row) { return excess_weight<A>(in_.layout, row); };
        add_norm_gradient<T>(at.segment, in_.key, at.head, excess_gradient(), excess, d_key.view);
      }
    }
    for (const Gradient<HeadRows<T>>* gradient : {&d_key, &d_value}) {
      if (!part.first() || !gradient->wanted() || gradient->accumulate) continue;
      zero_rows(gradient->view.at(at.segment.begin, at.head), gradient->view.stride(), at.segment.kept, d_);
    }
    if (d_read.norm) add_scaled(before + d_ * d_, A(1), d_read.norm_at(at.slot, at.lane, at.head), d_);
  }

  void finish(std::int64_t index) {
    const WrittenHead first = parts_.head(index, 0);
    const MemoryStates<A>& initial = gradients_.d_initial.view;
    const auto store = [&](const A* from, A* to, std::int64_t size) {
      if (gradients_.d_initial.accumulate) {
        add_scaled(to, A(1), from, size);
      } else {
        std::copy_n(from, size, to);
      }
    };
    if (initial.matrix) store(state_before(first), initial.matrix_at(0, first.lane, first.head), d_ * d_);
    if (initial.norm) store(state_before(first) + d_ * d_, initial.norm_at(0, first.lane, first.head), d_);
  }

 private:
  bool delta(const WrittenHead& at) const { return in_.rule.delta && at.segment.keeps_memory; }
  const A* matrix_of(const WrittenHead& at) const { return gradients_.before.matrix_at(at.slot, at.lane, at.head); }
  const A* norm_of(const WrittenHead& at) const { return gradients_.before.norm_at(at.slot, at.lane, at.head); }

  /// The gradients of the memory before and after a segment, (d + 1, d) with the norm below the matrix.
  A* state(const WrittenHead& at, std::int64_t slot) {
    return running_.template data<A>() + (parts_.place(at) * 2 + slot % 2) * (d_ + 1) * d_;
  }
  A* state_before(const WrittenHead& at) { return state(at, at.slot); }
  A* state_after(const WrittenHead& at) { return state(at, at.slot + 1); }

  A* excess_gradient() { return norms_.get(1); }  // of the segment whose sums the thread adds up

  /// `after`, `before`: the gradient dM' and, for delta, M as operands.
  void tokens_of_tile(const WrittenHead& at, const Range& tile, const A* divisor, const T* after, const T* before) {
    const std::int64_t d = d_, row = at.first_row() + tile.begin, rows = tile.count(), n = padded(rows);
    const Gradient<HeadRows<T>>&d_key = gradients_.d_key, &d_value = gradients_.d_value;
    T *const sk = sk_.at(at, tile.begin), *const update = updates_.get(0);
    A *const d_update = tiles_.get(0), *const dsk = tiles_.get(1);
    A* const prediction = delta(at) ? tiles_.get(2) : nullptr;
    A denominator[tile_rows];
    load_features(in_.rule.features, in_.key.at(row, at.head), in_.key.stride(), rows, d, sk);
    load(in_.value.at(row, at.head), in_.value.stride(), rows, d, update);
    if (delta(at)) {
      subtract_prediction(pool_, sk, before, divisor, in_.rule.epsilon, rows, d, update, prediction, denominator);
    }
    weigh(in_.layout, row, rows, d, update);
    if (delta(at) || d_value.wanted()) {
      matmul(pool_, matrix(sk, n, d, d), matrix(after, d, d, d), matrix(d_update, n, d, d));
      weigh(in_.layout, row, rows, d, d_update);
    }
    if (d_key.wanted()) {
      matmul(pool_, matrix(update, n, d, d), matrix(after, d, d, d).transposed(), matrix(dsk, n, d, d));
      for (std::int64_t i = 0; i < rows; ++i) {
        add_scaled(dsk + i * d, write_weight<A>(in_.layout, row + i), state_after(at) + d * d, d);
      }
    }
    for (std::int64_t i = 0; d_value.wanted() && i < rows; ++i) {
      T* const target = d_value.view.at(row + i, at.head);
      prefetch_row(target + rows_ahead * d_value.view.stride(), d);
      store_row(d_update + i * d, d, target, d_value.accumulate);
    }
    if (delta(at)) through_prediction(at, tile, divisor, denominator, prediction, d_update, before, dsk);
    if (d_key.wanted()) {
      store_through_features(in_.rule.features, dsk, sk, rows, d, d_key.view.at(row, at.head), d_key.view.stride(),
                             d_key.accumulate);
    }
  }

  /// dN, and what dN and dD say of sigma(K).
  void through_prediction(const WrittenHead& at, const Range& tile, const A* divisor, const A* denominator,
                          const A* prediction, const A* d_update, const T* before, A* dsk) {
    const std::int64_t d = d_, rows = tile.count(), n = padded(rows);
    A* const d_denominator = d_denominator_.at(at, tile.begin);
    T* const d_numerator = d_numerator_.at(at, tile.begin);
    for (std::int64_t i = 0; i < rows; ++i) {
      const A inverse = A(1) / denominator[i];
      d_denominator[i] = dot(d_update + i * d, prediction + i * d, d) * inverse * inverse;
      if (gradients_.d_key.wanted()) add_scaled(dsk + i * d, d_denominator[i], divisor, d);
      scale(d_numerator + i * d, -inverse, d_update + i * d, d);
    }
    std::fill(d_numerator + rows * d, d_numerator + n * d, T(0));
    if (gradients_.d_key.wanted()) {
      matmul(pool_, matrix(d_numerator, n, d, d), matrix(before, d, d, d).transposed(), matrix(dsk, n, d, d),
             Output::accumulate);
    }
  }

  MemoryPool& pool_;
  const MemoryWriteInputs<T>& in_;
  const MemoryWriteGradients<T>& gradients_;
  const WriteParts& parts_;
  SumOverLanes<A>& d_decay_;
  std::int64_t d_;
  KeptRows<T> sk_, d_numerator_;
  KeptRows<A> d_denominator_;
  Scratch<A> tiles_;
  Scratch<T> updates_, matrices_;
  Scratch<A> norms_;
  Tensor running_;
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
  const std::int64_t d = in.key.head_size;
  SumOverLanes<A> d_decay(pool, gradients.d_decay, in.layout.lanes, in.key.heads);
  const WriteParts parts(in.layout, in.key.heads, d, in.rule.delta, Order::backwards,
                         threads_for_parts(data_type_of<T>, d));
  BackwardWrite<T> kernel(pool, in, gradients, parts, d_decay);
  parts.for_each_segment(kernel);
  d_decay.store();
}

#define PALIMPSEST_INSTANTIATE(T) \
  template void memory_write_backward<T>(MemoryPool&, const MemoryWriteInputs<T>&, const MemoryWriteGradients<T>&);
PALIMPSEST_INSTANTIATE(float)
PALIMPSEST_INSTANTIATE(bfloat16)
PALIMPSEST_INSTANTIATE(double)
#undef PALIMPSEST_INSTANTIATE

}  // namespace palimpsest
