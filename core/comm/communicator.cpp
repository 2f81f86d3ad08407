#include "core/comm/communicator.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "core/comm/shares.h"
#include "core/error.h"

namespace palimpsest {

namespace {

using Kind = CommunicationEvent::Kind;
using Observers = std::vector<CommunicationObserver*>;

/// Tells observers of an event for as long as it lasts.
class Report {
 public:
  Report(const Observers& observers, const CommunicationEvent& event) : observers_(observers), event_(event) {
    for (CommunicationObserver* observer : observers_) observer->begins(event_);
  }
  ~Report() {
    for (CommunicationObserver* observer : observers_) observer->ends(event_);
  }
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;

 private:
  const Observers& observers_;
  const CommunicationEvent event_;
};

/// A transfer whose waiting is reported.
class Observed final : public Transfer::Operation {
 public:
  Observed(Transfer transfer, const Observers& observers, const char* operation)
      : transfer_(std::move(transfer)), observers_(observers), operation_(operation) {}
  bool done() override { return transfer_.done(); }
  void wait() override {
    const Report report(observers_, {operation_, Kind::wait});
    transfer_.wait();
  }

 private:
  Transfer transfer_;
  Observers observers_;
  const char* operation_;
};

}  // namespace

std::int64_t Communicator::scattered(std::size_t count, std::size_t element) const {
  return static_cast<std::int64_t>((count - share_of(count, rank(), size()).size()) * element);
}

std::int64_t Communicator::gathered(std::size_t count, std::size_t element) const {
  return others() * static_cast<std::int64_t>(share_of(count, rank(), size()).size() * element);
}

template <class Call>
decltype(auto) Communicator::collective(const char* operation, std::int64_t bytes, Call&& call) {
  const Report report(observers_, {operation, Kind::collective, bytes});
  return call();
}

template <class Call>
Transfer Communicator::begin(const char* operation, std::int64_t bytes, Call&& call) {
  const Report report(observers_, {operation, Kind::begin, bytes});
  Transfer transfer = call();
  if (observers_.empty()) return transfer;
  return Transfer(std::make_unique<Observed>(std::move(transfer), observers_, operation));
}

void Communicator::all_reduce_sum(std::span<float> values) {
  collective("all_reduce_sum", scattered(values.size(), 4) + gathered(values.size(), 4),
             [&] { do_all_reduce_sum(values); });
}
void Communicator::all_reduce_sum(std::span<double> values) {
  collective("all_reduce_sum", scattered(values.size(), 8) + gathered(values.size(), 8),
             [&] { do_all_reduce_sum(values); });
}
void Communicator::all_reduce_sum(std::span<std::int64_t> values) {
  collective("all_reduce_sum", scattered(values.size(), 8) + gathered(values.size(), 8),
             [&] { do_all_reduce_sum(values); });
}
void Communicator::all_reduce_max(std::span<std::int64_t> values) {
  collective("all_reduce_max", scattered(values.size(), 8) + gathered(values.size(), 8),
             [&] { do_all_reduce_max(values); });
}
void Communicator::broadcast(std::span<std::byte> bytes, int root) {
  const std::int64_t sent = rank() == root ? others() * static_cast<std::int64_t>(bytes.size()) : 0;
  collective("broadcast", sent, [&] { do_broadcast(bytes, root); });
}
std::vector<std::vector<std::byte>> Communicator::all_gather(std::span<const std::byte> bytes) {
  return collective("all_gather", others() * static_cast<std::int64_t>(bytes.size()),
                    [&] { return do_all_gather(bytes); });
}
void Communicator::barrier() {
  collective("barrier", 0, [&] { do_barrier(); });
}

Transfer Communicator::begin_all_reduce_sum(std::span<float> values, WireType wire) {
  return begin("begin_all_reduce_sum", scattered(values.size(), size_of(wire)) + gathered(values.size(), size_of(wire)),
               [&] { return do_begin_all_reduce_sum(values, wire); });
}
Transfer Communicator::begin_reduce_scatter_sum(std::span<float> values, WireType wire) {
  return begin("begin_reduce_scatter_sum", scattered(values.size(), size_of(wire)),
               [&] { return do_begin_reduce_scatter_sum(values, wire); });
}
Transfer Communicator::begin_all_gather_shares(std::span<float> values) {
  return begin("begin_all_gather_shares", gathered(values.size(), sizeof(float)),
               [&] { return do_begin_all_gather_shares(values); });
}
Transfer Communicator::begin_all_gather(std::span<const std::byte> mine, std::span<std::byte> all) {
  const std::size_t expected = mine.size() * static_cast<std::size_t>(size());
  if (all.size() != expected) {
    throw CommunicationError(fmt::format("rank {} of {}: begin_all_gather of {} bytes got room for {}, expected {}",
                                         rank(), size(), mine.size(), all.size(), expected));
  }
  return begin("begin_all_gather", others() * static_cast<std::int64_t>(mine.size()),
               [&] { return do_begin_all_gather(mine, all); });
}

std::unique_ptr<Communicator> Communicator::split(int color, int key) {
  return collective("split", 0, [&] {
    std::unique_ptr<Communicator> part = do_split(color, key);
    part->observers_ = observers_;
    return part;
  });
}

CommunicationObservation::CommunicationObservation(Communicator& communicator, CommunicationObserver& observer)
    : communicator_(communicator), observer_(observer) {
  communicator_.observers_.push_back(&observer_);
}

CommunicationObservation::~CommunicationObservation() {
  std::vector<CommunicationObserver*>& observers = communicator_.observers_;
  observers.erase(std::ranges::find(observers, &observer_));
}

}  // namespace palimpsest
