// What a training step tells, and asks, whoever takes it.
#pragma once

#include "autograd/operator_profile.h"
#include "launch/ranks/rank_status.h"

namespace palimpsest {

/// Why a run has to end before its last step.
struct StopReason {
  int signal = 0;            // the number of one that was received; 0: none
  bool out_of_time = false;  // train.time_limit leaves no time to go on

  bool stop() const { return signal != 0 || out_of_time; }
};

class StepObserver {
 public:
  StepObserver() = default;
  virtual ~StepObserver() = default;
  StepObserver(const StepObserver&) = delete;
  StepObserver& operator=(const StepObserver&) = delete;

  /// What begins now: communication (how much the batch holds), forward (and backward, of every micro batch),
  /// communication (what is left of the gradients), optimizer.
  virtual void enter(Phase phase) = 0;
  /// Asked once a step, when the gradients are there: why this rank would end the run.
  virtual StopReason stop_reason() { return {}; }
  /// Receives the time of each operator family; null for none.
  virtual OperatorProfile* profile() { return nullptr; }
};

}  // namespace palimpsest
