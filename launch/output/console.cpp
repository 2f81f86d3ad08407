#include "launch/output/console.h"

#include <cerrno>
#include <cstdlib>

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

namespace palimpsest {

namespace {

/// The same destination, not blocking where it could block. A descriptor opened anew, because the flag
/// on the given one would reach every process that shares it.
int open_without_blocking(int descriptor) {
  struct stat status {};
  if (fstat(descriptor, &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode))) {
    const std::string path = fmt::format("/proc/self/fd/{}", descriptor);
    const int opened = open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (opened >= 0) return opened;
  }
  return fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
}

}  // namespace

bool on_terminal(int descriptor) {
  if (descriptor == STDOUT_FILENO && !isatty(descriptor)) return false;  // redirected below the launcher
  if (std::getenv("OMPI_COMM_WORLD_SIZE") == nullptr) return isatty(descriptor);
  const std::string launcher = fmt::format("/proc/{}/fd/{}", getppid(), descriptor);
  const int opened = open(launcher.c_str(), O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (opened < 0) return false;
  const bool terminal = isatty(opened);
  close(opened);
  return terminal;
}

Console::Console(int descriptor, bool terminal) : descriptor_(open_without_blocking(descriptor)), terminal_(terminal) {}

Console::~Console() {
  clear_progress();
  close(descriptor_);
}

void Console::show_progress(const std::string& text) {
  if (!terminal_) return;
  const std::scoped_lock lock(mutex_);
  winsize window{};
  const std::size_t width =
      ioctl(descriptor_, TIOCGWINSZ, &window) == 0 && window.ws_col > 20 ? window.ws_col - 1u : 119u;
  erase();
  write(std::string_view(text).substr(0, width));
  shown_ = true;
}

void Console::clear_progress() {
  const std::scoped_lock lock(mutex_);
  erase();
}

void Console::erase() {
  if (shown_) write("\r\033[K");
  shown_ = false;
}

void Console::sink_it_(const spdlog::details::log_msg& message) {
  erase();
  spdlog::memory_buf_t line;
  formatter_->format(message, line);
  write({line.data(), line.size()});
}

void Console::write(std::string_view text) {
  while (!text.empty()) {
    const ssize_t bytes = ::write(descriptor_, text.data(), text.size());
    if (bytes > 0) {
      text.remove_prefix(static_cast<std::size_t>(bytes));
      stuck_ = false;
    } else if (errno == EAGAIN) {
      pollfd room{descriptor_, POLLOUT, 0};
      if (poll(&room, 1, stuck_ ? 0 : patience_milliseconds) == 0) {
        stuck_ = true;
        return;
      }
    } else if (errno != EINTR) {
      return;  // the console is gone; the log file is not
    }
  }
}

}  // namespace palimpsest
