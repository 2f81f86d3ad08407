// The sum of a buffer over ranks by shares: every rank receives its share of everybody's values, adds them up in rank
// order and hands the sum round. Each element is added in the same order wherever it lies, so its bits depend neither
// on how a buffer is cut nor on whether anybody waits. What is sent is the least there is: (ranks - 1) / ranks of the
// buffer to sum, as much again to hand round.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <mpi.h>

#include "core/comm/communicator.h"
#include "core/comm/transfer_engine.h"
#include "core/storage.h"

namespace palimpsest {

/// Throws CommunicationError with rank, operation and MPI's words unless `code` is success.
void check_mpi(int code, int rank, int size, const char* operation);

/// Requests of one kind of operation that are under way together.
class MpiRequests {
 public:
  MpiRequests(MPI_Comm ranks, int rank, int size, const char* operation)
      : ranks_(ranks), rank_(rank), size_(size), operation_(operation) {}
  void send(std::span<const std::byte> bytes, int to, int tag);
  void receive(std::span<std::byte> bytes, int from, int tag);
  /// Whether all of them have finished.
  bool finished();

  int rank() const { return rank_; }
  int size() const { return size_; }

 private:
  MPI_Comm ranks_;
  int rank_, size_;
  const char* operation_;
  std::vector<MPI_Request> requests_;
};

class ShareExchange final : public TransferEngine::Task {
 public:
  struct Work {
    std::span<float> values;
    bool sums = false;     // each rank's share becomes the sum over ranks
    bool gathers = false;  // then every rank's share reaches all
    WireType wire = WireType::float32;
  };
  /// `tag` and `tag` + 1 belong to this exchange until every rank has finished it. `requests` is an empty one;
  /// scratch comes from `pool`. Exchanges of one `queue` go on in order.
  ShareExchange(const void* queue, const MpiRequests& requests, MemoryPool& pool, int tag, const Work& work);

  Progress advance() override;

 private:
  enum class Stage { summing, gathering, finished };
  /// One message's length of every rank's share, under way.
  struct Chunk {
    Chunk(std::size_t number, const MpiRequests& requests) : index(number), requests(requests) {}
    std::size_t index;
    Stage stage = Stage::summing;
    MpiRequests requests;
    std::shared_ptr<std::byte> sent, received;  // scratch: as many places as ranks, one message each
  };

  std::span<float> part(int rank, const Chunk& chunk) const;
  std::span<std::byte> place(std::shared_ptr<std::byte>& scratch, int rank, std::size_t elements) const;
  void begin_sum(Chunk& chunk);
  void finish_sum(Chunk& chunk);
  void begin_gather(Chunk& chunk);
  void finish_gather(Chunk& chunk);
  /// The ranks but this one, from the next one on, so that not all send to the same at once.
  template <class Function>
  void for_each_peer(Function&& function) const;

  MpiRequests requests_;
  MemoryPool& pool_;
  int tag_;
  Work work_;
  std::size_t message_elements_, chunks_;
  std::size_t begun_ = 0;
  std::vector<Chunk> window_;  // the oldest first
};

}  // namespace palimpsest
