#include "core/comm/share_exchange.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <fmt/format.h>

#include "core/comm/pieces.h"
#include "core/comm/shares.h"
#include "core/data_type.h"
#include "core/error.h"

namespace palimpsest {

namespace {

constexpr std::size_t longest_message = std::size_t{1} << 18;   // elements
constexpr std::size_t shortest_message = std::size_t{1} << 12;  // unless the share is shorter
constexpr std::size_t scratch_elements = std::size_t{1} << 22;  // of one chunk, all ranks together
constexpr std::size_t chunks_under_way = 3;
constexpr std::size_t piece_bytes = std::size_t{1} << 30;  // MPI counts in int

/// Elements of a message of `wire` as float, `block` at a time on the stack.
constexpr std::size_t block = 1024;

void add_block(const std::byte* from, WireType wire, std::size_t begin, std::size_t count, bool first, float* sum) {
  const auto add = [=](const auto* values) {
    if (first) {
      for (std::size_t i = 0; i < count; ++i) sum[i] = static_cast<float>(values[begin + i]);
    } else {
      for (std::size_t i = 0; i < count; ++i) sum[i] += static_cast<float>(values[begin + i]);
    }
  };
  if (wire == WireType::float32) {
    add(reinterpret_cast<const float*>(from));
  } else {
    add(reinterpret_cast<const bfloat16*>(from));
  }
}

void round_to_bfloat16(std::span<float> values) {
  for (float& value : values) value = static_cast<float>(bfloat16(value));
}

void pack(std::span<const float> values, std::span<std::byte> bytes) {
  auto* const out = reinterpret_cast<bfloat16*>(bytes.data());
  for (std::size_t i = 0; i < values.size(); ++i) out[i] = bfloat16(values[i]);
}

void unpack(std::span<const std::byte> bytes, std::span<float> values) {
  const auto* const in = reinterpret_cast<const bfloat16*>(bytes.data());
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(in[i]);
}

}  // namespace

void check_mpi(int code, int rank, int size, const char* operation) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  throw CommunicationError(fmt::format("rank {} of {}: {} failed: {}", rank, size, operation, text.data()));
}

void MpiRequests::send(std::span<const std::byte> bytes, int to, int tag) {
  if (bytes.empty()) return;
  for_each_piece(bytes, piece_bytes, [&](std::span<const std::byte> piece) {
    MPI_Request& request = requests_.emplace_back(MPI_REQUEST_NULL);
    const int count = static_cast<int>(piece.size());
    check_mpi(MPI_Isend(piece.data(), count, MPI_BYTE, to, tag, ranks_, &request), rank_, size_, operation_);
  });
}

void MpiRequests::receive(std::span<std::byte> bytes, int from, int tag) {
  if (bytes.empty()) return;
  for_each_piece(bytes, piece_bytes, [&](std::span<std::byte> piece) {
    MPI_Request& request = requests_.emplace_back(MPI_REQUEST_NULL);
    const int count = static_cast<int>(piece.size());
    check_mpi(MPI_Irecv(piece.data(), count, MPI_BYTE, from, tag, ranks_, &request), rank_, size_, operation_);
  });
}

bool MpiRequests::finished() {
  if (requests_.empty()) return true;
  int all = 0;
  check_mpi(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &all, MPI_STATUSES_IGNORE), rank_, size_,
            operation_);
  if (all != 0) requests_.clear();
  return all != 0;
}

ShareExchange::ShareExchange(const void* queue, const MpiRequests& requests, MemoryPool& pool, int tag,
                             const Work& work)
    : Task(queue), requests_(requests), pool_(pool), tag_(tag), work_(work) {
  const auto peers = static_cast<std::size_t>(std::max(1, requests.size() - 1));
  message_elements_ = std::clamp(scratch_elements / peers, shortest_message, longest_message);
  chunks_ = (share_of(work.values.size(), 0, requests.size()).size() + message_elements_ - 1) / message_elements_;
}

std::span<float> ShareExchange::part(int rank, const Chunk& chunk) const {
  const Share share = share_of(work_.values.size(), rank, requests_.size());
  const std::size_t begin = std::min(share.end, share.begin + chunk.index * message_elements_);
  return work_.values.subspan(begin, std::min(share.end - begin, message_elements_));
}

std::span<std::byte> ShareExchange::place(std::shared_ptr<std::byte>& scratch, int rank, std::size_t elements) const {
  const std::size_t size = work_.wire == WireType::float32 ? sizeof(float) : sizeof(bfloat16);
  const std::size_t room = message_elements_ * size;
  // Allocated here, so that only exchanges that need scratch have any.
  if (!scratch) scratch = pool_.allocate(room * static_cast<std::size_t>(requests_.size()));
  return {scratch.get() + room * static_cast<std::size_t>(rank), elements * size};
}

template <class Function>
void ShareExchange::for_each_peer(Function&& function) const {
  for (int i = 1; i < requests_.size(); ++i) function((requests_.rank() + i) % requests_.size());
}

void ShareExchange::begin_sum(Chunk& chunk) {
  const std::size_t own = part(requests_.rank(), chunk).size();
  for_each_peer([&](int peer) { chunk.requests.receive(place(chunk.received, peer, own), peer, tag_); });
  for_each_peer([&](int peer) {
    const std::span<float> theirs = part(peer, chunk);
    if (work_.wire == WireType::float32) {
      chunk.requests.send(std::as_bytes(theirs), peer, tag_);
    } else {
      const auto packed = place(chunk.sent, peer, theirs.size());
      pack(theirs, packed);
      chunk.requests.send(packed, peer, tag_);
    }
  });
}

void ShareExchange::finish_sum(Chunk& chunk) {
  const std::span<float> own = part(requests_.rank(), chunk);
  const bool rounds = work_.wire == WireType::bfloat16;
  // As the others' values were: the sum must not depend on whose share an element is in.
  if (rounds) round_to_bfloat16(own);
  std::array<float, block> sum;
  for (std::size_t begin = 0; begin < own.size(); begin += block) {
    const std::size_t count = std::min(block, own.size() - begin);
    for (int rank = 0; rank < requests_.size(); ++rank) {
      if (rank == requests_.rank()) {
        add_block(std::as_bytes(own).data(), WireType::float32, begin, count, rank == 0, sum.data());
      } else {
        add_block(place(chunk.received, rank, own.size()).data(), work_.wire, begin, count, rank == 0, sum.data());
      }
    }
    if (rounds) round_to_bfloat16(std::span(sum).first(count));
    std::memcpy(own.data() + begin, sum.data(), count * sizeof(float));
  }
}

void ShareExchange::begin_gather(Chunk& chunk) {
  const std::span<float> own = part(requests_.rank(), chunk);
  const bool packs = work_.wire == WireType::bfloat16;
  for_each_peer([&](int peer) {
    const std::span<float> theirs = part(peer, chunk);
    chunk.requests.receive(packs ? place(chunk.received, peer, theirs.size()) : std::as_writable_bytes(theirs), peer,
                           tag_ + 1);
  });
  std::span<const std::byte> message = std::as_bytes(own);
  if (packs) {
    const auto packed = place(chunk.sent, requests_.rank(), own.size());
    pack(own, packed);
    message = packed;
  }
  for_each_peer([&](int peer) { chunk.requests.send(message, peer, tag_ + 1); });
}

void ShareExchange::finish_gather(Chunk& chunk) {
  if (work_.wire == WireType::float32) return;
  for_each_peer([&](int peer) {
    const std::span<float> theirs = part(peer, chunk);
    unpack(place(chunk.received, peer, theirs.size()), theirs);
  });
}

TransferEngine::Task::Progress ShareExchange::advance() {
  bool moved = false;
  while (window_.size() < chunks_under_way && begun_ < chunks_) {
    Chunk& chunk = window_.emplace_back(begun_++, requests_);
    if (work_.sums) begin_sum(chunk);
    moved = true;
  }
  // In order, so that messages of one tag leave in the order in which they are expected.
  bool earlier_gather = true;
  for (Chunk& chunk : window_) {
    if (chunk.stage == Stage::summing && earlier_gather && chunk.requests.finished()) {
      if (work_.sums) finish_sum(chunk);
      if (work_.gathers) begin_gather(chunk);
      chunk.stage = work_.gathers ? Stage::gathering : Stage::finished;
      moved = true;
    }
    if (chunk.stage == Stage::gathering && chunk.requests.finished()) {
      finish_gather(chunk);
      chunk.stage = Stage::finished;
      moved = true;
    }
    earlier_gather = chunk.stage != Stage::summing;
  }
  std::erase_if(window_, [](const Chunk& chunk) { return chunk.stage == Stage::finished; });
  if (window_.empty() && begun_ == chunks_) return Progress::finished;
  return moved ? Progress::some : Progress::none;
}

}  // namespace palimpsest
