// What ranks say to each other. A Communicator is passed to whoever needs it; one process and MPI
// stand behind the same interface, so nothing above this folder knows which it talks to.
//
// A public operation is checked and reported to those who observe it here, then done by the private virtual function of
// the same name: a new one is a pair of functions here and one function in single_process.cpp and mpi_communicator.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/comm/communication_observer.h"
#include "core/comm/transfer.h"

namespace palimpsest {

/// What float32 values travel as. bfloat16 halves the bytes: every rank's values are rounded to it (a relative error of
/// at most 2^-8 each), added in float32, and the sum is rounded once more.
enum class WireType { float32, bfloat16 };

constexpr std::size_t size_of(WireType wire) { return wire == WireType::float32 ? 4 : 2; }

/// Collective operations: every rank calls them in the same order with spans of equal length.
/// Failures throw CommunicationError, which names the rank and the operation.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  bool is_root() const { return rank() == 0; }
  /// "1 process", or "4 MPI ranks on 2 hosts".
  virtual std::string description() const = 0;

  /// In place: the element-wise sum over ranks, the same bits on every rank and on every repetition.
  void all_reduce_sum(std::span<float> values);
  void all_reduce_sum(std::span<double> values);
  void all_reduce_sum(std::span<std::int64_t> values);
  void all_reduce_max(std::span<std::int64_t> values);
  /// Copies the bytes of rank `root` to every rank.
  void broadcast(std::span<std::byte> bytes, int root);
  /// Every rank's bytes (lengths may differ), in rank order, on every rank.
  std::vector<std::vector<std::byte>> all_gather(std::span<const std::byte> bytes);
  void barrier();

  // Operations that go on while the caller computes (core/comm/transfer.h). All ranks begin them in the same order,
  // among each other and among the operations above.

  /// As all_reduce_sum, which gives the same bits. Every element is added in rank order wherever it lies in the
  /// buffer: cutting a buffer differently changes no bit.
  Transfer begin_all_reduce_sum(std::span<float> values, WireType wire = WireType::float32);
  /// Its first half: share_of(values.size(), rank(), size()) (core/comm/shares.h) becomes the sum, the rest is left
  /// unspecified.
  Transfer begin_reduce_scatter_sum(std::span<float> values, WireType wire = WireType::float32);
  /// Its second half: every rank's share of `values` reaches all ranks.
  Transfer begin_all_gather_shares(std::span<float> values);
  /// Every rank's `mine`, of one length, in rank order. Throws CommunicationError at once unless `all` has room for
  /// exactly as many as there are ranks.
  Transfer begin_all_gather(std::span<const std::byte> mine, std::span<std::byte> all);

  /// Collective. The ranks that give the same `color` (not negative) among themselves, ordered by `key` and then by
  /// rank. Has to be destroyed before this communicator. Whoever observes this one by now observes that one, too.
  std::unique_ptr<Communicator> split(int color, int key);

  /// Ends every rank of the job at once with this exit code; does not return.
  [[noreturn]] virtual void abort(int exit_code) = 0;

 private:
  virtual void do_all_reduce_sum(std::span<float> values) = 0;
  virtual void do_all_reduce_sum(std::span<double> values) = 0;
  virtual void do_all_reduce_sum(std::span<std::int64_t> values) = 0;
  virtual void do_all_reduce_max(std::span<std::int64_t> values) = 0;
  virtual void do_broadcast(std::span<std::byte> bytes, int root) = 0;
  virtual std::vector<std::vector<std::byte>> do_all_gather(std::span<const std::byte> bytes) = 0;
  virtual void do_barrier() = 0;
  virtual Transfer do_begin_all_reduce_sum(std::span<float> values, WireType wire) = 0;
  virtual Transfer do_begin_reduce_scatter_sum(std::span<float> values, WireType wire) = 0;
  virtual Transfer do_begin_all_gather_shares(std::span<float> values) = 0;
  virtual Transfer do_begin_all_gather(std::span<const std::byte> mine, std::span<std::byte> all) = 0;
  virtual std::unique_ptr<Communicator> do_split(int color, int key) = 0;

  std::int64_t others() const { return size() - 1; }
  /// Bytes of `count` elements that are not in this rank's share, and of its share to all others.
  std::int64_t scattered(std::size_t count, std::size_t element) const;
  std::int64_t gathered(std::size_t count, std::size_t element) const;
  template <class Call>
  decltype(auto) collective(const char* operation, std::int64_t bytes, Call&& call);
  template <class Call>
  Transfer begin(const char* operation, std::int64_t bytes, Call&& call);

  friend class CommunicationObservation;
  std::vector<CommunicationObserver*> observers_;
};

/// While one is there, `observer` hears of what `communicator` is asked for, and of the waiting for transfers begun
/// meanwhile. It must outlive these, and the communicators split off meanwhile.
class CommunicationObservation {
 public:
  CommunicationObservation(Communicator& communicator, CommunicationObserver& observer);
  ~CommunicationObservation();
  CommunicationObservation(const CommunicationObservation&) = delete;
  CommunicationObservation& operator=(const CommunicationObservation&) = delete;

 private:
  Communicator& communicator_;
  CommunicationObserver& observer_;
};

std::unique_ptr<Communicator> single_process();

/// MPI when the environment says that a launcher (mpirun, srun) started this process, else a single
/// process. Call once, before any thread is started that uses MPI; destroying the result ends MPI.
std::unique_ptr<Communicator> start_communication(int& argument_count, char**& arguments);

}  // namespace palimpsest
