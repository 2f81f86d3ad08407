// Work of backward that nothing further back waits for: gradients of weights, put off so that what others wait for is
// ready sooner.
#pragma once

#include <functional>
#include <string_view>
#include <utility>
#include <vector>

#include "autograd/operator_profile.h"
#include "core/elapsed.h"

namespace palimpsest {

class DeferredGradients {
 public:
  /// Puts `work` off until `run`. `family` is what a profile counts it for, empty: nothing; it must outlive this.
  void add(std::string_view family, std::function<void()> work) { queue_.push_back({family, std::move(work)}); }

  /// Does it, in the order in which it was added, and frees what each piece held.
  void run(OperatorProfile* profile) {
    for (Entry& queued : std::exchange(queue_, {})) {
      const Entry entry = std::move(queued);
      const auto start = std::chrono::steady_clock::now();
      entry.work();
      if (profile && !entry.family.empty()) profile->add_backward(entry.family, seconds_since(start));
    }
  }

 private:
  struct Entry {
    std::string_view family;
    std::function<void()> work;
  };
  std::vector<Entry> queue_;
};

}  // namespace palimpsest
