// A sign of life as a rank would give it.
#pragma once

#include <cstdint>
#include <string>

#include "launch/ranks/heartbeat.h"
#include "launch/ranks/rank_status.h"

namespace palimpsest {

inline Heartbeat heartbeat(int rank, std::int64_t count, Phase phase = Phase::forward) {
  return {rank, "node" + std::to_string(rank), 100 + rank, count, count, count, 12, name_of(phase)};
}

}  // namespace palimpsest
