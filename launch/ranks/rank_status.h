// What a rank is doing: set by the thread that trains, read by the threads that tell others.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace palimpsest {

enum class Phase { starting, loading, data, forward, communication, optimizer, saving, evaluating, finished };

/// "forward and backward".
const char* name_of(Phase phase);

class RankStatus {
 public:
  /// The phase that begins now. Entering the same one again counts as progress, too.
  void enter(Phase phase) {
    phase_ = phase;
    ++progress_;
  }
  /// Counts steps from 1.
  void set_step(std::int64_t step) { step_ = step; }

  Phase phase() const { return phase_; }
  std::int64_t step() const { return step_; }
  /// Grows with every `enter`.
  std::int64_t progress() const { return progress_; }
  /// "step 12, saving a checkpoint".
  std::string describe() const;

 private:
  std::atomic<Phase> phase_{Phase::starting};
  std::atomic<std::int64_t> step_{0};
  std::atomic<std::int64_t> progress_{0};
};

/// Throws the exception in flight anew, with " (CONTEXT)" after its message; one that is no Error becomes one.
/// Call from a handler.
[[noreturn]] void rethrow_with_context(const std::string& context);

}  // namespace palimpsest
