// What surrounds a run: its lock, the watchdog and the start guard, signals and the time limit.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "configs/options/train_config.h"
#include "core/comm/communicator.h"
#include "launch/ranks/rank_status.h"
#include "launch/ranks/start_guard.h"
#include "launch/ranks/waiting_observer.h"
#include "launch/ranks/watchdog.h"
#include "launch/training/run_directory.h"
#include "launch/training/run_lock.h"
#include "launch/training/run_log.h"
#include "launch/training/step_observer.h"
#include "launch/training/stop_request.h"
#include "launch/training/time_limit.h"

namespace palimpsest {

class RunGuard final : public StepObserver {
 public:
  /// From now on signals are noted, and whether this rank waits for others; the time limit runs, and a start that lasts
  /// too long ends the process.
  RunGuard(const TrainConfig& config, Communicator& communicator);

  /// The run's, which it observes.
  Communicator& communicator() { return communicator_; }
  RankStatus& status() { return status_; }
  TimeLimit& time_limit() { return time_limit_; }

  /// Collective. Creates the run directory, locks it against other trainers and opens its log, which only rank 0 has;
  /// then the watchdogs of all ranks take over from the start guard. Throws what RunLock and RunLog throw.
  RunLog open(const RunDirectory& directory);

  /// A step (counted from 1) begins, which an evaluation follows if the run goes on.
  void begin_step(std::int64_t step, bool evaluation_follows);
  /// The same for a batch of an evaluation, after which the run can end as well.
  void begin_batch();
  void enter(Phase phase) override { status_.enter(phase); }
  /// A signal, or too little time for another step, a checkpoint and the evaluation.
  StopReason stop_reason() override;
  /// Since `begin_step`.
  double step_seconds() const;

 private:
  double watchdog_timeout_;
  std::optional<StartGuard> start_guard_;  // until the watchdogs of all ranks are there
  RankStatus status_;
  WaitingObserver waiting_{status_};
  Communicator& communicator_;
  CommunicationObservation observation_{communicator_, waiting_};
  StopRequest stop_request_;
  TimeLimit time_limit_;
  std::optional<RunLock> lock_;  // rank 0
  std::optional<Watchdog> watchdog_;
  TimeLimit::Clock::time_point step_start_{};
  bool evaluation_follows_ = false;
};

}  // namespace palimpsest
