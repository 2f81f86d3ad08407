#include "core/kernels/memory.h"
#include "core/kernels/memory_parts.h"
#include "core/kernels/memory_tiles.h"
#include "core/kernels/memory_write_tiles.h"

namespace palimpsest {

using namespace memory_tiles;

namespace {

/// What forward does with a segment of one lane and head (WriteParts::for_each_segment).
template <class T>
class ForwardWrite {
 public:
  using A = accumulate_t<T>;

  ForwardWrite(MemoryPool& pool, const MemoryWriteInputs<T>& in, const MemoryWriteResult<T>& result,
               const WriteParts& parts)
      : pool_(pool),
        in_(in),
        result_(result),
        parts_(parts),
        d_(in.key.head_size),
        sk_(pool, parts, d_),
        update_(pool, parts, d_),
        prediction_(pool, 1, in.rule.delta ? parts.tile() : 0, d_),
        divisor_sum_(pool, 1, 1, d_),
        operand_(pool, in.rule.delta ? 1 : 0, d_, d_) {}

  void start(std::int64_t) {}
  void finish(std::int64_t) {}

  void begin(const WrittenHead& at, const WritePart& part) {
    const bool kept = at.segment.keeps_memory;
    const A share = share_going_on(in_.decay, at.segment, at.head);
    Block(parts_.blocks(), part.block)
        .for_each_row(matrix_before(at), matrix_after(at),
                      [&](const A* from, A* to, std::int64_t size) { start_from(kept, share, from, to, size); });
    if (part.first()) start_from(kept, share, norm_before(at), norm_after(at), d_);
  }

  template <class Then>
  void tokens(const WrittenHead& at, const Range& run, Then then) {
    const HeadRows<const T>&key = in_.key, &value = in_.value;
    const bool delta = in_.rule.delta && at.segment.keeps_memory;
    const A* const divisor =
        delta ? norm_with_excess(in_.layout, at.segment, key, at.head, norm_before(at), divisor_sum_.get(0)) : nullptr;
    const T* const m = delta ? as_operand(matrix_before(at), d_ * d_, operand_.get(0)) : nullptr;
    parts_.for_each_tile(run, [&](const Range& tile) {
      const std::int64_t row = at.first_row() + tile.begin, rows = tile.count();
      T *const sk = sk_.at(at, tile.begin), *const update = update_.at(at, tile.begin);
      load_features(in_.rule.features, key.at(row, at.head), key.stride(), rows, d_, sk);
      load(value.at(row, at.head), value.stride(), rows, d_, update);
      if (delta) {
        A denominator[tile_rows];
        subtract_prediction(pool_, sk, m, divisor, in_.rule.epsilon, rows, d_, update, prediction_.get(0), denominator);
      }
      weigh(in_.layout, row, rows, d_, update);
      then(tile);
    });
  }

  void sums(const WrittenHead& at, const Range& tile, const WritePart& part) {
    const T* const sk = sk_.at(at, tile.begin);
    Block(parts_.blocks(), part.block).add_sums(pool_, sk, update_.at(at, tile.begin), tile.count(), matrix_after(at));
    for (std::int64_t i = 0; part.first() && i < tile.count(); ++i) {
      add_scaled(norm_after(at), write_weight<A>(in_.layout, at.first_row() + tile.begin + i), sk + i * d_, d_);
    }
  }

  void end(const WrittenHead&, const WritePart&) {}

 private:
  const A* matrix_before(const WrittenHead& at) const { return result_.before.matrix_at(at.slot, at.lane, at.head); }
  const A* norm_before(const WrittenHead& at) const { return result_.before.norm_at(at.slot, at.lane, at.head); }
  bool last(const WrittenHead& at) const { return at.slot + 1 == in_.layout.segments_per_lane; }
  A* matrix_after(const WrittenHead& at) const {
    return last(at) ? result_.after.matrix_at(0, at.lane, at.head)
                    : result_.before.matrix_at(at.slot + 1, at.lane, at.head);
  }
  A* norm_after(const WrittenHead& at) const {
    return last(at) ? result_.after.norm_at(0, at.lane, at.head)
                    : result_.before.norm_at(at.slot + 1, at.lane, at.head);
  }

  MemoryPool& pool_;
  const MemoryWriteInputs<T>& in_;
  const MemoryWriteResult<T>& result_;
  const WriteParts& parts_;
  std::int64_t d_;
  KeptRows<T> sk_, update_;
  Scratch<A> prediction_, divisor_sum_;
  Scratch<T> operand_;
};

}  // namespace

// With weights W, excess e and decay a: M' = a M + sigma(K)^T W U, U = V (linear) or V - N / D (delta), D = sigma(K) (z
// + e) + epsilon; z' = a z + sum w sigma(K)
template <class T>
void memory_write_forward(MemoryPool& pool, const MemoryWriteInputs<T>& in, const MemoryWriteResult<T>& result) {
  check(in, {result.before.matrix, result.before.norm, result.before.lanes, result.before.kv_heads,
             result.before.head_size});
  const std::int64_t d = in.key.head_size;
  const WriteParts parts(in.layout, in.key.heads, d, in.rule.delta, Order::forwards,
                         threads_for_parts(data_type_of<T>, d));
  ForwardWrite<T> kernel(pool, in, result, parts);
  parts.for_each_segment(kernel);
}

#define PALIMPSEST_INSTANTIATE(T) \
  template void memory_write_forward<T>(MemoryPool&, const MemoryWriteInputs<T>&, const MemoryWriteResult<T>&);
PALIMPSEST_INSTANTIATE(float)
PALIMPSEST_INSTANTIATE(bfloat16)
PALIMPSEST_INSTANTIATE(double)
#undef PALIMPSEST_INSTANTIATE

}  // namespace palimpsest
