// Asking a running training or evaluation to stop: SIGINT, SIGTERM and SIGUSR1 are noted and looked at between
// two steps or batches, where all ranks agree on them.
#pragma once

#include <array>

#include <csignal>

namespace palimpsest {

/// While one of these lives, the signals above do not end the process. Further signals, during the
/// final save as well, change nothing. The earlier handlers return with its destruction, unless there was a
/// signal: a process that leaves because of one shall do so with the exit code of the first.
class StopRequest {
 public:
  static constexpr std::array<int, 3> signals = {SIGINT, SIGTERM, SIGUSR1};

  StopRequest();
  ~StopRequest();
  StopRequest(const StopRequest&) = delete;
  StopRequest& operator=(const StopRequest&) = delete;

  /// The number of the first signal that this process received, 0 if there was none.
  int signal() const;
  /// As if there had been none: what it asked for has been done, and the process goes on.
  void forget();

 private:
  std::array<struct sigaction, signals.size()> earlier_{};
};

/// "SIGTERM".
const char* signal_name(int signal);

}  // namespace palimpsest
