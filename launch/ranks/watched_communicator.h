// A communicator that notes when this rank waits for others, whatever phase it is in, for the watchdog.
#pragma once

#include <memory>
#include <utility>

#include "core/comm/communicator.h"
#include "launch/ranks/rank_status.h"

namespace palimpsest {

class WatchedCommunicator final : public Communicator {
 public:
  /// Both must outlive it, and the status the transfers that it hands out.
  WatchedCommunicator(Communicator& inner, RankStatus& status) : inner_(inner), status_(status) {}

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  std::string description() const override { return inner_.description(); }

  void all_reduce_sum(std::span<float> values) override;
  void all_reduce_sum(std::span<double> values) override;
  void all_reduce_sum(std::span<std::int64_t> values) override;
  void all_reduce_max(std::span<std::int64_t> values) override;
  void broadcast(std::span<std::byte> bytes, int root) override;
  std::vector<std::vector<std::byte>> all_gather(std::span<const std::byte> bytes) override;
  void barrier() override;
  using Communicator::begin_all_reduce_sum;
  using Communicator::begin_reduce_scatter_sum;
  Transfer begin_all_reduce_sum(std::span<float> values, WireType wire) override;
  Transfer begin_reduce_scatter_sum(std::span<float> values, WireType wire) override;
  Transfer begin_all_gather_shares(std::span<float> values) override;
  Transfer begin_all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override;
  /// Notes in the same status.
  std::unique_ptr<Communicator> split(int color, int key) override;
  void abort(int exit_code) override { inner_.abort(exit_code); }

 private:
  WatchedCommunicator(std::unique_ptr<Communicator> inner, RankStatus& status)
      : owned_(std::move(inner)), inner_(*owned_), status_(status) {}

  Transfer watched(Transfer transfer);

  std::unique_ptr<Communicator> owned_;  // made by `split`
  Communicator& inner_;
  RankStatus& status_;
};

}  // namespace palimpsest
