// Threads beside the one that trains.
#pragma once

#include <csignal>
#include <thread>
#include <utility>

#include <pthread.h>

namespace palimpsest {

/// A thread that takes no signals: they are for the thread that trains. What `body` throws ends the process, as in
/// every thread. Throws std::system_error when there can be no more threads.
template <class Body>
std::thread quiet_thread(Body body) {
  // A thread inherits which signals are blocked.
  struct Blocked {
    Blocked() {
      sigset_t all;
      sigfillset(&all);
      pthread_sigmask(SIG_SETMASK, &all, &before);
    }
    ~Blocked() { pthread_sigmask(SIG_SETMASK, &before, nullptr); }
    sigset_t before;
  };
  const Blocked blocked;
  return std::thread(std::move(body));
}

}  // namespace palimpsest
