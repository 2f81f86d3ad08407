// Parallel regions: how many threads they have, and how errors get out of them.
#pragma once

#include <atomic>
#include <exception>

#include <omp.h>

namespace palimpsest {

/// Sets the number of OpenMP threads while it lives.
class ThreadCount {
 public:
  explicit ThreadCount(int threads) : previous_(omp_get_max_threads()) { omp_set_num_threads(threads); }
  ~ThreadCount() { omp_set_num_threads(previous_); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  int previous_;
};

/// Carries the first exception out of a parallel region, which would end the program if it left one by itself:
///
///   FirstError error;
///   #pragma omp parallel for
///   for (...) error.keep([&] { ... });
///   error.rethrow();
class FirstError {
 public:
  /// Calls function(), unless a call has failed already: nobody will want the results. From any thread.
  template <class Function>
  void keep(Function&& function) noexcept {
    if (failed_.load(std::memory_order_relaxed)) return;
    try {
      function();
    } catch (...) {
      if (!failed_.exchange(true)) error_ = std::current_exception();
    }
  }

  /// Throws what a call has thrown first, if one has. After the region.
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::atomic<bool> failed_{false};
  std::exception_ptr error_;
};

}  // namespace palimpsest
