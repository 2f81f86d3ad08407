// Notes when this rank waits for others, whatever phase it is in, for the watchdog.
#pragma once

#include <optional>

#include "core/comm/communication_observer.h"
#include "launch/ranks/rank_status.h"

namespace palimpsest {

class WaitingObserver final : public CommunicationObserver {
 public:
  /// `status` must outlive it.
  explicit WaitingObserver(RankStatus& status) : status_(status) {}

  void begins(const CommunicationEvent& event) override {
    // Who begins a transfer goes on.
    if (event.kind != CommunicationEvent::Kind::begin) waiting_.emplace(status_);
  }
  void ends(const CommunicationEvent&) noexcept override { waiting_.reset(); }

 private:
  RankStatus& status_;
  std::optional<RankStatus::Waiting> waiting_;
};

}  // namespace palimpsest
