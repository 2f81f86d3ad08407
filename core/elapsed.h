// Times that are measured: by the clock that nobody sets, and of the processor.
#pragma once

#include <chrono>
#include <ctime>

namespace palimpsest {

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Processor time of all threads of the process since its start. What other programs do on the machine is not in it,
/// but what waiting threads spin away is.
inline double processor_seconds() {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + 1e-9 * static_cast<double>(used.tv_nsec);
}

}  // namespace palimpsest
