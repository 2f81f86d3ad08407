// How many threads a rank computes with.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/comm/communicator.h"
#include "launch/ranks/placement.h"

namespace palimpsest {

/// The number asked for, else the cores of the affinity mask; when the mask is the whole host, its ranks share them.
std::int64_t choose_threads(const RankPlacement& rank, std::int64_t ranks_on_host);

struct ThreadPlan {
  int threads = 1;
  std::int64_t ranks_on_host = 1;
  std::vector<RankPlacement> placements;  // of every rank
  std::vector<std::string> warnings;      // about any rank
};

/// Chooses the number of threads (`requested`, train.threads; 0: OMP_NUM_THREADS, else by the cores) and tells
/// OpenMP; learns about the other ranks. Collective.
ThreadPlan configure_threads(std::int64_t requested, Communicator& communicator);

}  // namespace palimpsest
