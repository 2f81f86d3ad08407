// One rank's part in the watch, a round at a time: the watchdog without its threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "launch/ranks/heartbeat.h"
#include "launch/ranks/rank_status.h"
#include "launch/ranks/silence.h"

namespace palimpsest {

class Lookout {
 public:
  struct Settings {
    std::filesystem::path directory;  // of the heartbeats, the same for all ranks
    int rank = 0;
    int ranks = 1;
    std::string host;    // this one
    double timeout = 0;  // seconds without a sign of life after which the run has to end; 0: never
  };

  /// `status` is this rank's and must outlive it. Looks come every `interval` seconds.
  Lookout(Settings settings, const RankStatus& status, double interval);

  /// Writes this rank's heartbeat. False when it cannot be written: the next save says so, if it lasts.
  bool write();
  /// Reads the heartbeats that this rank follows (watched_by) and says what is wrong, if anything. The others
  /// hear of rank 0 that it ends the job then (Heartbeat::ending).
  std::optional<std::string> look();

  const Settings& settings() const { return settings_; }

 private:
  bool write_own() const;

  Settings settings_;
  const RankStatus& status_;
  std::vector<int> watched_;
  SilenceJudge judge_;
  Heartbeat own_;
  std::int64_t last_progress_ = -1;
  double last_processor_time_ = 0;
  SilenceJudge::Clock::time_point last_write_{};
};

}  // namespace palimpsest
