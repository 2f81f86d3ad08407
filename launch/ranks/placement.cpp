#include "launch/ranks/placement.h"

#include <algorithm>
#include <set>

#include <omp.h>
#include <sched.h>
#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "launch/output/progress.h"

namespace palimpsest {

namespace {

/// The ranks of each host, hosts in the order of their first rank.
std::vector<std::vector<std::size_t>> group_by_host(std::span<const RankPlacement> ranks) {
  std::vector<std::vector<std::size_t>> hosts;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    const auto host = std::ranges::find_if(
        hosts, [&](const std::vector<std::size_t>& others) { return ranks[others.front()].host == ranks[rank].host; });
    if (host == hosts.end()) {
      hosts.push_back({rank});
    } else {
      host->push_back(rank);
    }
  }
  return hosts;
}

struct Sharing {
  std::vector<std::size_t> ranks;
  std::set<int> cores;
};

/// Ranks of one host that share cores, directly or through others, with the cores that they have together.
std::vector<Sharing> group_by_cores(std::span<const RankPlacement> ranks, const std::vector<std::size_t>& on_host) {
  std::vector<Sharing> groups;
  for (const std::size_t rank : on_host) {
    Sharing joined{{rank}, {ranks[rank].cores.begin(), ranks[rank].cores.end()}};
    std::erase_if(groups, [&](const Sharing& group) {
      const bool shares = std::ranges::any_of(ranks[rank].cores, [&](int core) { return group.cores.contains(core); });
      if (shares) {
        joined.ranks.insert(joined.ranks.end(), group.ranks.begin(), group.ranks.end());
        joined.cores.insert(group.cores.begin(), group.cores.end());
      }
      return shares;
    });
    std::ranges::sort(joined.ranks);
    groups.push_back(std::move(joined));
  }
  return groups;
}

bool lacks_cores(const RankPlacement& rank) { return rank.threads > static_cast<std::int64_t>(rank.cores.size()); }

std::vector<int> numbers(const std::vector<std::size_t>& ranks) { return {ranks.begin(), ranks.end()}; }

}  // namespace

std::string host_name() {
  char name[256] = "unknown";
  gethostname(name, sizeof(name) - 1);
  return name;
}

std::vector<int> usable_cores() {
  std::set<int> cores;
  // Where OpenMP binds threads to places, the mask of this thread holds no more than its own place.
  for (int place = 0; place < omp_get_num_places(); ++place) {
    std::vector<int> ids(static_cast<std::size_t>(omp_get_place_num_procs(place)));
    omp_get_place_proc_ids(place, ids.data());
    cores.insert(ids.begin(), ids.end());
  }
  if (cores.empty()) {
    cpu_set_t mask;
    CPU_ZERO(&mask);
    sched_getaffinity(0, sizeof(mask), &mask);
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &mask)) cores.insert(core);
    }
  }
  return {cores.begin(), cores.end()};
}

std::vector<RankPlacement> gather_placements(const RankPlacement& own, Communicator& communicator) {
  const std::string text = nlohmann::json{
      {"host", own.host},
      {"cores", own.cores},
      {"host_cores", own.host_cores},
      {"threads", own.threads}}.dump();
  std::vector<RankPlacement> all;
  for (const std::vector<std::byte>& bytes : communicator.all_gather(std::as_bytes(std::span(text)))) {
    const auto* begin = reinterpret_cast<const char*>(bytes.data());
    const nlohmann::json rank = nlohmann::json::parse(begin, begin + bytes.size());
    all.push_back({rank.at("host"), rank.at("cores"), rank.at("host_cores"), rank.at("threads")});
  }
  return all;
}

std::string format_cores(std::span<const int> cores) {
  std::string text;
  for (std::size_t begin = 0; begin < cores.size();) {
    std::size_t end = begin + 1;
    while (end < cores.size() && cores[end] == cores[end - 1] + 1) ++end;
    if (!text.empty()) text += ',';
    text += end - begin == 1 ? fmt::format("{}", cores[begin]) : fmt::format("{}-{}", cores[begin], cores[end - 1]);
    begin = end;
  }
  return text;
}

std::vector<std::string> describe_placements(std::span<const RankPlacement> ranks) {
  std::vector<std::string> lines;
  for (const std::vector<std::size_t>& on_host : group_by_host(ranks)) {
    std::string line = ranks[on_host.front()].host + ":";
    for (const std::size_t index : on_host) {
      const RankPlacement& rank = ranks[index];
      const bool unbound = on_host.size() > 1 && static_cast<std::int64_t>(rank.cores.size()) == rank.host_cores;
      line += fmt::format("{} rank {} on core{} {}{} with {}", index == on_host.front() ? "" : ",", index,
                          rank.cores.size() == 1 ? "" : "s", format_cores(rank.cores), unbound ? " (not bound)" : "",
                          format_plural(rank.threads, "thread"));
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

std::vector<std::string> check_placements(std::span<const RankPlacement> ranks) {
  std::vector<std::string> warnings;
  const std::int64_t lacking = std::ranges::count_if(ranks, lacks_cores);
  if (lacking > 0) {
    const auto rank = std::ranges::find_if(ranks, lacks_cores);
    warnings.push_back(fmt::format(
        "rank {} on {}{} computes with {}, but may only run on core{} {} of the host's {}: launch/run.sh binds a "
        "rank to as many cores as it has threads; so does mpirun --map-by ppr:RANKS:node:pe={}",
        rank - ranks.begin(), rank->host, lacking > 1 ? fmt::format(" (and {} more like it)", lacking - 1) : "",
        format_plural(rank->threads, "thread"), rank->cores.size() == 1 ? "" : "s", format_cores(rank->cores),
        rank->host_cores, rank->threads));
  }
  for (const std::vector<std::size_t>& on_host : group_by_host(ranks)) {
    for (const Sharing& group : group_by_cores(ranks, on_host)) {
      std::int64_t threads = 0;
      for (const std::size_t rank : group.ranks) threads += ranks[rank].threads;
      const auto cores = static_cast<std::int64_t>(group.cores.size());
      if (group.ranks.size() == 1 || threads <= cores) continue;
      warnings.push_back(
          fmt::format("ranks {} on {} share core{} {}, {} for {} threads: it will be slow",
                      format_cores(numbers(group.ranks)), ranks[on_host.front()].host, cores == 1 ? "" : "s",
                      format_cores(std::vector<int>(group.cores.begin(), group.cores.end())), cores, threads));
    }
  }
  return warnings;
}

}  // namespace palimpsest
