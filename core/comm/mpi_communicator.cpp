// The communicator over MPI. Transfers are those of share_exchange.h, driven by a TransferEngine.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <set>

#include <fmt/format.h>
#include <mpi.h>

#include "core/comm/communicator.h"
#include "core/comm/pieces.h"
#include "core/comm/share_exchange.h"
#include "core/comm/shares.h"
#include "core/comm/transfer_engine.h"
#include "core/error.h"
#include "core/storage.h"

namespace palimpsest {

namespace {

constexpr std::size_t piece_elements = std::size_t{1} << 30;  // MPI counts in int

template <class T>
MPI_Datatype mpi_type();
template <>
MPI_Datatype mpi_type<double>() {
  return MPI_DOUBLE;
}
template <>
MPI_Datatype mpi_type<std::int64_t>() {
  return MPI_INT64_T;
}

/// Every rank's bytes, straight from and to the callers' buffers.
class AllGather final : public TransferEngine::Task {
 public:
  AllGather(MpiRequests requests, int tag, std::span<const std::byte> mine, std::span<std::byte> all)
      : Task(nullptr), requests_(std::move(requests)) {
    const auto place = [&](int rank) { return all.subspan(static_cast<std::size_t>(rank) * mine.size(), mine.size()); };
    std::ranges::copy(mine, place(requests_.rank()).begin());
    for (int i = 1; i < requests_.size(); ++i) {
      const int peer = (requests_.rank() + i) % requests_.size();
      requests_.receive(place(peer), peer, tag);
    }
    for (int i = 1; i < requests_.size(); ++i) requests_.send(mine, (requests_.rank() + i) % requests_.size(), tag);
  }
  Progress advance() override { return requests_.finished() ? Progress::finished : Progress::none; }

 private:
  MpiRequests requests_;
};

class MpiCommunicator final : public Communicator {
 public:
  /// All ranks of the job.
  MpiCommunicator(int& argument_count, char**& arguments) : started_mpi_(true) {
    int provided = MPI_THREAD_SINGLE;
    // Until it has succeeded MPI ends the process itself when something is wrong.
    MPI_Init_thread(&argument_count, &arguments, MPI_THREAD_MULTIPLE, &provided);
    // Failures come back as codes, also those that MPI reports outside of our communicator.
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (provided < MPI_THREAD_FUNNELED) {
      throw CommunicationError("this MPI library was built without support for threads (MPI_THREAD_FUNNELED)");
    }
    engine_ = std::make_shared<TransferEngine>(provided == MPI_THREAD_MULTIPLE);
    pool_ = std::make_shared<MemoryPool>();
    check(MPI_Comm_dup(MPI_COMM_WORLD, &ranks_), "start");
    describe();
  }

  /// Ranks of `whole`, whose `split` made `ranks`.
  MpiCommunicator(const MpiCommunicator& whole, MPI_Comm ranks)
      : ranks_(ranks), engine_(whole.engine_), pool_(whole.pool_) {
    describe();
  }

  MpiCommunicator(const MpiCommunicator&) = delete;
  MpiCommunicator& operator=(const MpiCommunicator&) = delete;

  ~MpiCommunicator() override {
    engine_.reset();  // the last owner ends its thread
    MPI_Comm_free(&ranks_);
    if (started_mpi_) MPI_Finalize();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string description() const override { return description_; }

  void do_all_reduce_sum(std::span<float> values) override {
    exchange("all_reduce_sum", {.values = values, .sums = true, .gathers = true}).wait();
  }
  void do_all_reduce_sum(std::span<double> values) override { all_reduce(values, MPI_SUM, "all_reduce_sum"); }
  void do_all_reduce_sum(std::span<std::int64_t> values) override { all_reduce(values, MPI_SUM, "all_reduce_sum"); }
  void do_all_reduce_max(std::span<std::int64_t> values) override { all_reduce(values, MPI_MAX, "all_reduce_max"); }

  void do_broadcast(std::span<std::byte> bytes, int root) override {
    for_each_piece(bytes, piece_elements, [&](std::span<std::byte> piece) {
      check(MPI_Bcast(piece.data(), static_cast<int>(piece.size()), MPI_BYTE, root, ranks_), "broadcast");
    });
  }

  std::vector<std::vector<std::byte>> do_all_gather(std::span<const std::byte> bytes) override {
    const std::int64_t length = static_cast<std::int64_t>(bytes.size());
    std::vector<std::int64_t> lengths(static_cast<std::size_t>(size_));
    check(MPI_Allgather(&length, 1, MPI_INT64_T, lengths.data(), 1, MPI_INT64_T, ranks_), "all_gather");
    // One broadcast a rank: the sum of lengths may be beyond what one call can count.
    std::vector<std::vector<std::byte>> result(lengths.size());
    for (int source = 0; source < size_; ++source) {
      auto& part = result[static_cast<std::size_t>(source)];
      part.resize(static_cast<std::size_t>(lengths[static_cast<std::size_t>(source)]));
      if (source == rank_) part.assign(bytes.begin(), bytes.end());
      if (!part.empty()) do_broadcast(part, source);
    }
    return result;
  }

  Transfer do_begin_all_reduce_sum(std::span<float> values, WireType wire) override {
    return exchange("all_reduce_sum", {.values = values, .sums = true, .gathers = true, .wire = wire});
  }
  Transfer do_begin_reduce_scatter_sum(std::span<float> values, WireType wire) override {
    return exchange("reduce_scatter_sum", {.values = values, .sums = true, .wire = wire});
  }
  Transfer do_begin_all_gather_shares(std::span<float> values) override {
    return exchange("all_gather_shares", {.values = values, .gathers = true});
  }
  Transfer do_begin_all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    return engine_->start(std::make_shared<AllGather>(requests("all_gather"), next_tag(), mine, all));
  }

  std::unique_ptr<Communicator> do_split(int color, int key) override {
    MPI_Comm part = MPI_COMM_NULL;
    check(MPI_Comm_split(ranks_, color, key, &part), "split");
    return std::make_unique<MpiCommunicator>(*this, part);
  }

  void do_barrier() override { check(MPI_Barrier(ranks_), "barrier"); }

  void abort(int exit_code) override {
    std::fflush(nullptr);
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    std::_Exit(exit_code);
  }

 private:
  template <class T>
  void all_reduce(std::span<T> values, MPI_Op operation, const char* name) {
    for_each_piece(values, piece_elements, [&](std::span<T> piece) {
      const int count = static_cast<int>(piece.size());
      check(MPI_Allreduce(MPI_IN_PLACE, piece.data(), count, mpi_type<T>(), operation, ranks_), name);
    });
  }

  Transfer exchange(const char* name, const ShareExchange::Work& work) {
    return engine_->start(std::make_shared<ShareExchange>(this, requests(name), *pool_, next_tag(), work));
  }

  MpiRequests requests(const char* operation) const { return {ranks_, rank_, size_, operation}; }

  /// Two tags of its own for every transfer; there is always room for 2^15, and never so many are under way.
  int next_tag() { return 2 * (transfers_++ % (1 << 14)); }

  void check(int code, const char* operation) const { check_mpi(code, rank_, size_, operation); }

  /// Learns who the ranks are.
  void describe() {
    check(MPI_Comm_set_errhandler(ranks_, MPI_ERRORS_RETURN), "start");
    check(MPI_Comm_rank(ranks_, &rank_), "start");
    check(MPI_Comm_size(ranks_, &size_), "start");
    std::array<char, MPI_MAX_PROCESSOR_NAME> name{};
    int length = 0;
    check(MPI_Get_processor_name(name.data(), &length), "start");
    std::set<std::string> hosts;
    for (const auto& host : do_all_gather(std::as_bytes(std::span(name)).first(static_cast<std::size_t>(length)))) {
      hosts.emplace(reinterpret_cast<const char*>(host.data()), host.size());
    }
    description_ = fmt::format("{} MPI rank{} on {} host{}", size_, size_ == 1 ? "" : "s", hosts.size(),
                               hosts.size() == 1 ? "" : "s");
  }

  MPI_Comm ranks_ = MPI_COMM_NULL;  // our own: nobody else's messages can be mistaken for ours
  int rank_ = 0;
  int size_ = 1;
  std::string description_;
  bool started_mpi_ = false;
  int transfers_ = 0;
  std::shared_ptr<TransferEngine> engine_;
  std::shared_ptr<MemoryPool> pool_;  // scratch
};

/// Whether mpirun, mpiexec or srun started this process as one of its ranks.
bool started_by_launcher() {
  for (const char* variable : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK", "PMIX_RANK"}) {
    if (std::getenv(variable) != nullptr) return true;
  }
  return false;
}

}  // namespace

std::unique_ptr<Communicator> start_communication(int& argument_count, char**& arguments) {
  if (!started_by_launcher()) return single_process();
  return std::make_unique<MpiCommunicator>(argument_count, arguments);
}

}  // namespace palimpsest
