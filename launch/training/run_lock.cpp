#include "launch/training/run_lock.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <thread>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "launch/ranks/heartbeat.h"
#include "launch/ranks/placement.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

struct Holder {
  std::string host;
  std::string boot;  // tells hosts apart that have the same name, and a host's times of life
  std::int64_t process = 0;
  std::string started;  // tells processes apart that have the same number

  std::string who() const { return fmt::format("process {} on {}", process, host); }
};

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// Field 22 of /proc/PID/stat, counted after the name, which may hold anything; empty when there is no such process.
std::string start_time(std::int64_t process) {
  const std::string line = first_line(fmt::format("/proc/{}/stat", process));
  const std::size_t end_of_name = line.rfind(')');
  if (end_of_name == std::string::npos) return "";
  std::string field = line.substr(end_of_name + 1);
  for (int i = 0; i < 20; ++i) field.erase(0, std::min(field.find(' ', 1), field.size()));
  return field.substr(0, field.find(' ', 1));
}

std::string boot_identity() { return first_line("/proc/sys/kernel/random/boot_id"); }

/// Who the file says has the lock; nothing when nobody does, or it is not to be understood.
std::optional<Holder> read_holder(const fs::path& path) {
  const auto json = nlohmann::json::parse(first_line(path), nullptr, /*allow_exceptions=*/false);
  try {
    return Holder{json.at("host").get<std::string>(), json.at("boot").get<std::string>(),
                  json.at("pid").get<std::int64_t>(), json.at("started").get<std::string>()};
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

/// Whether the heartbeat of rank 0 moves within so many seconds.
bool moves(const fs::path& heartbeats, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto before = read_heartbeat(heartbeats, 0);
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  while (Clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const auto now = read_heartbeat(heartbeats, 0);
    if (now && now != before) return true;
  }
  return false;
}

}  // namespace

RunLock::RunLock(const RunDirectory& directory, double patience, const std::function<void(const std::string&)>& tell)
    : path_(directory.path() / "lock") {
  const nlohmann::ordered_json self = {
      {"host", host_name()}, {"boot", boot_identity()}, {"pid", getpid()}, {"started", start_time(getpid())}};
  holder_ = self.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
  open_file();
  try {
    const bool given = lock_file();
    const std::optional<Holder> holder = read_holder(path_);
    bool held = !given;
    if (holder && holder->boot == boot_identity()) {
      // The kernel's word counts where it gives one: then the process is another one of the same number.
      held = !given || (!kernel_locks_ && start_time(holder->process) == holder->started);
    } else if (holder) {
      tell(fmt::format("{}: locked by {}; watching for {:.3g} s whether it is still training", path_.string(),
                       holder->who(), patience));
      held = moves(directory.heartbeats(), patience);
      if (!held) tell(fmt::format("{}: {} is gone; its lock is taken over", path_.string(), holder->who()));
    }
    if (held) {
      throw ConfigError(fmt::format("{}: is being trained in by {}; stop it or choose another train.run_directory",
                                    directory.path().string(), holder ? holder->who() : "another process"));
    }
    if (!given) {  // kept for a host that is gone: only a new file helps
      fs::remove(path_);
      close(descriptor_);
      open_file();
      if (!lock_file()) {
        throw ConfigError(fmt::format("{}: has just been locked by another process", directory.path().string()));
      }
    }
    write_holder();
  } catch (...) {
    close(descriptor_);
    throw;
  }
}

RunLock::~RunLock() {
  if (check().empty()) [[maybe_unused]]
    const int result = ftruncate(descriptor_, 0);
  close(descriptor_);
}

void RunLock::open_file() {
  descriptor_ = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw WriteError(fmt::format("{}: cannot be opened: {}", path_.string(), std::strerror(errno)));
}

bool RunLock::lock_file() {
  if (flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return true;
  if (errno == EWOULDBLOCK) return false;
  if (errno != ENOSYS && errno != EOPNOTSUPP && errno != ENOLCK && errno != EINVAL) {
    throw WriteError(fmt::format("{}: cannot be locked: {}", path_.string(), std::strerror(errno)));
  }
  kernel_locks_ = false;
  return true;
}

void RunLock::write_holder() {
  if (ftruncate(descriptor_, 0) != 0 ||
      pwrite(descriptor_, holder_.data(), holder_.size(), 0) != static_cast<ssize_t>(holder_.size()) ||
      fsync(descriptor_) != 0) {
    throw WriteError(fmt::format("{}: cannot be written: {}", path_.string(), std::strerror(errno)));
  }
}

std::string RunLock::check() {
  std::error_code error;
  if (!fs::exists(path_, error)) {
    if (error) return "";  // the file system does not answer: no news of another trainer
    fs::create_directories(path_.parent_path(), error);
    const int again = open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (again < 0) return "";
    close(descriptor_);
    descriptor_ = again;
    try {
      if (lock_file()) write_holder();
    } catch (const WriteError&) {
      return "";
    }
  }
  const std::optional<Holder> holder = read_holder(path_);
  if (!holder || first_line(path_) + '\n' == holder_) return "";
  return fmt::format("{} has been taken over by {}", path_.parent_path().string(), holder->who());
}

}  // namespace palimpsest
