// What ranks say to each other. A Communicator is passed to whoever needs it; one process and MPI
// stand behind the same interface, so nothing above this folder knows which it talks to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

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
  virtual void all_reduce_sum(std::span<float> values) = 0;
  virtual void all_reduce_sum(std::span<double> values) = 0;
  virtual void all_reduce_sum(std::span<std::int64_t> values) = 0;
  virtual void all_reduce_max(std::span<std::int64_t> values) = 0;
  /// Copies the bytes of rank `root` to every rank.
  virtual void broadcast(std::span<std::byte> bytes, int root) = 0;
  /// Every rank's bytes (lengths may differ), in rank order, on every rank.
  virtual std::vector<std::vector<std::byte>> all_gather(std::span<const std::byte> bytes) = 0;
  virtual void barrier() = 0;

  // Operations that go on while the caller computes (core/comm/transfer.h). All ranks begin them in the same order,
  // among each other and among the operations above.

  /// As all_reduce_sum, which gives the same bits. Every element is added in rank order wherever it lies in the
  /// buffer: cutting a buffer differently changes no bit.
  virtual Transfer begin_all_reduce_sum(std::span<float> values, WireType wire) = 0;
  Transfer begin_all_reduce_sum(std::span<float> values) { return begin_all_reduce_sum(values, WireType::float32); }
  /// Its first half: share_of(values.size(), rank(), size()) (core/comm/shares.h) becomes the sum, the rest is left
  /// unspecified.
  virtual Transfer begin_reduce_scatter_sum(std::span<float> values, WireType wire) = 0;
  Transfer begin_reduce_scatter_sum(std::span<float> values) {
    return begin_reduce_scatter_sum(values, WireType::float32);
  }
  /// Its second half: every rank's share of `values` reaches all ranks.
  virtual Transfer begin_all_gather_shares(std::span<float> values) = 0;
  /// Every rank's `mine`, of one length, in rank order. Throws CommunicationError at once unless `all` has room for
  /// exactly as many as there are ranks.
  virtual Transfer begin_all_gather(std::span<const std::byte> mine, std::span<std::byte> all) = 0;

  /// Collective. The ranks that give the same `color` (not negative) among themselves, ordered by `key` and then by
  /// rank. Has to be destroyed before this communicator.
  virtual std::unique_ptr<Communicator> split(int color, int key) = 0;

  /// Ends every rank of the job at once with this exit code; does not return.
  [[noreturn]] virtual void abort(int exit_code) = 0;
};

std::unique_ptr<Communicator> single_process();

/// MPI when the environment says that a launcher (mpirun, srun) started this process, else a single
/// process. Call once, before any thread is started that uses MPI; destroying the result ends MPI.
std::unique_ptr<Communicator> start_communication(int& argument_count, char**& arguments);

}  // namespace palimpsest
