#include "launch/training/stop_request.h"

#include <atomic>

namespace palimpsest {

namespace {

// A handler has no argument to carry an object, and signals belong to the process: this one word is
// all that they share with the program.
std::atomic<int> received_signal{0};
static_assert(std::atomic<int>::is_always_lock_free);

extern "C" void note_signal(int number) {
  int none = 0;
  received_signal.compare_exchange_strong(none, number);
}

}  // namespace

StopRequest::StopRequest() {
  received_signal = 0;
  struct sigaction action {};
  action.sa_handler = note_signal;
  action.sa_flags = SA_RESTART;  // reads and writes in progress go on
  sigemptyset(&action.sa_mask);
  for (std::size_t i = 0; i < signals.size(); ++i) sigaction(signals[i], &action, &earlier_[i]);
}

StopRequest::~StopRequest() {
  if (received_signal != 0) return;
  for (std::size_t i = 0; i < signals.size(); ++i) sigaction(signals[i], &earlier_[i], nullptr);
}

int StopRequest::signal() const { return received_signal; }

void StopRequest::forget() { received_signal = 0; }

const char* signal_name(int signal) {
  switch (signal) {
    case SIGINT: return "SIGINT";
    case SIGTERM: return "SIGTERM";
    case SIGUSR1: return "SIGUSR1";
  }
  return "unknown signal";
}

}  // namespace palimpsest
