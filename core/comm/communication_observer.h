// Who wants to know what is said between ranks: what it costs (communication_counter.h), or whether this rank waits for
// others (launch/ranks/waiting_observer.h).
#pragma once

#include <cstdint>

namespace palimpsest {

struct CommunicationEvent {
  enum class Kind {
    collective,  // a call that returns when it is done
    begin,       // a call that begins a transfer
    wait,        // for that transfer
  };
  const char* operation;  // "all_reduce_sum", or "begin_all_reduce_sum" for a transfer's call and for waiting for it
  Kind kind;
  /// That this rank has to send: of reductions and gathered shares what does not stay in its own share, of gathered
  /// bytes its own to every other rank, of a broadcast the root's to every other rank. Waiting sends nothing more.
  std::int64_t bytes = 0;
};

/// Hears of every event of a communicator (CommunicationObservation) on the thread that calls it, one after the other.
class CommunicationObserver {
 public:
  virtual ~CommunicationObserver() = default;
  virtual void begins(const CommunicationEvent& event) = 0;
  /// However it ended.
  virtual void ends(const CommunicationEvent& event) noexcept = 0;
};

}  // namespace palimpsest
