#include "core/comm/shares.h"

#include <fmt/format.h>

#include "core/error.h"

namespace palimpsest {

void check_all_gather(std::span<const std::byte> mine, std::span<std::byte> all, const Communicator& communicator) {
  if (all.size() == mine.size() * static_cast<std::size_t>(communicator.size())) return;
  throw CommunicationError(fmt::format("rank {} of {}: begin_all_gather of {} bytes got room for {}, expected {}",
                                       communicator.rank(), communicator.size(), mine.size(), all.size(),
                                       mine.size() * static_cast<std::size_t>(communicator.size())));
}

}  // namespace palimpsest
