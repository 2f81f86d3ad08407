#include "core/comm/agreement.h"

#include <exception>
#include <utility>

#include <unistd.h>

#include <fmt/format.h>

namespace palimpsest {

std::string broadcast_text(Communicator& communicator, std::string text, int root) {
  std::int64_t length = communicator.rank() == root ? static_cast<std::int64_t>(text.size()) : 0;
  communicator.all_reduce_max({&length, 1});
  text.resize(static_cast<std::size_t>(length));
  communicator.broadcast(std::as_writable_bytes(std::span(text)), root);
  return text;
}

std::optional<std::string> failure_of_any(Communicator& communicator, const std::function<void()>& action) {
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  bool failed = false;
  std::string message;
  try {
    action();
  } catch (const std::exception& error) {
    failed = true;
    message = communicator.size() == 1 ? error.what()
                                       : fmt::format("rank {} of {} on {}: {}", communicator.rank(),
                                                     communicator.size(), host, error.what());
  }
  // The lowest failing rank has the largest value; 0: nobody failed.
  std::int64_t worst = failed ? communicator.size() - communicator.rank() : 0;
  communicator.all_reduce_max({&worst, 1});
  if (worst == 0) return std::nullopt;
  if (communicator.size() == 1) return message;

  const int rank = communicator.size() - static_cast<int>(worst);
  return broadcast_text(communicator, std::move(message), rank);
}

}  // namespace palimpsest
