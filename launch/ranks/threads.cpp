#include "launch/ranks/threads.h"

#include <algorithm>
#include <cstdlib>

#include <omp.h>
#include <unistd.h>

namespace palimpsest {

int choose_threads(const ThreadSituation& s) {
  if (s.requested > 0) return static_cast<int>(s.requested);
  if (s.environment > 0) return static_cast<int>(s.environment);
  const bool shared = s.usable_cores == s.host_cores && s.ranks_on_host > 1;
  return static_cast<int>(shared ? std::max<std::int64_t>(1, s.usable_cores / s.ranks_on_host) : s.usable_cores);
}

ThreadPlan configure_threads(std::int64_t requested, Communicator& communicator) {
  RankPlacement own{host_name(), usable_cores()};
  const auto cores = static_cast<std::int64_t>(own.cores.size());
  own.host_cores = std::max<std::int64_t>(sysconf(_SC_NPROCESSORS_ONLN), cores);

  ThreadPlan plan;
  plan.ranks_on_host = std::ranges::count(gather_placements(own, communicator), own.host, &RankPlacement::host);
  plan.threads = choose_threads({.requested = requested,
                                 .environment = std::getenv("OMP_NUM_THREADS") != nullptr ? omp_get_max_threads() : 0,
                                 .usable_cores = cores,
                                 .host_cores = own.host_cores,
                                 .ranks_on_host = plan.ranks_on_host});
  own.threads = plan.threads;
  plan.placements = gather_placements(own, communicator);
  plan.warnings = check_placements(plan.placements);
  omp_set_num_threads(plan.threads);
  return plan;
}

}  // namespace palimpsest
