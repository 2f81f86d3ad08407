// Ends a run in which a rank has stopped, died, left early or hangs. MPI would wait for it for ever.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "launch/ranks/lookout.h"
#include "launch/ranks/rank_status.h"

namespace palimpsest {

/// On every rank, a thread that writes this rank's heartbeat and looks at others' (Lookout), and one that notices when
/// the first gets no answer from the file system. MPI is not involved.
class Watchdog {
 public:
  using Settings = Lookout::Settings;
  /// Called once, from one of the threads, with what is wrong. Expected to end the process.
  using Alarm = std::function<void(const std::string&)>;
  /// Called with every heartbeat, from the thread that writes them.
  using Beat = std::function<void()>;

  /// `status` is this rank's and must outlive the watchdog. Writes a first heartbeat at once; a directory
  /// that cannot be written is no error here, but a rank that cannot write does not judge others.
  Watchdog(
      Settings settings, const RankStatus& status, Alarm alarm, Beat beat = [] {});
  /// Leaves a last heartbeat with the status as it is by then.
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// Seconds between heartbeats: a fifteenth of the timeout, but at most 5.
  static double interval(double timeout);

 private:
  /// Runs one of the threads' bodies; what it throws is an alarm.
  void run(void (Watchdog::*body)());
  void watch();
  void guard();
  /// Waits; false when it is time to end.
  bool wait(double seconds);
  void raise(const std::string& what);

  const RankStatus& status_;
  Alarm alarm_;
  Beat beat_;
  double interval_;
  Lookout lookout_;

  std::mutex mutex_;
  std::condition_variable ending_changed_;
  bool ending_ = false;
  std::atomic<bool> raised_{false};
  std::atomic<std::int64_t> rounds_{0};
  std::thread watcher_;
  std::thread guard_;
};

/// Says on standard error what is wrong and ends this process with ExitCode::watchdog at once; the launcher ends the
/// other ranks. Rank 0 speaks first, so that one message suffices.
[[noreturn]] void end_job(const Watchdog::Settings& settings, const std::string& what);

}  // namespace palimpsest
