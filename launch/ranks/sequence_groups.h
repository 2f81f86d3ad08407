// Ranks in groups that share sequences (docs/parallelism.md): neighbours in rank order, which sit on the
// same host or next to each other.
#pragma once

#include <cstdint>
#include <memory>

#include "core/comm/communicator.h"

namespace palimpsest {

/// Throws ConfigError, naming the numbers that would do, unless groups of `sequence_ranks` make up `ranks`.
/// `name` is what the user calls it: a key or an option.
void check_sequence_ranks(const char* name, std::int64_t sequence_ranks, int ranks);

/// The group of this rank, ranks [g P, (g + 1) P) for P = `sequence_ranks`; null for groups of one.
/// Collective. Has to be destroyed before `communicator`.
std::unique_ptr<Communicator> sequence_group(Communicator& communicator, std::int64_t sequence_ranks);

/// Which group a rank belongs to, and whether it speaks for it where something counts once a group.
inline std::int64_t group_of(int rank, std::int64_t sequence_ranks) { return rank / sequence_ranks; }
inline bool leads_sequence_group(int rank, std::int64_t sequence_ranks) { return rank % sequence_ranks == 0; }

}  // namespace palimpsest
