#include "core/kernels/memory_scan.h"

#include <cmath>

#include "core/kernels/memory_tiles.h"

namespace palimpsest {

using namespace memory_tiles;

namespace {

/// result <- result - sigma(K)^T W D^-1 sigma(K) m over the segment's tokens, D = diag(sigma(K) (z + e) + epsilon), W
/// and e as their write weights say (core/kernels/memory.h). `sum` (d) is scratch.
template <class T, class A>
void subtract_predictions(MemoryPool& pool, const SequenceLayout& layout, const Segment& segment, HeadRows<const T> key,
                          std::int64_t head, double epsilon, const A* z, const A* m, A* result, std::int64_t tile,
                          A* sk, A* prediction, A* sum) {
  const std::int64_t d = key.head_size, stride = key.stride();
  z = norm_with_excess(layout, segment, key, head, z, sum);
  for (std::int64_t begin = segment.kept; begin < segment.length; begin += tile) {
    const std::int64_t rows = std::min(tile, segment.length - begin), n = padded(rows);
    load_sigma(key.at(segment.begin + begin, head), stride, rows, d, sk);
    matmul(pool, matrix(sk, n, d, d), matrix(m, d, d, d), matrix(prediction, n, d, d));
    for (std::int64_t i = 0; i < rows; ++i) {
      const A weight = write_weight<A>(layout, segment.begin + begin + i);
      const A inverse = -weight / (dot(sk + i * d, z, d) + static_cast<A>(epsilon));
#pragma omp simd
      for (std::int64_t j = 0; j < d; ++j) prediction[i * d + j] *= inverse;
    }
    matmul(pool, matrix(sk, n, d, d).transposed(), matrix(prediction, n, d, d), matrix(result, d, d, d),
           Output::accumulate);
  }
}

}  // namespace

// b = sum of w sigma(K), decayed, over the tokens since the memory was last forgotten
template <class T>
void memory_norm_forward(const SequenceLayout& layout, HeadRows<const T> key, const accumulate_t<T>* decay,
                         MemoryStates<accumulate_t<T>> total) {
  using A = accumulate_t<T>;
  const std::int64_t d = key.head_size;
  for_each_head(layout, key.heads, [&](std::int64_t lane, std::int64_t head) {
    A* const sum = total.norm_at(0, lane, head);
    std::fill(sum, sum + d, A(0));
    for (std::int64_t slot = 0; slot < layout.segments_per_lane; ++slot) {
      const Segment& segment = layout.segment(lane, slot);
      if (segment.keeps_memory) {
        scale(sum, share_going_on(decay, segment, head), sum, d);
      } else {
        std::fill(sum, sum + d, A(0));
      }
      for (std::int64_t row = segment.begin + segment.kept; row < segment.begin + segment.length; ++row) {
        const A weight = write_weight<A>(layout, row);
        const T* const k = key.at(row, head);
#pragma omp simd
        for (std::int64_t j = 0; j < d; ++j) sum[j] += weight * sigma(static_cast<A>(k[j]));
      }
    }
  });
}

// dsigma(K) += w dz' for every token whose key is in z';  da += dz' z, dz = a dz'
template <class T>
void memory_norm_backward(MemoryPool& pool, const SequenceLayout& layout, HeadRows<const T> key,
                          const accumulate_t<T>* decay, MemoryStates<const accumulate_t<T>> states,
                          MemoryStates<accumulate_t<T>> d_after, HeadRows<T> d_key,
                          Gradient<accumulate_t<T>*> d_decay) {
  using A = accumulate_t<T>;
  SumOverLanes<A> sums(pool, d_decay, layout.lanes, key.heads);
  for_each_head(layout, key.heads, [&](std::int64_t lane, std::int64_t head) {
    A* const dz = d_after.norm_at(0, lane, head);
    for (std::int64_t slot = layout.segments_per_lane - 1; slot >= 0; --slot) {
      const Segment& segment = layout.segment(lane, slot);
      if (d_key) {
        add_norm_gradient<T>(
            segment, key, head, dz, [&](std::int64_t row) { return write_weight<A>(layout, row); }, d_key);
      }
      if (!segment.keeps_memory) break;
      if (sums.wanted() && segment.kept < segment.length) {
        sums.add(lane, head, dot(dz, states.norm_at(slot, lane, head), key.head_size));
      }
      scale(dz, share_going_on(decay, segment, head), dz, key.head_size);
    }
  });
  sums.store();
}

// A_0 = I, A_{s+1} = a A_s - sigma(K)^T W D^-1 sigma(K) A_s
template <class T>
void memory_transition_forward(MemoryPool& pool, const SequenceLayout& layout, HeadRows<const T> key, double epsilon,
                               const accumulate_t<T>* decay, MemoryStates<const accumulate_t<T>> states,
                               MemoryStates<accumulate_t<T>> transitions) {
  using A = accumulate_t<T>;
  const std::int64_t d = key.head_size, tile = tile_for(layout), last = layout.segments_per_lane;
  Scratch<A> scratch(pool, 2, tile, d), norms(pool, 1, 1, d);
  for_each_head(layout, key.heads, [&](std::int64_t lane, std::int64_t head) {
    A* const first = transitions.matrix_at(0, lane, head);
    std::fill(first, first + d * d, A(0));
    for (std::int64_t i = 0; i < d; ++i) first[i * d + i] = A(1);
    const std::int64_t reach = reach_of_memory(layout, lane);
    for (std::int64_t slot = 0; slot < reach; ++slot) {
      const A* const current = transitions.matrix_at(slot, lane, head);
      A* const next = transitions.matrix_at(slot + 1, lane, head);
      scale(next, share_going_on(decay, layout.segment(lane, slot), head), current, d * d);
      subtract_predictions(pool, layout, layout.segment(lane, slot), key, head, epsilon,
                           states.norm_at(slot, lane, head), current, next, tile, scratch.get(0), scratch.get(1),
                           norms.get(0));
    }
    if (reach < last) std::fill_n(transitions.matrix_at(last, lane, head), d * d, A(0));
  });
}

// dM_s = A_s dM_{s+1} + what was read of M_s, from nothing after the last segment the memory reaches
template <class T>
void memory_transition_backward(MemoryPool& pool, const SequenceLayout& layout, HeadRows<const T> key, double epsilon,
                                const accumulate_t<T>* decay, MemoryStates<const accumulate_t<T>> states,
                                MemoryStates<const accumulate_t<T>> d_read, MemoryStates<accumulate_t<T>> d_first) {
  using A = accumulate_t<T>;
  const std::int64_t d = key.head_size, tile = tile_for(layout);
  Scratch<A> scratch(pool, 2, tile, d), norms(pool, 1, 1, d);
  Scratch<A> later(pool, 1, d, d);
  for_each_head(layout, key.heads, [&](std::int64_t lane, std::int64_t head) {
    A *const dm = d_first.matrix_at(0, lane, head), *const behind = later.get(0);
    std::fill(dm, dm + d * d, A(0));
    // The slot after the last segment is nobody's to read here.
    const std::int64_t last = std::min(reach_of_memory(layout, lane), layout.segments_per_lane - 1);
    for (std::int64_t slot = last; slot >= 0; --slot) {
      if (slot < last) {
        std::copy_n(dm, d * d, behind);
        scale(dm, share_going_on(decay, layout.segment(lane, slot), head), behind, d * d);
        subtract_predictions(pool, layout, layout.segment(lane, slot), key, head, epsilon,
                             states.norm_at(slot, lane, head), behind, dm, tile, scratch.get(0), scratch.get(1),
                             norms.get(0));
      }
      if (d_read.matrix) add_scaled(dm, A(1), d_read.matrix_at(slot, lane, head), d * d);
    }
  });
}

template <class A>
void memory_sum_backward(const SequenceLayout& layout, const A* decay, MemoryStates<const A> d_read,
                         MemoryStates<A> d_first) {
  const std::int64_t d = d_first.head_size;
  for_each_head(layout, d_first.kv_heads, [&](std::int64_t lane, std::int64_t head) {
    A *const dm = d_first.matrix_at(0, lane, head), *const dz = d_first.norm_at(0, lane, head);
    std::fill(dm, dm + d * d, A(0));
    std::fill(dz, dz + d, A(0));
    const std::int64_t last = std::min(reach_of_memory(layout, lane), layout.segments_per_lane - 1);
    for (std::int64_t slot = last; slot >= 0; --slot) {
      const A share = share_going_on(decay, layout.segment(lane, slot), head);
      scale(dm, share, dm, d * d);
      scale(dz, share, dz, d);
      if (d_read.matrix) add_scaled(dm, A(1), d_read.matrix_at(slot, lane, head), d * d);
      if (d_read.norm) add_scaled(dz, A(1), d_read.norm_at(slot, lane, head), d);
    }
  });
}

/// What goes on of a head's memory through all segments of a rank, where no matrix says so.
template <class A>
A share_through(const A* decay, const SequenceShare& share, int rank, std::int64_t head) {
  return decay == nullptr ? A(1)
                          : std::pow(decay[head], static_cast<A>(share.segments[static_cast<std::size_t>(rank)]));
}

/// z <- a^n z, or nothing where the rank forgets
template <class A>
void pass_through(const A* decay, const SequenceShare& share, int rank, std::int64_t lane, std::int64_t head,
                  std::int64_t d, A* z) {
  if (share.lets_pass(rank, lane)) {
    scale(z, share_through(decay, share, rank, head), z, d);
  } else {
    std::fill_n(z, d, A(0));
  }
}

/// m <- A m + B of one rank (A^T m + B if `transposed`), a^n m + B without a transition, B where the rank forgets.
/// `next` (d, d) is scratch.
template <class A>
void step_of_rank(MemoryPool& pool, const SequenceShare& share, const GatheredStates<A>& gathered, const A* decay,
                  int rank, std::int64_t lane, std::int64_t head, std::int64_t entry, std::int64_t d, bool transposed,
                  A* m, A* next) {
  const A* const b = gathered.matrix + rank * gathered.matrix_stride + entry * d * d;
  if (!share.lets_pass(rank, lane)) {
    std::copy_n(b, d * d, m);
  } else if (!gathered.transition) {
    scale(m, share_through(decay, share, rank, head), m, d * d);
    add_scaled(m, A(1), b, d * d);
  } else {
    // m moves on in a copy of b, since a product cannot write what it reads.
    const ConstMatrix a = matrix(gathered.transition + rank * gathered.transition_stride + entry * d * d, d, d, d);
    std::copy_n(b, d * d, next);
    matmul(pool, transposed ? a.transposed() : a, matrix(static_cast<const A*>(m), d, d, d), matrix(next, d, d, d),
           Output::accumulate);
    std::copy_n(next, d * d, m);
  }
}

// (M, z) <- rank by rank (A M + B, a^n z + b), or (B, b) where the rank forgets
template <class A>
void memory_scan_forward(MemoryPool& pool, const SequenceShare& share, const GatheredStates<A>& gathered,
                         const A* decay, MemoryStates<const A> initial, MemoryStates<A> before, MemoryStates<A> after) {
  const std::int64_t d = before.head_size, heads = before.kv_heads;
  Scratch<A> moved(pool, 1, d, d);
  for_each_head(share.layout, heads, [&](std::int64_t lane, std::int64_t head) {
    const std::int64_t entry = lane * heads + head;
    if (before.norm) {
      A* const z = after.norm_at(0, lane, head);
      std::copy_n(initial.norm_at(0, lane, head), d, z);
      for (int rank = 0; rank < share.ranks; ++rank) {
        if (rank == share.rank) std::copy_n(z, d, before.norm_at(0, lane, head));
        pass_through(decay, share, rank, lane, head, d, z);
        add_scaled(z, A(1), gathered.norm + rank * gathered.norm_stride + entry * d, d);
      }
    }
    if (before.matrix) {
      A *const m = after.matrix_at(0, lane, head), *const own = before.matrix_at(0, lane, head);
      std::copy_n(initial.matrix_at(0, lane, head), d * d, m);
      for (int rank = 0; rank < share.ranks; ++rank) {
        if (rank == share.rank) std::copy_n(m, d * d, own);
        step_of_rank(pool, share, gathered, decay, rank, lane, head, entry, d, false, m, moved.get(0));
      }
    }
  });
}

// (dM, dz) <- rank by rank from the last (A^T dM + C, a^n dz + c), or (C, c) where the rank forgets
template <class A>
void memory_scan_backward(MemoryPool& pool, const SequenceShare& share, const GatheredStates<A>& gathered,
                          const A* decay, MemoryStates<A> d_after) {
  const std::int64_t d = d_after.head_size, heads = d_after.kv_heads;
  Scratch<A> moved(pool, 1, d, d);
  for_each_head(share.layout, heads, [&](std::int64_t lane, std::int64_t head) {
    const std::int64_t entry = lane * heads + head;
    if (d_after.norm) {
      A* const dz = d_after.norm_at(0, lane, head);
      std::fill_n(dz, d, A(0));
      for (int rank = share.ranks - 1; rank > share.rank; --rank) {
        pass_through(decay, share, rank, lane, head, d, dz);
        add_scaled(dz, A(1), gathered.norm + rank * gathered.norm_stride + entry * d, d);
      }
    }
    if (d_after.matrix) {
      A* const dm = d_after.matrix_at(0, lane, head);
      std::fill_n(dm, d * d, A(0));
      for (int rank = share.ranks - 1; rank > share.rank; --rank) {
        step_of_rank(pool, share, gathered, decay, rank, lane, head, entry, d, true, dm, moved.get(0));
      }
    }
  });
}

// M_s += A_s M, z_s += a^s z
template <class A>
void memory_carry_in(MemoryPool& pool, const SequenceLayout& layout, const A* decay, MemoryStates<const A> before,
                     MemoryStates<const A> transitions, MemoryStates<A> states) {
  const std::int64_t d = states.head_size;
  for_each_head(layout, states.kv_heads, [&](std::int64_t lane, std::int64_t head) {
    const std::int64_t reach = reach_of_memory(layout, lane);
    A share = 1;
    for (std::int64_t slot = 0; slot <= reach; ++slot) {
      if (slot > 0) share *= share_going_on(decay, layout.segment(lane, slot - 1), head);
      if (before.norm) add_scaled(states.norm_at(slot, lane, head), share, before.norm_at(0, lane, head), d);
      if (!before.matrix) continue;
      A* const m = states.matrix_at(slot, lane, head);
      const A* const carried = before.matrix_at(0, lane, head);
      if (slot == 0 || !transitions.matrix) {
        add_scaled(m, share, carried, d * d);
      } else {
        matmul(pool, matrix(transitions.matrix_at(slot, lane, head), d, d, d), matrix(carried, d, d, d),
               matrix(m, d, d, d), Output::accumulate);
      }
    }
  });
}

#define PALIMPSEST_INSTANTIATE(T)                                                                                      \
  template void memory_norm_forward<T>(const SequenceLayout&, HeadRows<const T>, const accumulate_t<T>*,               \
                                       MemoryStates<accumulate_t<T>>);                                                 \
  template void memory_norm_backward<T>(MemoryPool&, const SequenceLayout&, HeadRows<const T>, const accumulate_t<T>*, \
                                        MemoryStates<const accumulate_t<T>>, MemoryStates<accumulate_t<T>>,            \
                                        HeadRows<T>, Gradient<accumulate_t<T>*>);                                      \
  template void memory_transition_forward<T>(MemoryPool&, const SequenceLayout&, HeadRows<const T>, double,            \
                                             const accumulate_t<T>*, MemoryStates<const accumulate_t<T>>,              \
                                             MemoryStates<accumulate_t<T>>);                                           \
  template void memory_transition_backward<T>(MemoryPool&, const SequenceLayout&, HeadRows<const T>, double,           \
                                              const accumulate_t<T>*, MemoryStates<const accumulate_t<T>>,             \
                                              MemoryStates<const accumulate_t<T>>, MemoryStates<accumulate_t<T>>);
PALIMPSEST_INSTANTIATE(float)
PALIMPSEST_INSTANTIATE(bfloat16)
PALIMPSEST_INSTANTIATE(double)
#undef PALIMPSEST_INSTANTIATE

#define PALIMPSEST_INSTANTIATE(A)                                                                                \
  template void memory_sum_backward<A>(const SequenceLayout&, const A*, MemoryStates<const A>, MemoryStates<A>); \
  template void memory_scan_forward<A>(MemoryPool&, const SequenceShare&, const GatheredStates<A>&, const A*,    \
                                       MemoryStates<const A>, MemoryStates<A>, MemoryStates<A>);                 \
  template void memory_scan_backward<A>(MemoryPool&, const SequenceShare&, const GatheredStates<A>&, const A*,   \
                                        MemoryStates<A>);                                                        \
  template void memory_carry_in<A>(MemoryPool&, const SequenceLayout&, const A*, MemoryStates<const A>,          \
                                   MemoryStates<const A>, MemoryStates<A>);
PALIMPSEST_INSTANTIATE(float)
PALIMPSEST_INSTANTIATE(double)
#undef PALIMPSEST_INSTANTIATE

}  // namespace palimpsest
