// A communicator that counts what another one is asked to do: bytes on the wire for tests, waiting for `bench`.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "core/comm/communicator.h"

namespace palimpsest {

/// What one rank has asked for, by operation ("all_reduce_sum", "begin_all_reduce_sum", ...).
struct CommunicationCounts {
  struct Operation {
    std::int64_t calls = 0;
    /// That this rank has to send: of reductions and gathered shares what does not stay in its own share, of gathered
    /// bytes its own to every other rank, of a broadcast the root's to every other rank.
    std::int64_t bytes = 0;
    /// In the call, and in `Transfer::wait` for what it began.
    double seconds_waited = 0;
  };
  std::map<std::string, Operation> operations;

  std::int64_t bytes() const;
  std::int64_t calls() const;
  double seconds_waited() const;
};

class CountingCommunicator final : public Communicator {
 public:
  /// `inner` must outlive it, and it must outlive the transfers it hands out.
  explicit CountingCommunicator(Communicator& inner) : inner_(inner) {}

  /// Not while a transfer is waited for elsewhere.
  const CommunicationCounts& counts() const { return *counts_; }
  void reset() { counts_->operations.clear(); }

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
  /// Counts in this communicator's counts too.
  std::unique_ptr<Communicator> split(int color, int key) override;
  void abort(int exit_code) override;

 private:
  CountingCommunicator(std::unique_ptr<Communicator> inner, std::shared_ptr<CommunicationCounts> counts)
      : owned_(std::move(inner)), inner_(*owned_), counts_(std::move(counts)) {}

  std::int64_t others() const { return inner_.size() - 1; }
  /// Bytes of `count` elements that are not in this rank's share, and of its share to all others.
  std::int64_t scattered(std::size_t count, std::size_t element) const;
  std::int64_t gathered(std::size_t count, std::size_t element) const;
  template <class Call>
  decltype(auto) count(const char* operation, std::int64_t bytes, Call&& call);
  template <class Call>
  Transfer begin(const char* operation, std::int64_t bytes, Call&& call);

  std::unique_ptr<Communicator> owned_;
  Communicator& inner_;
  std::shared_ptr<CommunicationCounts> counts_ = std::make_shared<CommunicationCounts>();
};

}  // namespace palimpsest
