#include "launch/output/line_file.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "core/error.h"
#include "launch/output/progress.h"

namespace palimpsest {

namespace {

/// Cuts off what follows the last newline.
bool cut_torn_line(int descriptor) {
  off_t end = lseek(descriptor, 0, SEEK_END);
  const off_t size = end;
  char byte = '\n';
  while (end > 0 && pread(descriptor, &byte, 1, end - 1) == 1 && byte != '\n') --end;
  return end == size || ftruncate(descriptor, end) == 0;
}

}  // namespace

LineFile::LineFile(std::filesystem::path path, Warn warn) : path_(std::move(path)), warn_(std::move(warn)) {
  if (!reopen()) throw WriteError(fmt::format("{}: {}", path_.string(), problem_));
}

LineFile::~LineFile() { shut(); }

void LineFile::shut() {
  if (descriptor_ >= 0) close(descriptor_);
  descriptor_ = -1;
}

bool LineFile::failed(const char* action) {
  problem_ = fmt::format("cannot be {}: {}", action, std::strerror(errno));
  return false;
}

bool LineFile::is_in_place() const {
  struct stat open_file {
  }, there{};
  return fstat(descriptor_, &open_file) == 0 && stat(path_.c_str(), &there) == 0 && open_file.st_ino == there.st_ino &&
         open_file.st_dev == there.st_dev;
}

bool LineFile::reopen() {
  shut();
  descriptor_ = open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) return failed("opened for writing");
  if (cut_torn_line(descriptor_)) return true;
  failed("shortened to whole lines");
  shut();
  return false;
}

bool LineFile::write(const std::string& line) {
  if (descriptor_ >= 0 && !is_in_place()) {
    shut();
    std::error_code ignored;
    std::filesystem::create_directories(path_.parent_path(), ignored);
    if (reopen()) warn_(fmt::format("{}: has been removed or replaced; begun again", path_.string()));
  }
  if (descriptor_ < 0 && !reopen()) return false;
  const off_t before = lseek(descriptor_, 0, SEEK_END);
  for (std::size_t written = 0; written < line.size();) {
    const ssize_t bytes = ::write(descriptor_, line.data() + written, line.size() - written);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) {
      failed("written");
      // Should shortening fail as well, opening again cuts the torn line off.
      if (written > 0 && ftruncate(descriptor_, before) != 0) shut();
      return false;
    }
    written += static_cast<std::size_t>(bytes);
  }
  return true;
}

void LineFile::append(std::string line) {
  kept_.push_back(std::move(line));
  if (kept_.size() > max_kept) kept_.pop_front();
  flush();
}

std::size_t LineFile::flush() {
  const bool had_problem = !problem_.empty();
  const std::size_t waiting = kept_.size();
  while (!kept_.empty() && write(kept_.front())) kept_.pop_front();
  if (kept_.empty()) {
    problem_.clear();
    if (had_problem)
      warn_(fmt::format("{}: can be written again, {} caught up", path_.string(),
                        format_plural(static_cast<std::int64_t>(waiting), "line")));
  } else if (!had_problem) {
    warn_(fmt::format("{}: {}; lines are kept and tried again", path_.string(), problem_));
  }
  return kept_.size();
}

void LineFile::synchronize() {
  if (descriptor_ >= 0) [[maybe_unused]]
    const int result = fdatasync(descriptor_);
}

}  // namespace palimpsest
