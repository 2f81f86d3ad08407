// Errors in parallel regions: an exception that leaves one would end the program.
#pragma once

#include <atomic>
#include <exception>

namespace palimpsest {

/// Carries the first exception out of a parallel region:
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
