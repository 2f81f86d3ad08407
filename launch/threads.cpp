#include "launch/threads.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <span>
#include <string_view>

#include <omp.h>
#include <unistd.h>

#include <fmt/format.h>

namespace palimpsest {

namespace {

std::int64_t count_ranks_on_this_host(Communicator& communicator) {
  char name[256] = "";
  gethostname(name, sizeof(name) - 1);
  const std::string_view mine(name);
  std::int64_t ranks = 0;
  for (const std::vector<std::byte>& theirs : communicator.all_gather(std::as_bytes(std::span(mine)))) {
    ranks += std::ranges::equal(theirs, std::as_bytes(std::span(mine))) ? 1 : 0;
  }
  return ranks;
}

}  // namespace

ThreadPlan plan_threads(const ThreadSituation& s) {
  const bool shared = s.usable_cores == s.host_cores && s.ranks_on_host > 1;
  const std::int64_t fair_share = shared ? std::max<std::int64_t>(1, s.usable_cores / s.ranks_on_host) : s.usable_cores;
  ThreadPlan plan;
  plan.ranks_on_host = s.ranks_on_host;
  plan.threads = static_cast<int>(s.requested > 0 ? s.requested : s.environment > 0 ? s.environment : fair_share);
  if (plan.threads > s.usable_cores) {
    plan.warnings.push_back(fmt::format(
        "{} threads were asked for, but this process may only run on {} of the host's {} cores: under mpirun, add "
        "--bind-to none or --map-by ppr:N:node:pe={}",
        plan.threads, s.usable_cores, s.host_cores, plan.threads));
  } else if (plan.threads * s.ranks_on_host > s.host_cores) {
    plan.warnings.push_back(fmt::format("{} ranks with {} threads each share {} cores on this host: it will be slow",
                                        s.ranks_on_host, plan.threads, s.host_cores));
  }
  return plan;
}

ThreadPlan configure_threads(std::int64_t requested, Communicator& communicator) {
  ThreadSituation situation;
  situation.requested = requested;
  situation.environment = std::getenv("OMP_NUM_THREADS") != nullptr ? omp_get_max_threads() : 0;
  situation.usable_cores = omp_get_num_procs();
  situation.host_cores = std::max<std::int64_t>(sysconf(_SC_NPROCESSORS_ONLN), situation.usable_cores);
  situation.ranks_on_host = count_ranks_on_this_host(communicator);
  ThreadPlan plan = plan_threads(situation);
  omp_set_num_threads(plan.threads);
  return plan;
}

}  // namespace palimpsest
