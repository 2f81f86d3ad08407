#include "core/comm/agreement.h"

#include <algorithm>
#include <array>
#include <exception>
#include <iterator>
#include <utility>

#include <unistd.h>

#include <fmt/format.h>

namespace palimpsest {

namespace {

template <class E>
bool is(const std::exception& error) {
  return dynamic_cast<const E*>(&error) != nullptr;
}

template <class E>
[[noreturn]] void raise(const std::string& message) {
  throw E(message);
}

/// A type of error: how it is known, and thrown.
struct ErrorType {
  bool (*holds)(const std::exception&);
  void (*raise)(const std::string&);
};
template <class E>
constexpr ErrorType type_of{is<E>, raise<E>};

/// Derived ones first; the last is for all others.
constexpr std::array error_types = {type_of<ShapeError>,         type_of<ConfigError>, type_of<WriteError>,
                                    type_of<FileError>,          type_of<DataError>,   type_of<NumericalError>,
                                    type_of<CommunicationError>, type_of<Error>};

std::int64_t type_index(const std::exception& error) {
  const auto found = std::ranges::find_if(error_types, [&](const ErrorType& type) { return type.holds(error); });
  return found == error_types.end() ? std::ssize(error_types) - 1 : found - error_types.begin();
}

}  // namespace

std::string broadcast_text(Communicator& communicator, std::string text, int root) {
  std::int64_t length = communicator.rank() == root ? static_cast<std::int64_t>(text.size()) : 0;
  communicator.all_reduce_max({&length, 1});
  text.resize(static_cast<std::size_t>(length));
  communicator.broadcast(std::as_writable_bytes(std::span(text)), root);
  return text;
}

std::string told_by_rank(const Communicator& communicator, const std::string& message) {
  if (communicator.size() == 1) return message;
  const std::string place = fmt::format(" of {} on ", communicator.size());
  if (message.starts_with("rank ") && message.substr(0, message.find(": ")).find(place) != std::string::npos) {
    return message;
  }
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  return fmt::format("rank {}{}{}: {}", communicator.rank(), place, host, message);
}

std::optional<std::string> failure_of_any(Communicator& communicator, const std::function<void()>& action) {
  bool failed = false;
  std::string message;
  try {
    action();
  } catch (const std::exception& error) {
    failed = true;
    message = told_by_rank(communicator, error.what());
  }
  // The lowest failing rank has the largest value; 0: nobody failed.
  std::int64_t worst = failed ? communicator.size() - communicator.rank() : 0;
  communicator.all_reduce_max({&worst, 1});
  if (worst == 0) return std::nullopt;
  if (communicator.size() == 1) return message;

  const int rank = communicator.size() - static_cast<int>(worst);
  return broadcast_text(communicator, std::move(message), rank);
}

void agree_on_error(Communicator& communicator, const std::function<void()>& action) {
  if (communicator.size() == 1) return action();
  // Of the lowest failing rank, as there.
  std::int64_t type = 0;
  const auto message = failure_of_any(communicator, [&] {
    try {
      action();
    } catch (const std::exception& error) {
      type = (communicator.size() - communicator.rank()) * std::ssize(error_types) + type_index(error);
      throw;
    }
  });
  if (!message) return;
  communicator.all_reduce_max({&type, 1});
  error_types.at(static_cast<std::size_t>(type % std::ssize(error_types))).raise(*message);
}

}  // namespace palimpsest
