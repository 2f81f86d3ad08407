// Which cores of which host each rank may run on: what the binding of mpirun or Slurm came to. Told when
// a run starts, since a wrong binding is silent and can cost most of a machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/comm/communicator.h"

namespace palimpsest {

/// Where one rank computes, and with how many threads. A core is what the system counts as one: on a
/// machine with hyper-threading, a hardware thread.
struct RankPlacement {
  std::string host;
  std::vector<int> cores;  // of the affinity mask, ascending
  std::int64_t host_cores = 1;
  std::int64_t threads = 1;  // 0: not chosen yet
};

/// The name by which this host calls itself.
std::string host_name();

/// The cores that this process may run on, ascending; with OMP_PROC_BIND or OMP_PLACES, those of OpenMP's places.
std::vector<int> usable_cores();

/// Every rank's placement, in rank order, on every rank. Collective.
std::vector<RankPlacement> gather_placements(const RankPlacement& own, Communicator& communicator);

/// "0-3,8".
std::string format_cores(std::span<const int> cores);

/// A line for each host, in the order of its first rank:
/// "node1: rank 0 on cores 0-3 with 4 threads, rank 1 on cores 4-7 with 4 threads".
std::vector<std::string> describe_placements(std::span<const RankPlacement> ranks);

/// What is wrong with a placement, a sentence each: ranks with fewer cores than threads, and ranks that
/// share cores without there being one for each of their threads.
std::vector<std::string> check_placements(std::span<const RankPlacement> ranks);

}  // namespace palimpsest
