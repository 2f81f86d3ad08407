// Loaded before the C library (LD_PRELOAD): numbers the calls by which a process changes files whose path
// contains PALIMPSEST_FAULT_PATH, and lets something happen at the one that PALIMPSEST_FAULT_AT says
// (counted from 1).
//   PALIMPSEST_FAULT_ACTION=kill     SIGKILL instead of the call
//   PALIMPSEST_FAULT_ACTION=stop     SIGSTOP before the call
//   PALIMPSEST_FAULT_ACTION=leave    the process ends instead of the call, with exit code 0
//   PALIMPSEST_FAULT_ACTION=ENOSPC   from then on, everything that needs room fails as on a full disk
//   PALIMPSEST_FAULT_ACTION=EIO      from then on, forcing to disk fails
//   PALIMPSEST_FAULT_ACTION=EACCES   from then on, renaming and removing fail
//   PALIMPSEST_FAULT_ACTION=noexchange  renameat2 is missing, as on some network file systems; with it
//                                       `kill` happens at PALIMPSEST_FAULT_AT, too
//   PALIMPSEST_FAULT_ACTION=lost     from then on, renaming is done and says ENOENT, as where a network file system has
//                                    lost the answer and asked again
//   PALIMPSEST_FAULT_ACTION=noexchange-lost  both
// PALIMPSEST_FAULT_LOG names a file to which the calls are written, one a line.
// PALIMPSEST_FAULT_CLOCK names a file with the seconds by which the clock of the day is wrong; it may change.
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <unistd.h>

namespace {

enum class Kind { needs_room, forces_to_disk, names };

std::atomic<long> calls = 0;

template <class Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

bool is_watched(const char* path) {
  const char* part = std::getenv("PALIMPSEST_FAULT_PATH");
  return part != nullptr && path != nullptr && std::strstr(path, part) != nullptr;
}

bool is_watched(int descriptor, char (&path)[4096]) {
  char link[64];
  std::snprintf(link, sizeof(link), "/proc/self/fd/%d", descriptor);
  const ssize_t length = readlink(link, path, sizeof(path) - 1);
  path[length < 0 ? 0 : length] = '\0';
  return is_watched(path);
}

void log_call(long number, const char* call, const char* path) {
  const char* log = std::getenv("PALIMPSEST_FAULT_LOG");
  if (log == nullptr) return;
  const int descriptor = real<int(const char*, int, ...)>("open")(log, O_WRONLY | O_CREAT | O_APPEND, 0666);
  char line[4200];
  const int length = std::snprintf(line, sizeof(line), "%ld %s %s\n", number, call, path);
  if (real<ssize_t(int, const void*, size_t)>("write")(descriptor, line, static_cast<size_t>(length)) < 0) std::abort();
  close(descriptor);
}

/// True when the call is to fail with errno.
bool fails(Kind kind, const char* call, const char* path) {
  const long number = ++calls;
  log_call(number, call, path);
  const char* at = std::getenv("PALIMPSEST_FAULT_AT");
  const char* action = std::getenv("PALIMPSEST_FAULT_ACTION");
  if (at == nullptr || action == nullptr || number < std::atol(at)) return false;
  if (std::strcmp(action, "kill") == 0 || std::strcmp(action, "noexchange") == 0) {
    if (number == std::atol(at)) raise(SIGKILL);
    return false;
  }
  if (std::strcmp(action, "stop") == 0) {
    if (number == std::atol(at)) raise(SIGSTOP);
    return false;
  }
  if (std::strcmp(action, "leave") == 0) _exit(0);
  const auto is = [&](const char* name, Kind concerned) { return std::strcmp(action, name) == 0 && kind == concerned; };
  errno = is("ENOSPC", Kind::needs_room)    ? ENOSPC
          : is("EIO", Kind::forces_to_disk) ? EIO
          : is("EACCES", Kind::names)       ? EACCES
                                            : 0;
  return errno != 0;
}

bool action_is(const char* name) {
  const char* action = std::getenv("PALIMPSEST_FAULT_ACTION");
  return action != nullptr && std::strcmp(action, name) == 0;
}

/// What a renaming returns whose result is `result`.
int answer(int result) {
  const char* at = std::getenv("PALIMPSEST_FAULT_AT");
  if (result != 0 || at == nullptr || calls < std::atol(at)) return result;
  if (!action_is("lost") && !action_is("noexchange-lost")) return result;
  errno = ENOENT;
  return -1;
}

long seconds_wrong() {
  const char* file = std::getenv("PALIMPSEST_FAULT_CLOCK");
  if (file == nullptr) return 0;
  const int descriptor = real<int(const char*, int, ...)>("open")(file, O_RDONLY | O_CLOEXEC);
  char text[32] = "";
  const ssize_t length = descriptor < 0 ? 0 : read(descriptor, text, sizeof(text) - 1);
  if (descriptor >= 0) close(descriptor);
  return length > 0 ? std::atol(text) : 0;
}

}  // namespace

extern "C" {

ssize_t write(int descriptor, const void* bytes, size_t count) {
  char path[4096];
  if (is_watched(descriptor, path) && fails(Kind::needs_room, "write", path)) return -1;
  return real<ssize_t(int, const void*, size_t)>("write")(descriptor, bytes, count);
}

ssize_t pwrite(int descriptor, const void* bytes, size_t count, off_t offset) {
  char path[4096];
  if (is_watched(descriptor, path) && fails(Kind::needs_room, "pwrite", path)) return -1;
  return real<ssize_t(int, const void*, size_t, off_t)>("pwrite")(descriptor, bytes, count, offset);
}

ssize_t pwrite64(int descriptor, const void* bytes, size_t count, off64_t offset) {
  return pwrite(descriptor, bytes, count, offset);
}

int ftruncate(int descriptor, off_t length) noexcept {
  char path[4096];
  if (is_watched(descriptor, path) && fails(Kind::needs_room, "ftruncate", path)) return -1;
  return real<int(int, off_t)>("ftruncate")(descriptor, length);
}

int ftruncate64(int descriptor, off64_t length) noexcept { return ftruncate(descriptor, length); }

int mkdir(const char* path, mode_t mode) noexcept {
  if (is_watched(path) && fails(Kind::needs_room, "mkdir", path)) return -1;
  return real<int(const char*, mode_t)>("mkdir")(path, mode);
}

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  if ((flags & O_CREAT) != 0 && is_watched(path) && fails(Kind::needs_room, "create", path)) return -1;
  return real<int(const char*, int, ...)>("open")(path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return open(path, flags, mode);
}

int fsync(int descriptor) {
  char path[4096];
  if (is_watched(descriptor, path) && fails(Kind::forces_to_disk, "fsync", path)) return -1;
  return real<int(int)>("fsync")(descriptor);
}

int rename(const char* from, const char* to) noexcept {
  if (is_watched(to) && fails(Kind::names, "rename", to)) return -1;
  const int result = real<int(const char*, const char*)>("rename")(from, to);
  return is_watched(to) ? answer(result) : result;
}

int renameat2(int from_directory, const char* from, int to_directory, const char* to, unsigned flags) noexcept {
  if (action_is("noexchange") || action_is("noexchange-lost")) {
    errno = EINVAL;
    return -1;
  }
  if (is_watched(to) && fails(Kind::names, "exchange", to)) return -1;
  const int result = real<int(int, const char*, int, const char*, unsigned)>("renameat2")(from_directory, from,
                                                                                          to_directory, to, flags);
  return is_watched(to) ? answer(result) : result;
}

int unlinkat(int directory, const char* name, int flags) noexcept {
  char path[4096];
  if (is_watched(directory, path) && fails(Kind::names, "remove", name)) return -1;
  return real<int(int, const char*, int)>("unlinkat")(directory, name, flags);
}

int remove(const char* path) noexcept {
  if (is_watched(path) && fails(Kind::names, "remove", path)) return -1;
  return real<int(const char*)>("remove")(path);
}

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const int result = real<int(clockid_t, timespec*)>("clock_gettime")(clock, time);
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) time->tv_sec += seconds_wrong();
  return result;
}

int gettimeofday(timeval* time, void* zone) noexcept {
  const int result = real<int(timeval*, void*)>("gettimeofday")(time, zone);
  time->tv_sec += seconds_wrong();
  return result;
}

time_t time(time_t* result) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (result != nullptr) *result = now.tv_sec;
  return now.tv_sec;
}

}  // extern "C"
