// What the trainer does about steps whose numbers are wrong: all ranks skip them alike, and say why.
#include <fmt/format.h>

#include "core/comm/agreement.h"
#include "core/error.h"
#include "launch/ranks/placement.h"
#include "launch/training/not_finite.h"
#include "launch/training/trainer.h"

namespace palimpsest {

void Trainer::skip_step(const std::string& reason) {
  ++skipped_steps_;
  ++consecutive_skips_;
  log_.warn(fmt::format("step {}: {}; step skipped ({} in a row)", step_ + 1, reason, consecutive_skips_));
  if (consecutive_skips_ >= config_.train.max_skipped_steps) {
    checkpointer_.finish();  // one under way is from before the trouble
    throw NumericalError(
        fmt::format("{} steps in a row were skipped (train.max_skipped_steps), the last being step {}: {}",
                    consecutive_skips_, step_ + 1, reason));
  }
}

std::string Trainer::explain_not_finite(const std::vector<MemoryState>& memories, bool own_loss_finite) {
  const std::string found = first_not_finite(model_.parameters(), memories, first_lane_);
  const int rank = communicator_.rank(), ranks = communicator_.size();
  // The lowest rank whose own loss is wrong speaks, else the lowest that finds a tensor: sums have spread to all.
  std::int64_t claim = !own_loss_finite ? 2 * ranks - rank : !found.empty() ? ranks - rank : 0;
  communicator_.all_reduce_max(std::span(&claim, 1));
  if (claim == 0) return "the sum of losses or the gradient norm is not finite, though every tensor is";
  return broadcast_text(communicator_,
                        fmt::format("{} of rank {} on {} is not finite{}", own_loss_finite ? "a gradient" : "the loss",
                                    rank, host_name(), found.empty() ? "" : ", and the first such tensor is " + found),
                        ranks - static_cast<int>((claim - 1) % ranks) - 1);
}

}  // namespace palimpsest
