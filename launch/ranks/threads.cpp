#include "launch/ranks/threads.h"

#include <algorithm>
#include <cstdlib>
#include <map>

#include <omp.h>
#include <unistd.h>

namespace palimpsest {

std::int64_t choose_threads(const RankPlacement& rank, std::int64_t ranks_on_host) {
  if (rank.threads > 0) return rank.threads;
  const auto cores = static_cast<std::int64_t>(rank.cores.size());
  const bool shared = cores == rank.host_cores && ranks_on_host > 1;
  return shared ? std::max<std::int64_t>(1, cores / ranks_on_host) : cores;
}

ThreadPlan configure_threads(std::int64_t requested, Communicator& communicator) {
  RankPlacement own{host_name(), usable_cores()};
  own.host_cores = std::max<std::int64_t>(sysconf(_SC_NPROCESSORS_ONLN), static_cast<std::int64_t>(own.cores.size()));
  const bool set = std::getenv("OMP_NUM_THREADS") != nullptr;
  own.threads = requested > 0 ? requested : set ? omp_get_max_threads() : 0;  // 0: to be chosen

  ThreadPlan plan;
  plan.placements = gather_placements(own, communicator);
  std::map<std::string, std::int64_t> ranks_on;
  for (const RankPlacement& rank : plan.placements) ++ranks_on[rank.host];
  for (RankPlacement& rank : plan.placements) rank.threads = choose_threads(rank, ranks_on.at(rank.host));
  plan.ranks_on_host = ranks_on.at(own.host);
  plan.threads = static_cast<int>(plan.placements[static_cast<std::size_t>(communicator.rank())].threads);
  plan.warnings = check_placements(plan.placements);
  omp_set_num_threads(plan.threads);
  return plan;
}

}  // namespace palimpsest
