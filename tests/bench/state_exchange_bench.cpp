// How the memory states of ranks that share a sequence could travel: by an exclusive scan with an operator of our own,
// an all-gather with local combination, or from rank to rank. Prints the median over repetitions of the slowest rank's
// time, as rows of the table in docs/measurements/2026-11-24-ranks.md. By hand:
//
//   mpirun -n 4 build/release/tests/state_exchange_bench
#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <mpi.h>

#include "core/matmul.h"

namespace palimpsest {
namespace {

constexpr int repetitions = 300;

/// The states of one lane of a layer. A rank's run of segments turns a memory M into A M + B, head by head; with the
/// linear rule A is the identity and does not travel.
struct States {
  const char* name;
  bool delta;
  std::int64_t heads, size;
  MemoryPool* pool;

  std::size_t matrix() const { return static_cast<std::size_t>(size * size); }
  std::size_t matrices() const { return static_cast<std::size_t>(heads) * matrix(); }
  /// All As, if there are any, then all Bs.
  std::size_t elements() const { return (delta ? 2 : 1) * matrices(); }
};

const States* states_of_operator = nullptr;  // MPI passes an operator no context

/// memory <- A memory + B
void apply(const States& states, const float* map, std::vector<float>& memory) {
  if (!states.delta) {
    for (std::size_t i = 0; i < memory.size(); ++i) memory[i] += map[i];
    return;
  }
  std::vector<float> after(map + states.matrices(), map + 2 * states.matrices());
  for (std::size_t at = 0; at < memory.size(); at += states.matrix()) {
    matmul(*states.pool, matrix(map + at, states.size, states.size, states.size),
           matrix(std::as_const(memory).data() + at, states.size, states.size, states.size),
           matrix(after.data() + at, states.size, states.size, states.size), Output::accumulate);
  }
  memory = std::move(after);
}

/// later <- later after earlier: (A2 A1, A2 B1 + B2).
void compose(void* earlier, void* later, int* /*length*/, MPI_Datatype* /*type*/) {
  const States& states = *states_of_operator;
  auto* const first = static_cast<float*>(earlier);
  auto* const second = static_cast<float*>(later);
  if (!states.delta) {
    for (std::size_t i = 0; i < states.elements(); ++i) second[i] += first[i];
    return;
  }
  std::vector<float> product(states.matrix());
  for (std::size_t at = 0; at < states.matrices(); at += states.matrix()) {
    const auto square = [&](float* data) { return matrix(data, states.size, states.size, states.size); };
    const std::size_t b = states.matrices() + at;
    matmul(*states.pool, square(second + at), square(first + b), square(second + b), Output::accumulate);
    matmul(*states.pool, square(second + at), square(first + at), square(product.data()));
    std::ranges::copy(product, second + at);
  }
}

/// Median over repetitions of the slowest rank's microseconds.
double measure(const std::function<void()>& exchange) {
  std::vector<double> mine, slowest(repetitions);
  for (int i = -20; i < repetitions; ++i) {
    MPI_Barrier(MPI_COMM_WORLD);
    const double start = MPI_Wtime();
    exchange();
    if (i >= 0) mine.push_back(1e6 * (MPI_Wtime() - start));
  }
  MPI_Allreduce(mine.data(), slowest.data(), repetitions, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  std::ranges::nth_element(slowest, slowest.begin() + repetitions / 2);
  return slowest[repetitions / 2];
}

/// Returns whether the three agree.
bool compare(const States& states) {
  int rank = 0, size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  std::vector<float> own(states.elements()), all(own.size() * static_cast<std::size_t>(size)), scanned(own.size());
  for (std::size_t i = 0; i < own.size(); ++i) own[i] = std::sin(static_cast<float>(i + 31 * rank)) / 10;
  const int count = static_cast<int>(own.size());
  std::vector<float> by_scan, by_gather, by_ring;
  const auto empty = [&] { return std::vector<float>(states.matrices()); };

  MPI_Datatype whole = MPI_DATATYPE_NULL;  // so that MPI does not cut it
  MPI_Type_contiguous(count, MPI_FLOAT, &whole);
  MPI_Type_commit(&whole);
  MPI_Op operation = MPI_OP_NULL;
  MPI_Op_create(compose, /*commute=*/0, &operation);
  states_of_operator = &states;
  const double scan = measure([&] {
    by_scan = empty();
    MPI_Exscan(own.data(), scanned.data(), 1, whole, operation, MPI_COMM_WORLD);
    if (rank > 0) apply(states, scanned.data(), by_scan);
  });
  const double gather = measure([&] {
    by_gather = empty();
    MPI_Allgather(own.data(), count, MPI_FLOAT, all.data(), count, MPI_FLOAT, MPI_COMM_WORLD);
    for (int before = 0; before < rank; ++before) {
      apply(states, all.data() + own.size() * static_cast<std::size_t>(before), by_gather);
    }
  });
  const double ring = measure([&] {
    by_ring = empty();
    const int elements = static_cast<int>(by_ring.size());
    if (rank > 0) MPI_Recv(by_ring.data(), elements, MPI_FLOAT, rank - 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    if (rank + 1 == size) return;
    std::vector<float> after = by_ring;
    apply(states, own.data(), after);
    MPI_Send(after.data(), elements, MPI_FLOAT, rank + 1, 0, MPI_COMM_WORLD);
  });
  MPI_Op_free(&operation);
  MPI_Type_free(&whole);

  if (rank == 0) {
    fmt::print("| {} | {} | {} kB | {:.0f} | {:.0f} | {:.0f} |\n", size, states.name, 4 * own.size() / 1000, scan,
               gather, ring);
  }
  int agree = 1;
  for (std::size_t i = 0; i < by_ring.size(); ++i) {
    const float tolerance = 1e-3f * (1 + std::abs(by_ring[i]));
    agree &= std::abs(by_scan[i] - by_ring[i]) <= tolerance && std::abs(by_gather[i] - by_ring[i]) <= tolerance;
  }
  MPI_Allreduce(MPI_IN_PLACE, &agree, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  return agree != 0;
}

}  // namespace
}  // namespace palimpsest

int main(int argument_count, char** arguments) {
  using palimpsest::States;
  MPI_Init(&argument_count, &arguments);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (rank == 0)
    fmt::print("| ranks | states | a rank's | scan, µs | all-gather, µs | ring, µs |\n|---|---|---|---|---|---|\n");
  bool agree = true;
  palimpsest::MemoryPool pool;
  for (const States& states :
       {States{"small, linear", false, 8, 64, &pool}, States{"small, delta", true, 8, 64, &pool},
        States{"paper, linear", false, 8, 128, &pool}, States{"paper, delta", true, 8, 128, &pool}}) {
    agree = palimpsest::compare(states) && agree;
  }
  if (!agree) fmt::print(stderr, "rank {}: the three ways do not agree\n", rank);
  MPI_Finalize();
  return agree ? 0 : 1;
}
