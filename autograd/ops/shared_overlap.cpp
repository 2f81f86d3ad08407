#include "autograd/ops/shared_overlap.h"

#include <algorithm>
#include <array>
#include <utility>

#include "autograd/ops/head_views.h"
#include "autograd/ops/rows.h"
#include "core/kernels/elementwise.h"

namespace palimpsest {

namespace {

/// As the memory's own (autograd/ops/memory_scan.cpp): the time spent waiting for other ranks.
constexpr std::string_view exchange_family = "memory exchange";

}  // namespace

/// One layer's exchange on this rank. What is exchanged is (2, lanes, overlap, width): of keys, then of values.
class SharedOverlap::Pass {
 public:
  using Pair = std::array<Variable, 2>;

  Pass(MemoryPool& pool, const SequenceGroup& group, const KeysAndValues& mine, const KeysAndValues& before)
      : pool_(pool), group_(group), mine_{mine.key, mine.value}, before_{before.key, before.value} {
    const DataType type = mine.key.data_type();
    const Shape& front = before.key.shape();
    for (std::size_t i = 0; i < 2; ++i) {
      require_tensor("SharedOverlap", "keys or values", mine_[i].value(),
                     Shape{front[0], group.share->layout.tokens, front[2]}, type);
      require_tensor("SharedOverlap", "rows before", before_[i].value(), front, accumulate_type(type));
      if (before_[i].requires_gradient()) {
        throw ShapeError("SharedOverlap: no gradient flows into what stands before the sequence");
      }
    }
    overlap_ = front[1];
  }

  const Pair& mine() const { return mine_; }

  /// Begins the exchange of every rank's last rows.
  void begin_rows() {
    Tensor message = Tensor::zeros(pool_, message_shape(), mine_[0].data_type());
    const std::int64_t count = std::min(overlap_, share().tokens[static_cast<std::size_t>(share().rank)]);
    for (std::size_t i = 0; i < 2; ++i) {
      Tensor part = part_of(message, 0, i);
      copy_rows(mine_[i].value(), share().layout.tokens - count, count, part, overlap_ - count);
    }
    begin_exchange(std::move(message));
  }

  Pair rows(bool records) {
    Pair result;
    for (std::size_t i = 0; i < 2; ++i) {
      const Shape& shape = mine_[i].shape();
      Tensor all(pool_, Shape{shape[0], overlap_ + shape[1], shape[2]}, mine_[i].data_type());
      copy_rows(front_of(share().rank, i), 0, overlap_, all, 0);
      copy_rows(mine_[i].value(), 0, shape[1], all, overlap_);
      result[i] = Variable::result(std::move(all), records);
    }
    return result;
  }

  Pair after() const {
    const int last = share().ranks - 1;  // which has tokens
    const std::int64_t count = std::min(overlap_, share().tokens[static_cast<std::size_t>(last)]);
    Pair result;
    for (std::size_t i = 0; i < 2; ++i) {
      Tensor rows(pool_, before_[i].shape(), before_[i].data_type());
      copy_rows(front_of(last, i), count, overlap_ - count, rows, 0);
      copy_rows(part_of(gathered_, last, i), overlap_ - count, count, rows, overlap_ - count);
      result[i] = Variable(std::move(rows));
    }
    return result;
  }
  void forget() { gathered_ = Tensor(); }

  /// Hands on the gradients of the share's own rows, and begins the exchange of those in front of them.
  void begin_gradients(const std::array<GradientSlot, 2>& rows) {
    Tensor message = Tensor::zeros(pool_, message_shape(), rows[0].type());
    for (std::size_t i = 0; i < 2; ++i) {
      if (!rows[i].filled()) continue;
      const Tensor gradient = rows[i].take();
      Tensor front = part_of(message, 0, i);
      copy_rows(gradient, 0, overlap_, front, 0);
      if (!mine_[i].requires_gradient()) continue;
      Tensor own(pool_, mine_[i].shape(), gradient.data_type());
      copy_rows(gradient, overlap_, own.shape()[1], own, 0);
      mine_[i].add_gradient(pool_, own);
    }
    begin_exchange(std::move(message));
  }

  /// Adds what the next rank has found for this one's last rows.
  void add_gradients() {
    int next = share().rank + 1;
    while (next < share().ranks && share().tokens[static_cast<std::size_t>(next)] == 0) ++next;
    for (std::size_t i = 0; i < 2 && next < share().ranks && !share().idle(); ++i) {
      if (!mine_[i].requires_gradient()) continue;
      const Tensor found = part_of(gathered_, next, i);
      Tensor own = Tensor::zeros(pool_, mine_[i].shape(), found.data_type());
      copy_rows(found, 0, overlap_, own, own.shape()[1] - overlap_);
      mine_[i].add_gradient(pool_, own);
    }
    gathered_ = Tensor();
  }

  void wait() {
    transfer_.wait();
    message_ = Tensor();
  }

 private:
  const SequenceShare& share() const { return *group_.share; }
  std::int64_t lanes() const { return before_[0].shape()[0]; }
  Shape message_shape() const { return {2 * lanes(), overlap_, before_[0].shape()[2]}; }
  /// Keys (0) or values (1) of a rank among what is exchanged.
  Tensor part_of(const Tensor& messages, int rank, std::size_t index) const {
    const std::int64_t begin = (2 * rank + static_cast<std::int64_t>(index)) * lanes();
    return messages.rows(begin, begin + lanes());
  }
  /// What stands in front of a rank's tokens.
  Tensor front_of(int rank, std::size_t index) const {
    for (int previous = rank - 1; previous >= 0; --previous) {
      if (share().tokens[static_cast<std::size_t>(previous)] > 0) return part_of(gathered_, previous, index);
    }
    return before_[index].value();
  }
  void begin_exchange(Tensor message) {
    message_ = std::move(message);
    const Shape& shape = message_.shape();
    gathered_ = Tensor(pool_, Shape{share().ranks * shape[0], shape[1], shape[2]}, message_.data_type());
    transfer_ = group_.ranks->begin_all_gather(std::as_const(message_).raw(), gathered_.raw());
    if (!group_.overlaps) transfer_.wait();
  }

  MemoryPool& pool_;
  SequenceGroup group_;
  Pair mine_, before_;
  std::int64_t overlap_ = 0;
  Tensor message_, gathered_;  // of the exchange that is under way
  Transfer transfer_;          // ends before its buffers do
};

SharedOverlap::SharedOverlap(Tape& tape, const SequenceGroup& group, const KeysAndValues& mine,
                             const KeysAndValues& before)
    : tape_(tape),
      pass_(std::make_shared<Pass>(tape.pool(), group, mine, before)),
      records_(tape.records({mine.key, mine.value})) {
  {
    const OperatorScope scope(tape, "rows");
    pass_->begin_rows();
  }
  if (!records_) return;
  const OperatorScope scope(tape, exchange_family);
  gradients_ = tape.record_stage([pass = pass_] {
    pass->wait();
    pass->add_gradients();
  });
}

SharedOverlap::Result SharedOverlap::finish() {
  {
    const OperatorScope waiting(tape_, exchange_family);
    pass_->wait();
  }
  const OperatorScope scope(tape_, "rows");
  const Pass::Pair rows = pass_->rows(records_), after = pass_->after();
  pass_->forget();
  if (records_) {
    const std::array slots{rows[0].gradient_slot(), rows[1].gradient_slot()};
    tape_.record({rows[0], rows[1]}, [pass = pass_, slots, stage = gradients_] {
      pass->begin_gradients(slots);
      stage.ask();
    });
  }
  return {{rows[0], rows[1]}, {after[0], after[1]}};
}

}  // namespace palimpsest
