#include "launch/ranks/sequence_groups.h"

#include <vector>

#include <fmt/format.h>

#include "core/error.h"

namespace palimpsest {

void check_sequence_ranks(const char* name, std::int64_t sequence_ranks, int ranks) {
  if (sequence_ranks >= 1 && ranks % sequence_ranks == 0) return;
  std::vector<int> possible;
  for (int i = 1; i <= ranks; ++i) {
    if (ranks % i == 0) possible.push_back(i);
  }
  throw ConfigError(
      fmt::format("{} {} does not divide the {} rank{} of this job: use one of {}, or a multiple of {} ranks", name,
                  sequence_ranks, ranks, ranks == 1 ? "" : "s", fmt::join(possible, ", "), sequence_ranks));
}

std::unique_ptr<Communicator> sequence_group(Communicator& communicator, std::int64_t sequence_ranks) {
  if (sequence_ranks == 1) return nullptr;
  return communicator.split(static_cast<int>(group_of(communicator.rank(), sequence_ranks)), communicator.rank());
}

}  // namespace palimpsest
