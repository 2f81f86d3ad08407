#include "core/comm/counting_communicator.h"

#include <chrono>
#include <utility>

#include "core/comm/shares.h"

namespace palimpsest {

namespace {

/// Adds the time until it is destroyed to an operation's waiting.
class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds) {}
  ~Stopwatch() { seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// A transfer whose waiting is timed.
class Counted final : public Transfer::Operation {
 public:
  Counted(Transfer transfer, std::shared_ptr<CommunicationCounts> counts, const char* operation)
      : transfer_(std::move(transfer)), counts_(std::move(counts)), operation_(operation) {}
  bool done() override { return transfer_.done(); }
  void wait() override {
    const Stopwatch stopwatch(counts_->operations[operation_].seconds_waited);
    transfer_.wait();
  }

 private:
  Transfer transfer_;
  std::shared_ptr<CommunicationCounts> counts_;
  const char* operation_;
};

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

std::int64_t CountingCommunicator::scattered(std::size_t count, std::size_t element) const {
  return static_cast<std::int64_t>((count - share_of(count, inner_.rank(), inner_.size()).size()) * element);
}

std::int64_t CountingCommunicator::gathered(std::size_t count, std::size_t element) const {
  return others() * static_cast<std::int64_t>(share_of(count, inner_.rank(), inner_.size()).size() * element);
}

template <class Call>
decltype(auto) CountingCommunicator::count(const char* operation, std::int64_t bytes, Call&& call) {
  CommunicationCounts::Operation& counted = counts_->operations[operation];
  ++counted.calls;
  counted.bytes += bytes;
  const Stopwatch stopwatch(counted.seconds_waited);
  return call();
}

template <class Call>
Transfer CountingCommunicator::begin(const char* operation, std::int64_t bytes, Call&& call) {
  return Transfer(std::make_unique<Counted>(count(operation, bytes, std::forward<Call>(call)), counts_, operation));
}

void CountingCommunicator::all_reduce_sum(std::span<float> values) {
  count("all_reduce_sum", scattered(values.size(), 4) + gathered(values.size(), 4),
        [&] { inner_.all_reduce_sum(values); });
}
void CountingCommunicator::all_reduce_sum(std::span<double> values) {
  count("all_reduce_sum", scattered(values.size(), 8) + gathered(values.size(), 8),
        [&] { inner_.all_reduce_sum(values); });
}
void CountingCommunicator::all_reduce_sum(std::span<std::int64_t> values) {
  count("all_reduce_sum", scattered(values.size(), 8) + gathered(values.size(), 8),
        [&] { inner_.all_reduce_sum(values); });
}
void CountingCommunicator::all_reduce_max(std::span<std::int64_t> values) {
  count("all_reduce_max", scattered(values.size(), 8) + gathered(values.size(), 8),
        [&] { inner_.all_reduce_max(values); });
}
void CountingCommunicator::broadcast(std::span<std::byte> bytes, int root) {
  const std::int64_t sent = rank() == root ? others() * static_cast<std::int64_t>(bytes.size()) : 0;
  count("broadcast", sent, [&] { inner_.broadcast(bytes, root); });
}
std::vector<std::vector<std::byte>> CountingCommunicator::all_gather(std::span<const std::byte> bytes) {
  return count("all_gather", others() * static_cast<std::int64_t>(bytes.size()),
               [&] { return inner_.all_gather(bytes); });
}
void CountingCommunicator::barrier() {
  count("barrier", 0, [&] { inner_.barrier(); });
}

Transfer CountingCommunicator::begin_all_reduce_sum(std::span<float> values, WireType wire) {
  return begin("begin_all_reduce_sum", scattered(values.size(), size_of(wire)) + gathered(values.size(), size_of(wire)),
               [&] { return inner_.begin_all_reduce_sum(values, wire); });
}
Transfer CountingCommunicator::begin_reduce_scatter_sum(std::span<float> values, WireType wire) {
  return begin("begin_reduce_scatter_sum", scattered(values.size(), size_of(wire)),
               [&] { return inner_.begin_reduce_scatter_sum(values, wire); });
}
Transfer CountingCommunicator::begin_all_gather_shares(std::span<float> values) {
  return begin("begin_all_gather_shares", gathered(values.size(), sizeof(float)),
               [&] { return inner_.begin_all_gather_shares(values); });
}
Transfer CountingCommunicator::begin_all_gather(std::span<const std::byte> mine, std::span<std::byte> all) {
  return begin("begin_all_gather", others() * static_cast<std::int64_t>(mine.size()),
               [&] { return inner_.begin_all_gather(mine, all); });
}

std::unique_ptr<Communicator> CountingCommunicator::split(int color, int key) {
  return count("split", 0, [&] {
    return std::unique_ptr<Communicator>(new CountingCommunicator(inner_.split(color, key), counts_));
  });
}

void CountingCommunicator::abort(int exit_code) { inner_.abort(exit_code); }

}  // namespace palimpsest
