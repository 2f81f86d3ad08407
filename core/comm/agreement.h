// One decision for all ranks about work that each does on its own: a file that one rank cannot read
// must stop every rank, or the others wait for it in the next collective for ever.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "core/comm/communicator.h"
#include "core/error.h"

namespace palimpsest {

/// Collective. The text of rank `root` on every rank.
std::string broadcast_text(Communicator& communicator, std::string text, int root);

/// "rank 2 of 4 on node1: MESSAGE". A message that begins so already stays as it is, as one in a single process does.
std::string told_by_rank(const Communicator& communicator, const std::string& message);

/// Collective. Runs `action`, which must not communicate, on every rank. When it threw anywhere, gives
/// on every rank the message of the lowest failing rank, "rank 2 of 4 on node1: ..." (without that in a
/// single process).
std::optional<std::string> failure_of_any(Communicator& communicator, const std::function<void()>& action);

/// The same, throwing `Failure` with that message on every rank.
template <class Failure>
void agree(Communicator& communicator, const std::function<void()>& action) {
  if (const auto failure = failure_of_any(communicator, action)) throw Failure(*failure);
}

/// The same, throwing on every rank what the lowest failing one threw: the same of the types of core/error.h, Error for
/// any other. Whatever a single process throws passes through.
void agree_on_error(Communicator& communicator, const std::function<void()>& action);

}  // namespace palimpsest
