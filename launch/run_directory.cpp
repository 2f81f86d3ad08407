#include "launch/run_directory.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <fmt/format.h>

#include "configs/yaml.h"
#include "core/error.h"
#include "core/io/atomic_directory.h"
#include "launch/placement.h"

namespace palimpsest {

namespace {

// A run whose checkpoint says otherwise here is another run. The stream's cursor looks after
// data.train: its content counts, not its path.
constexpr std::array<std::string_view, 6> must_agree = {
    "model.", "optimizer.kind", "train.seed", "train.batch_size", "train.sequence_length", "train.carry_memory"};
// These change no bit of a step, or (train.steps, by way of the decay) only as the user means it.
constexpr auto may_differ =
    std::to_array<std::string_view>({"data.", "evaluation.", "checkpoint.", "optimizer.sharded", "train.run_directory",
                                     "train.steps", "train.log_every", "train.recompute", "train.overlap_gradients",
                                     "train.gradient_bucket", "train.time_limit", "train.watchdog_timeout"});

template <std::size_t count>
bool is_one_of(const std::string& difference, const std::array<std::string_view, count>& keys) {
  return std::ranges::any_of(keys, [&](std::string_view key) {
    if (!difference.starts_with(key)) return false;
    return key.ends_with('.') || difference.substr(key.size()).starts_with(':');
  });
}

std::string read_holder(int descriptor) {
  char text[512];
  const ssize_t bytes = pread(descriptor, text, sizeof(text), 0);
  std::string holder(text, static_cast<std::size_t>(std::max<ssize_t>(bytes, 0)));
  holder.erase(std::min(holder.find('\n'), holder.size()));
  return holder.empty() ? "another process" : holder;
}

}  // namespace

void RunDirectory::create() const {
  std::error_code error;
  std::filesystem::create_directories(path_, error);
  if (error) throw WriteError(fmt::format("{}: cannot be created: {}", path_.string(), error.message()));
}

void write_result(const std::filesystem::path& path, const std::string& content) {
  try {
    RunDirectory(path.has_parent_path() ? path.parent_path() : ".").create();
    write_file_atomically(path, content);
  } catch (const FileError& error) {
    throw WriteError(error.what());
  }
}

RunLock::RunLock(const RunDirectory& directory) {
  const std::string path = directory.path() / "lock";
  descriptor_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw WriteError(fmt::format("{}: cannot be opened: {}", path, std::strerror(errno)));
  if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    const int reason = errno;
    const std::string holder = read_holder(descriptor_);
    close(descriptor_);
    if (reason != EWOULDBLOCK) throw WriteError(fmt::format("{}: cannot be locked: {}", path, std::strerror(reason)));
    throw ConfigError(fmt::format("{}: is being trained in by {}; stop it or choose another train.run_directory",
                                  directory.path().string(), holder));
  }
  const std::string holder = fmt::format("process {} on {}\n", getpid(), host_name());
  if (ftruncate(descriptor_, 0) != 0 ||
      pwrite(descriptor_, holder.data(), holder.size(), 0) != static_cast<ssize_t>(holder.size())) {
    const int reason = errno;
    close(descriptor_);
    throw WriteError(fmt::format("{}: cannot be written: {}", path, std::strerror(reason)));
  }
}

RunLock::~RunLock() { close(descriptor_); }

std::vector<std::string> check_resumable(const RunConfig& saved, const RunConfig& asked) {
  std::vector<std::string> refused, noted;
  for (const std::string& difference : differences(saved, asked)) {
    if (is_one_of(difference, must_agree)) {
      refused.push_back(difference);
    } else if (!is_one_of(difference, may_differ)) {
      noted.push_back(difference);
    }
  }
  if (!refused.empty()) {
    throw ConfigError(
        fmt::format("{}: holds a checkpoint of another configuration (saved -> asked for): {}. Undo the "
                    "change, or choose another train.run_directory for a new run",
                    asked.train.run_directory, fmt::join(refused, "; ")));
  }
  return noted;
}

}  // namespace palimpsest
