// Counts what a communicator is asked to do: bytes on the wire for tests, waiting for `bench`.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

#include "core/comm/communication_observer.h"

namespace palimpsest {

/// What one rank has asked for, by operation ("all_reduce_sum", "begin_all_reduce_sum", ...).
struct CommunicationCounts {
  struct Operation {
    std::int64_t calls = 0;
    std::int64_t bytes = 0;     // CommunicationEvent::bytes
    double seconds_waited = 0;  // in the call, and in `Transfer::wait` for what it began
  };
  std::map<std::string, Operation> operations;

  std::int64_t bytes() const;
  std::int64_t calls() const;
  double seconds_waited() const;
};

class CommunicationCounter final : public CommunicationObserver {
 public:
  const CommunicationCounts& counts() const { return counts_; }
  void reset() { counts_ = {}; }

  void begins(const CommunicationEvent& event) override;
  void ends(const CommunicationEvent& event) noexcept override;

 private:
  CommunicationCounts counts_;
  std::chrono::steady_clock::time_point start_;  // of the event that lasts
};

}  // namespace palimpsest
