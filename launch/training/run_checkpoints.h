// A run's checkpoints: what goes into one, how the run goes on from one, and what is said about either.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "configs/run_config.h"
#include "core/comm/communicator.h"
#include "launch/checkpoint/checkpointer.h"
#include "launch/checkpoint/components.h"
#include "launch/training/components.h"
#include "launch/training/run_directory.h"
#include "launch/training/run_guard.h"
#include "launch/training/run_log.h"

namespace palimpsest {

class RunCheckpoints {
 public:
  /// All must outlive it, and so must what the components adapt.
  struct Setting {
    const RunConfig& config;  // resolved
    const RunDirectory& directory;
    RunGuard& guard;
    RunLog& log;
  };
  /// `own`: who computes here. An OriginComponent for it is added to the components.
  RunCheckpoints(const Setting& setting, Components components, const Origin& own);

  /// Collective, like everything here. Goes on from the run directory's newest checkpoint that is whole, and logs what
  /// has changed since; does nothing when there is none. Throws FileError when there are only bad ones, ConfigError
  /// when it is of another run.
  void resume();
  /// Has the memory for asynchronous saves made ready.
  void prepare();
  /// Begins to save a checkpoint of `step`, after an earlier one is through. Nothing may be under way that changes what
  /// the components hold.
  void start(std::int64_t step);
  /// Moves a save on without waiting, and logs how it ended. Throws WriteError when it failed, if checkpoint.on_failure
  /// says so.
  void poll() { report(checkpointer_.poll(), /*required=*/false); }
  /// Waits for the save under way. Throws WriteError when it failed and `required`, too.
  void finish(bool required) { report(checkpointer_.finish(), required); }
  /// The step of the newest checkpoint that was read or saved; 0: none.
  std::int64_t saved_step() const { return saved_step_; }

 private:
  void report(const std::optional<Checkpointer::Outcome>& outcome, bool required);

  Setting setting_;
  Components components_;
  Origin own_, restored_;
  Checkpointer checkpointer_;
  std::int64_t saved_step_ = 0;
};

}  // namespace palimpsest
