// How many threads a rank computes with.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/comm/communicator.h"
#include "launch/ranks/placement.h"

namespace palimpsest {

/// What a rank is told and finds: cores it may run on, ranks of the job on its host.
struct ThreadSituation {
  std::int64_t requested = 0;     // train.threads; 0: choose
  std::int64_t environment = 0;   // OMP_NUM_THREADS; 0: not set
  std::int64_t usable_cores = 1;  // of the affinity mask
  std::int64_t host_cores = 1;
  std::int64_t ranks_on_host = 1;
};

/// The number asked for, else OMP_NUM_THREADS, else the cores of the affinity mask; when the mask is the
/// whole host, its ranks share them.
int choose_threads(const ThreadSituation& situation);

struct ThreadPlan {
  int threads = 1;
  std::int64_t ranks_on_host = 1;
  std::vector<RankPlacement> placements;  // of every rank
  std::vector<std::string> warnings;      // about any rank
};

/// Looks at this rank's situation, chooses and tells OpenMP; learns about the other ranks. Collective.
ThreadPlan configure_threads(std::int64_t requested, Communicator& communicator);

}  // namespace palimpsest
