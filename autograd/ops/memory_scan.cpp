#include "autograd/ops/memory_scan.h"

#include <utility>

#include "autograd/ops/memory_scan_pass.h"

namespace palimpsest {

namespace {

/// The name under which a profile shows the time spent waiting for other ranks.
constexpr std::string_view exchange_family = "memory exchange";

template <class Pass>
void wait(Tape& tape, Pass& pass) {
  const OperatorScope waiting(tape, exchange_family);
  pass.wait();
}

/// Backward at this point, when asked: waits for the exchange under way, then takes `step`. Two stages, so that a
/// profile tells waiting from work.
template <class Pass>
BackwardStage record_after_exchange(Tape& tape, std::shared_ptr<Pass> pass, std::function<void()> step) {
  const BackwardStage then = tape.record_stage(std::move(step));
  const OperatorScope waiting(tape, exchange_family);
  return tape.record_stage([pass = std::move(pass), then] {
    pass->wait();
    then.ask();
  });
}

}  // namespace

SharedMemoryWrite::SharedMemoryWrite(Tape& tape, const SequenceGroup& group, const Variable& key,
                                     const LayerMemory& initial, const HeadCounts& counts, MemoryRule rule,
                                     const Variable& decay)
    : tape_(tape), pass_(std::make_shared<Pass>(tape.pool(), group, key, initial, counts, rule, decay)) {
  if (!pass_->delta()) return;
  const OperatorScope scope(tape, "memory");
  pass_->begin_norms();
  if (tape.records({key, decay})) norm_ = record_after_exchange(tape, pass_, [pass = pass_] { pass->norm_backward(); });
}

void SharedMemoryWrite::start(const Variable& value) {
  if (pass_->delta()) wait(tape_, *pass_);
  const OperatorScope scope(tape_, "memory");
  pass_->begin_states(value);
  records_ = tape_.records({pass_->key(), value, pass_->decay()});
  if (!records_) return;
  write_ = record_after_exchange(tape_, pass_, [pass = pass_, norm = norm_] {
    pass->write_backward();
    norm.ask();
  });
}

MemoryWrite SharedMemoryWrite::finish() {
  wait(tape_, *pass_);
  const OperatorScope scope(tape_, "memory");
  pass_->combine_states();
  MemoryWrite result{pass_->states_before(records_), pass_->state_after()};
  if (records_) {
    tape_.record({result.before.matrix, result.before.norm}, [pass = pass_, write = write_] {
      pass->begin_gradients();
      write.ask();
    });
  }
  return result;
}

}  // namespace palimpsest
