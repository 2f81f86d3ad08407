// Ranks that are threads of one process: distributed code in a unit test, its bytes counted.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include <omp.h>

#include "core/error.h"
#include "tests/fake_communicator.h"

namespace palimpsest {

/// What the ranks share: a place where each lays down what the others read, between two barriers.
class ThreadRanks {
 public:
  explicit ThreadRanks(int size) : places_(static_cast<std::size_t>(size)) {}

  int size() const { return static_cast<int>(places_.size()); }
  /// Runs body(communicator) on every rank, with one OpenMP thread each. Throws what a rank threw first;
  /// the others' collectives fail then.
  void run(const std::function<void(Communicator&)>& body);

  /// Bytes that all ranks together have contributed to all_gather and begin_all_gather, and how often.
  std::size_t gathered_bytes() const { return gathered_bytes_; }
  std::size_t gathers() const { return gathers_; }

 private:
  class Rank;
  class Gather;

  /// A barrier that sleeps, since ranks outnumber cores, and that a failure opens for good.
  void meet() {
    std::unique_lock lock(mutex_);
    const std::size_t meeting = meetings_;
    if (++present_ == size()) {
      present_ = 0;
      ++meetings_;
      changed_.notify_all();
    } else {
      changed_.wait(lock, [&] { return meetings_ > meeting || failure_; });
    }
    if (failure_) throw CommunicationError("another rank has failed");
  }
  void fail(std::exception_ptr failure) {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::move(failure);
    changed_.notify_all();
  }

  std::vector<std::span<const std::byte>> places_;
  std::atomic<std::size_t> gathered_bytes_ = 0, gathers_ = 0;
  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::map<std::size_t, std::vector<std::optional<std::vector<std::byte>>>> left_;  // by gather, then by rank
  int present_ = 0;
  std::size_t meetings_ = 0;
  std::exception_ptr failure_;
};

/// The n-th gather: every rank leaves its bytes where the others find them, and fetches theirs when it waits.
class ThreadRanks::Gather final : public Transfer::Operation {
 public:
  Gather(ThreadRanks& ranks, std::size_t number, int rank, std::span<const std::byte> mine, std::span<std::byte> all)
      : ranks_(ranks), number_(number), all_(all) {
    const std::lock_guard lock(ranks_.mutex_);
    auto& parts = ranks_.left_[number_];
    parts.resize(static_cast<std::size_t>(ranks_.size()));
    parts[static_cast<std::size_t>(rank)].emplace(mine.begin(), mine.end());
    ranks_.changed_.notify_all();
  }
  bool done() override {
    wait();
    return true;
  }
  void wait() override {
    std::unique_lock lock(ranks_.mutex_);
    const auto& parts = ranks_.left_.at(number_);
    const auto complete = [&] { return std::ranges::all_of(parts, [](const auto& part) { return part.has_value(); }); };
    ranks_.changed_.wait(lock, [&] { return complete() || ranks_.failure_; });
    if (!complete()) throw CommunicationError("another rank has failed");
    auto at = all_.begin();
    for (const auto& part : parts) at = std::ranges::copy(*part, at).out;
  }

 private:
  ThreadRanks& ranks_;
  std::size_t number_;
  std::span<std::byte> all_;
};

class ThreadRanks::Rank final : public FakeCommunicator {
 public:
  Rank(ThreadRanks& ranks, int rank) : ranks_(ranks), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return ranks_.size(); }
  void do_all_reduce_sum(std::span<float> values) override { reduce(values, std::plus<>()); }
  void do_all_reduce_sum(std::span<double> values) override { reduce(values, std::plus<>()); }
  void do_all_reduce_sum(std::span<std::int64_t> values) override { reduce(values, std::plus<>()); }
  void do_all_reduce_max(std::span<std::int64_t> values) override {
    reduce(values, [](std::int64_t a, std::int64_t b) { return std::max(a, b); });
  }
  void do_broadcast(std::span<std::byte> bytes, int root) override {
    exchange(bytes, [&] {
      const auto source = ranks_.places_[static_cast<std::size_t>(root)];
      if (root != rank_) std::ranges::copy(source, bytes.begin());
    });
  }
  std::vector<std::vector<std::byte>> do_all_gather(std::span<const std::byte> bytes) override {
    count(bytes);
    std::vector<std::vector<std::byte>> all;
    exchange(bytes, [&] {
      for (const auto& place : ranks_.places_) all.emplace_back(place.begin(), place.end());
    });
    return all;
  }
  void do_barrier() override { ranks_.meet(); }
  Transfer do_begin_all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    count(mine);
    std::ranges::fill(all, std::byte{0xff});  // NaN to whoever reads before it has waited
    return Transfer(std::make_unique<Gather>(ranks_, gathers_++, rank_, mine, all));
  }

 private:
  void count(std::span<const std::byte> bytes) {
    ranks_.gathered_bytes_ += bytes.size();
    ++ranks_.gathers_;
  }
  template <class Read>
  void exchange(std::span<const std::byte> mine, Read read) {
    ranks_.places_[static_cast<std::size_t>(rank_)] = mine;
    ranks_.meet();
    read();
    ranks_.meet();
  }
  template <class T, class Operation>
  void reduce(std::span<T> values, Operation operation) {
    std::vector<T> result;
    exchange(std::as_bytes(values), [&] {
      for (const auto& place : ranks_.places_) {
        std::vector<T> theirs(place.size() / sizeof(T));
        if (!theirs.empty()) std::memcpy(theirs.data(), place.data(), place.size());
        if (result.empty()) {
          result = theirs;
        } else {
          std::ranges::transform(result, theirs, result.begin(), operation);
        }
      }
    });
    std::ranges::copy(result, values.begin());
  }

  ThreadRanks& ranks_;
  int rank_;
  std::size_t gathers_ = 0;  // begun
};

inline void ThreadRanks::run(const std::function<void(Communicator&)>& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < size(); ++i) {
    threads.emplace_back([this, i, &body] {
      omp_set_num_threads(1);
      try {
        Rank rank(*this, i);
        body(rank);
      } catch (...) {
        fail(std::current_exception());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (failure_) std::rethrow_exception(failure_);
}

}  // namespace palimpsest
