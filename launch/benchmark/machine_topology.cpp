#include "launch/benchmark/machine_topology.h"

#include <algorithm>
#include <fstream>
#include <memory>
#include <type_traits>

#include <fmt/format.h>
#include <hwloc.h>

#include "launch/output/progress.h"

namespace palimpsest {

MachineTopology find_topology() {
  hwloc_topology_t opened = nullptr;
  if (hwloc_topology_init(&opened) != 0) return {};
  const std::unique_ptr<std::remove_pointer_t<hwloc_topology_t>, decltype(&hwloc_topology_destroy)> topology(
      opened, hwloc_topology_destroy);
  if (hwloc_topology_load(opened) != 0) return {};
  const std::unique_ptr<hwloc_bitmap_s, decltype(&hwloc_bitmap_free)> cores(hwloc_bitmap_alloc(), hwloc_bitmap_free);
  if (hwloc_get_cpubind(opened, cores.get(), HWLOC_CPUBIND_PROCESS) != 0) return {};
  // Sockets and memory that none of these cores is near to are another process's.
  if (hwloc_topology_restrict(opened, cores.get(), HWLOC_RESTRICT_FLAG_REMOVE_CPULESS) != 0) return {};
  // Caches of a level may lie on several depths of the tree: -1 there.
  const auto count = [&](hwloc_obj_type_t type) {
    return std::max<std::int64_t>(hwloc_get_nbobjs_by_type(opened, type), 0);
  };
  return {.sockets = count(HWLOC_OBJ_PACKAGE),
          .numa_nodes = count(HWLOC_OBJ_NUMANODE),
          .level3_caches = count(HWLOC_OBJ_L3CACHE),
          .cores = count(HWLOC_OBJ_CORE),
          .hardware_threads = count(HWLOC_OBJ_PU)};
}

HugePages find_huge_pages() {
  HugePages pages;
  std::ifstream rollup("/proc/self/smaps_rollup");
  for (std::string key; rollup >> key;) {
    if (key == "AnonHugePages:") rollup >> pages.bytes;
    if (key == "Rss:") rollup >> pages.resident_bytes;
  }
  pages.bytes *= 1024;
  pages.resident_bytes *= 1024;
  // "always [madvise] never": the one in force stands in brackets.
  std::ifstream settings("/sys/kernel/mm/transparent_hugepage/enabled");
  for (std::string word; settings >> word;) {
    if (word.starts_with('[') && word.ends_with(']')) pages.setting = word.substr(1, word.size() - 2);
  }
  return pages;
}

std::string format_topology(const MachineTopology& topology) {
  return fmt::format("{}, {}, {}, {}, {}", format_plural(topology.sockets, "socket"),
                     format_plural(topology.numa_nodes, "NUMA node"), format_plural(topology.level3_caches, "L3 cache"),
                     format_plural(topology.cores, "core"),
                     format_plural(topology.hardware_threads, "hardware thread"));
}

std::string format_huge_pages(const HugePages& pages) {
  return fmt::format(
      "{:.2f} of {:.2f} GB{}", static_cast<double>(pages.bytes) / 1e9, static_cast<double>(pages.resident_bytes) / 1e9,
      pages.setting == "never" ? ": refused, /sys/kernel/mm/transparent_hugepage/enabled says never" : "");
}

}  // namespace palimpsest
