#include "core/comm/communication_counter.h"

#include "core/elapsed.h"

namespace palimpsest {

namespace {

template <class Value, class Member>
Value total(const CommunicationCounts& counts, Member member) {
  Value sum = 0;
  for (const auto& [name, operation] : counts.operations) sum += operation.*member;
  return sum;
}

}  // namespace

std::int64_t CommunicationCounts::bytes() const { return total<std::int64_t>(*this, &Operation::bytes); }
std::int64_t CommunicationCounts::calls() const { return total<std::int64_t>(*this, &Operation::calls); }
double CommunicationCounts::seconds_waited() const { return total<double>(*this, &Operation::seconds_waited); }

void CommunicationCounter::begins(const CommunicationEvent& event) {
  CommunicationCounts::Operation& counted = counts_.operations[event.operation];
  if (event.kind != CommunicationEvent::Kind::wait) ++counted.calls;
  counted.bytes += event.bytes;
  start_ = std::chrono::steady_clock::now();
}

void CommunicationCounter::ends(const CommunicationEvent& event) noexcept {
  const double seconds = seconds_since(start_);
  if (const auto counted = counts_.operations.find(event.operation); counted != counts_.operations.end()) {
    counted->second.seconds_waited += seconds;
  }
}

}  // namespace palimpsest
