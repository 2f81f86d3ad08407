// Threads beside the one that trains.
#pragma once

#include <csignal>
#include <thread>
#include <utility>

#include <pthread.h>

namespace palimpsest {

/// A thread that takes no signals: they are for the thread that trains.
template <class Body>
std::thread quiet_thread(Body body) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread(std::move(body));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace palimpsest
