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

  /// While one of these is there, this rank waits for others (launch/ranks/waiting_observer.h). Beginning and
  /// ending to wait is progress.
  class Waiting {
   public:
    explicit Waiting(RankStatus& status) : status_(status) { status_.wait(true); }
    ~Waiting() { status_.wait(false); }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

   private:
    RankStatus& status_;
  };

  Phase phase() const { return phase_; }
  bool waiting() const { return waiting_; }
  std::int64_t step() const { return step_; }
  /// Grows with every `enter` and every beginning or end of waiting.
  std::int64_t progress() const { return progress_; }
  /// "step 12, saving a checkpoint".
  std::string describe() const;

 private:
  void wait(bool waiting) {
    waiting_ = waiting;
    ++progress_;
  }

  std::atomic<Phase> phase_{Phase::starting};
  std::atomic<bool> waiting_{false};
  std::atomic<std::int64_t> step_{0};
  std::atomic<std::int64_t> progress_{0};
};

/// Throws the exception in flight anew, with " (CONTEXT)" after its message; one that is no Error becomes one.
/// Call from a handler.
[[noreturn]] void rethrow_with_context(const std::string& context);

}  // namespace palimpsest
