#include "launch/ranks/watched_communicator.h"

namespace palimpsest {

namespace {

/// A transfer whose waiting is noted.
class Watched final : public Transfer::Operation {
 public:
  Watched(Transfer transfer, RankStatus& status) : transfer_(std::move(transfer)), status_(status) {}
  bool done() override { return transfer_.done(); }
  void wait() override {
    const RankStatus::Waiting waiting(status_);
    transfer_.wait();
  }

 private:
  Transfer transfer_;
  RankStatus& status_;
};

}  // namespace

void WatchedCommunicator::all_reduce_sum(std::span<float> values) {
  const RankStatus::Waiting waiting(status_);
  inner_.all_reduce_sum(values);
}
void WatchedCommunicator::all_reduce_sum(std::span<double> values) {
  const RankStatus::Waiting waiting(status_);
  inner_.all_reduce_sum(values);
}
void WatchedCommunicator::all_reduce_sum(std::span<std::int64_t> values) {
  const RankStatus::Waiting waiting(status_);
  inner_.all_reduce_sum(values);
}
void WatchedCommunicator::all_reduce_max(std::span<std::int64_t> values) {
  const RankStatus::Waiting waiting(status_);
  inner_.all_reduce_max(values);
}
void WatchedCommunicator::broadcast(std::span<std::byte> bytes, int root) {
  const RankStatus::Waiting waiting(status_);
  inner_.broadcast(bytes, root);
}
std::vector<std::vector<std::byte>> WatchedCommunicator::all_gather(std::span<const std::byte> bytes) {
  const RankStatus::Waiting waiting(status_);
  return inner_.all_gather(bytes);
}
void WatchedCommunicator::barrier() {
  const RankStatus::Waiting waiting(status_);
  inner_.barrier();
}

Transfer WatchedCommunicator::watched(Transfer transfer) {
  return Transfer(std::make_unique<Watched>(std::move(transfer), status_));
}
Transfer WatchedCommunicator::begin_all_reduce_sum(std::span<float> values, WireType wire) {
  return watched(inner_.begin_all_reduce_sum(values, wire));
}
Transfer WatchedCommunicator::begin_reduce_scatter_sum(std::span<float> values, WireType wire) {
  return watched(inner_.begin_reduce_scatter_sum(values, wire));
}
Transfer WatchedCommunicator::begin_all_gather_shares(std::span<float> values) {
  return watched(inner_.begin_all_gather_shares(values));
}
Transfer WatchedCommunicator::begin_all_gather(std::span<const std::byte> mine, std::span<std::byte> all) {
  return watched(inner_.begin_all_gather(mine, all));
}

std::unique_ptr<Communicator> WatchedCommunicator::split(int color, int key) {
  const RankStatus::Waiting waiting(status_);
  return std::unique_ptr<Communicator>(new WatchedCommunicator(inner_.split(color, key), status_));
}

}  // namespace palimpsest
