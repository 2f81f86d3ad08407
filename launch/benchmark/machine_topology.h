// What the machine is made of, as far as this process may use it: told by `palimpsest bench`, since ranks and threads
// are chosen by it.
#pragma once

#include <cstdint>
#include <string>

namespace palimpsest {

struct MachineTopology {
  std::int64_t sockets = 0;
  std::int64_t numa_nodes = 0;  // parts of the machine whose cores share near memory
  std::int64_t level3_caches = 0;
  std::int64_t cores = 0;
  std::int64_t hardware_threads = 0;
};

/// Counts those that the affinity mask of this process reaches. Zeros where the system does not tell.
MachineTopology find_topology();

/// What of this process's memory the system holds in huge pages by now.
struct HugePages {
  std::int64_t bytes = 0;
  std::int64_t resident_bytes = 0;  // in pages of any size
  std::string setting;              // of the system: "always", "madvise" or "never"; empty where it does not tell
};
HugePages find_huge_pages();

/// "1 socket, 1 NUMA node, 1 L3 cache, 2 cores, 2 hardware threads".
std::string format_topology(const MachineTopology& topology);

/// "1.20 of 1.31 GB", and what the system's setting is where it refuses them.
std::string format_huge_pages(const HugePages& pages);

}  // namespace palimpsest
