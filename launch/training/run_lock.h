// Keeps a second trainer out of a run directory, on a local disk and on network file systems.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "launch/training/run_directory.h"

namespace palimpsest {

/// Two locks in one. The kernel's (flock) is let go of when its holder ends, however it ends; some network file systems
/// do not have it, or keep it for a host that has died. So RUN/lock also says who holds it: host, process, when that
/// was started. A lock is stale
/// - at once, when its holder was a process of this host that is no more;
/// - when its holder is on another host, and the heartbeat of its rank 0 (launch/ranks/heartbeat.h) stands still for
///   `patience` seconds of watching.
class RunLock {
 public:
  static constexpr double default_patience = 30;

  /// Throws ConfigError, naming the holder's host and process, when another process has it; WriteError when the lock
  /// file cannot be written. `tell` hears why taking it lasts, and that a stale lock was taken over.
  explicit RunLock(
      const RunDirectory& directory, double patience = default_patience,
      const std::function<void(const std::string&)>& tell = [](const std::string&) {});
  /// Gives it back.
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

  /// Looks whether the lock is still there; from any one thread. Puts it back when it has been removed with the run
  /// directory. What is wrong when another trainer has it, as may happen after this one was held up for long;
  /// empty otherwise.
  std::string check();

 private:
  void open_file();
  /// Whether the kernel has given us the lock; true where it has no such locks.
  bool lock_file();
  void write_holder();

  std::filesystem::path path_;
  std::string holder_;  // what we write
  bool kernel_locks_ = true;
  int descriptor_ = -1;
};

}  // namespace palimpsest
