#include "core/io/temporary_file.h"

#include <cerrno>
#include <charconv>
#include <climits>
#include <csignal>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include <fmt/format.h>
#include <unistd.h>

#include "core/io/atomic_directory.h"

namespace palimpsest {

namespace fs = std::filesystem;

namespace {

std::string host_name() {
  char name[HOST_NAME_MAX + 1] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "";
}

/// The process whose temporary file this is, if it is one of this host.
std::optional<pid_t> writer_of(std::string_view name, std::string_view host) {
  const std::size_t dash = name.rfind('-');
  if (dash == std::string_view::npos || !name.starts_with(temporary_prefix)) return std::nullopt;
  if (!name.substr(0, dash).ends_with(fmt::format("-{}", host))) return std::nullopt;
  pid_t process = 0;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + dash + 1, end, process);
  if (error != std::errc() || stop != end || process <= 0) return std::nullopt;
  return process;
}

bool is_gone(pid_t process) { return ::kill(process, 0) != 0 && errno == ESRCH; }

}  // namespace

fs::path temporary_file_for(const fs::path& destination) {
  fs::path temporary = destination;
  return temporary.replace_filename(
      fmt::format("{}{}-{}-{}", temporary_prefix, destination.filename().string(), host_name(), ::getpid()));
}

void remove_abandoned_files(const fs::path& folder) {
  const std::string host = host_name();
  if (host.empty()) return;
  std::error_code error, ignored;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const auto process = writer_of(entry->path().filename().native(), host);
    if (process && entry->is_regular_file(ignored) && is_gone(*process)) fs::remove(entry->path(), ignored);
  }
}

}  // namespace palimpsest
