// What stands behind the handles of palimpsest.h, and how its functions turn failures into codes.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "core/error.h"
#include "core/parallel.h"
#include "launch/c_interface/palimpsest.h"
#include "launch/library/model.h"
#include "launch/library/state_arrays.h"

namespace palimpsest::c_interface {

/// Keeps the message of the exception being handled for this thread. -> its code
int keep_error();

/// What `action` does, as a code.
template <class Action>
int guarded(Action&& action) {
  try {
    action();
    return palimpsest_ok;
  } catch (...) {
    return keep_error();
  }
}

/// Throws ConfigError, naming the argument, on null.
template <class T>
T& required(T* pointer, const char* argument) {
  if (pointer == nullptr) throw ConfigError(fmt::format("{} is null", argument));
  return *pointer;
}

/// Elements that may be none. Throws ConfigError where there are some and the pointer is null.
template <class T>
std::span<T> elements(T* pointer, std::size_t count, const char* argument) {
  if (count > 0) required(pointer, argument);
  return {pointer, count};
}

/// Throws ConfigError on null, DataError on what is not UTF-8.
std::string_view required_text(const char* text, std::size_t bytes);

/// A model and the number of threads that compute with it, 0 for what OpenMP has.
struct SharedModel {
  std::shared_ptr<Model> model;
  int threads = 0;
};

/// The number of threads of a model while it lives.
class Threads {
 public:
  explicit Threads(const SharedModel& model) {
    if (model.threads > 0) count_.emplace(model.threads);
  }

 private:
  std::optional<ThreadCount> count_;
};

}  // namespace palimpsest::c_interface

struct PalimpsestModel {
  palimpsest::c_interface::SharedModel shared;
  std::string warnings;
};

struct PalimpsestText {
  PalimpsestText(palimpsest::c_interface::SharedModel of, palimpsest::Generator text)
      : shared(std::move(of)), generator(std::move(text)) {}

  std::recursive_mutex mutex;  // of what follows; recursive, so that a callback's call is refused and does not hang
  bool busy = false;
  palimpsest::c_interface::SharedModel shared;
  palimpsest::Generator generator;
};

struct PalimpsestState {
  std::mutex mutex;                                             // of what follows
  std::vector<std::unique_ptr<palimpsest::StateArray>> arrays;  // which others point to
};
