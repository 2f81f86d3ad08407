// What ranks say to each other. A Communicator is passed to whoever needs it; one process and MPI
// stand behind the same interface, so nothing above this folder knows which it talks to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace palimpsest {

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

  /// Ends every rank of the job at once with this exit code; does not return.
  [[noreturn]] virtual void abort(int exit_code) = 0;
};

std::unique_ptr<Communicator> single_process();

/// MPI when the environment says that a launcher (mpirun, srun) started this process, else a single
/// process. Call once, before any thread is started; destroying the result ends MPI.
std::unique_ptr<Communicator> start_communication(int& argument_count, char**& arguments);

}  // namespace palimpsest
