#include "core/io/child_process.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <new>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"

namespace palimpsest {

namespace {

constexpr int out_of_memory = 3;
constexpr int exception = 4;

std::uint64_t address_space() {
  std::uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

void limit(__rlimit_resource resource, std::uint64_t value) {
  rlimit limits{};
  getrlimit(resource, &limits);
  limits.rlim_cur = std::min<rlim_t>(value, limits.rlim_max);
  setrlimit(resource, &limits);
}

[[noreturn]] void run_child(const std::function<void()>& action, const ChildLimits& limits) {
  // MPI and sanitizers have handlers of their own, which would print.
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM, SIGXCPU, SIGTERM, SIGINT, SIGUSR1}) {
    std::signal(signal, SIG_DFL);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int nowhere = open("/dev/null", O_WRONLY);
  if (nowhere >= 0) {
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
  }
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_CPU, limits.seconds);
  if (const std::uint64_t own = address_space(); own > 0) limit(RLIMIT_AS, own + limits.memory_bytes);
  try {
    action();
  } catch (const std::bad_alloc&) {
    _exit(out_of_memory);
  } catch (const Error&) {  // the caller will meet the same
  } catch (...) {
    _exit(exception);
  }
  _exit(0);
}

}  // namespace

std::optional<std::string> try_in_child(const std::function<void()>& action, const ChildLimits& limits) {
  const pid_t child = fork();
  if (child < 0) throw Error(fmt::format("cannot start a process: {}", std::strerror(errno)));
  if (child == 0) run_child(action, limits);
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) throw Error(fmt::format("cannot wait for a process: {}", std::strerror(errno)));
  }
  if (WIFEXITED(status)) {
    if (WEXITSTATUS(status) == 0) return std::nullopt;
    if (WEXITSTATUS(status) == out_of_memory) {
      return fmt::format("needs more than {} MiB of memory", limits.memory_bytes >> 20);
    }
    if (WEXITSTATUS(status) == exception) return "throws an exception";
    return fmt::format("ends the process with status {}", WEXITSTATUS(status));
  }
  const int signal = WTERMSIG(status);
  if (signal == SIGXCPU) return fmt::format("needs more than {} seconds", limits.seconds);
  return fmt::format("is killed by signal {} ({})", signal, strsignal(signal));
}

}  // namespace palimpsest
