// Work that may crash or never end, tried in a process of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace palimpsest {

struct ChildLimits {
  unsigned seconds = 20;                                // of computing; waiting for a slow disk has no limit
  std::uint64_t memory_bytes = std::uint64_t{4} << 30;  // beyond what this process has
};

/// Runs `action` in a forked child, whose output is thrown away. Returns how it came to a bad end: "is killed by
/// signal 11 (Segmentation fault)", "needs more than 20 seconds", "needs more than 4096 MiB of memory", "throws an
/// exception"; nothing when it returned or threw an Error. `action` must not communicate with other ranks, nor use
/// OpenMP, and no other thread may be inside a library that `action` calls. Throws Error when there can be no child.
std::optional<std::string> try_in_child(const std::function<void()>& action, const ChildLimits& limits = {});

}  // namespace palimpsest
