// The communicator over MPI: the only file that includes <mpi.h>.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <set>

#include <fmt/format.h>
#include <mpi.h>

#include "core/comm/communicator.h"
#include "core/comm/pieces.h"
#include "core/error.h"

namespace palimpsest {

namespace {

constexpr std::size_t piece_elements = std::size_t{1} << 30;  // MPI counts in int

template <class T>
MPI_Datatype mpi_type();
template <>
MPI_Datatype mpi_type<float>() {
  return MPI_FLOAT;
}
template <>
MPI_Datatype mpi_type<double>() {
  return MPI_DOUBLE;
}
template <>
MPI_Datatype mpi_type<std::int64_t>() {
  return MPI_INT64_T;
}

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(int& argument_count, char**& arguments) {
    int provided = MPI_THREAD_SINGLE;
    // Until it has succeeded MPI ends the process itself when something is wrong.
    MPI_Init_thread(&argument_count, &arguments, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    // Failures come back as codes, also those that MPI reports outside of our communicator.
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    check(MPI_Comm_dup(MPI_COMM_WORLD, &ranks_), "start");
    check(MPI_Comm_set_errhandler(ranks_, MPI_ERRORS_RETURN), "start");
    if (provided < MPI_THREAD_FUNNELED) {
      throw CommunicationError("this MPI library was built without support for threads (MPI_THREAD_FUNNELED)");
    }
    describe();
  }

  MpiCommunicator(const MpiCommunicator&) = delete;
  MpiCommunicator& operator=(const MpiCommunicator&) = delete;

  ~MpiCommunicator() override {
    MPI_Comm_free(&ranks_);
    MPI_Finalize();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string description() const override { return description_; }

  void all_reduce_sum(std::span<float> values) override { all_reduce(values, MPI_SUM, "all_reduce_sum"); }
  void all_reduce_sum(std::span<double> values) override { all_reduce(values, MPI_SUM, "all_reduce_sum"); }
  void all_reduce_sum(std::span<std::int64_t> values) override { all_reduce(values, MPI_SUM, "all_reduce_sum"); }
  void all_reduce_max(std::span<std::int64_t> values) override { all_reduce(values, MPI_MAX, "all_reduce_max"); }

  void broadcast(std::span<std::byte> bytes, int root) override {
    for_each_piece(bytes, piece_elements, [&](std::span<std::byte> piece) {
      check(MPI_Bcast(piece.data(), static_cast<int>(piece.size()), MPI_BYTE, root, ranks_), "broadcast");
    });
  }

  std::vector<std::vector<std::byte>> all_gather(std::span<const std::byte> bytes) override {
    const std::int64_t length = static_cast<std::int64_t>(bytes.size());
    std::vector<std::int64_t> lengths(static_cast<std::size_t>(size_));
    check(MPI_Allgather(&length, 1, MPI_INT64_T, lengths.data(), 1, MPI_INT64_T, ranks_), "all_gather");
    // One broadcast a rank: the sum of lengths may be beyond what one call can count.
    std::vector<std::vector<std::byte>> result(lengths.size());
    for (int source = 0; source < size_; ++source) {
      auto& part = result[static_cast<std::size_t>(source)];
      part.resize(static_cast<std::size_t>(lengths[static_cast<std::size_t>(source)]));
      if (source == rank_) part.assign(bytes.begin(), bytes.end());
      if (!part.empty()) broadcast(part, source);
    }
    return result;
  }

  void barrier() override { check(MPI_Barrier(ranks_), "barrier"); }

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

  void check(int code, const char* operation) const {
    if (code == MPI_SUCCESS) return;
    std::array<char, MPI_MAX_ERROR_STRING> text{};
    int length = 0;
    MPI_Error_string(code, text.data(), &length);
    throw CommunicationError(fmt::format("rank {} of {}: {} failed: {}", rank_, size_, operation, text.data()));
  }

  void describe() {
    std::array<char, MPI_MAX_PROCESSOR_NAME> name{};
    int length = 0;
    check(MPI_Get_processor_name(name.data(), &length), "start");
    std::set<std::string> hosts;
    for (const auto& host : all_gather(std::as_bytes(std::span(name)).first(static_cast<std::size_t>(length)))) {
      hosts.emplace(reinterpret_cast<const char*>(host.data()), host.size());
    }
    description_ = fmt::format("{} MPI rank{} on {} host{}", size_, size_ == 1 ? "" : "s", hosts.size(),
                               hosts.size() == 1 ? "" : "s");
  }

  MPI_Comm ranks_ = MPI_COMM_NULL;  // our own: nobody else's messages can be mistaken for ours
  int rank_ = 0;
  int size_ = 1;
  std::string description_;
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
