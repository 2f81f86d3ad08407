// Where the time of a step goes, by operator family. Off unless a tape is given a profile.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <string_view>

namespace palimpsest {

class Tape;

class OperatorProfile {
 public:
  struct Seconds {
    double forward = 0;
    double backward = 0;
  };

  void add_forward(std::string_view family, double seconds) { entry(family).forward += seconds; }
  void add_backward(std::string_view family, double seconds) { entry(family).backward += seconds; }
  /// By family, in alphabetical order.
  const std::map<std::string, Seconds, std::less<>>& families() const { return families_; }

 private:
  Seconds& entry(std::string_view family) {
    const auto found = families_.find(family);
    return found != families_.end() ? found->second : families_.emplace(std::string(family), Seconds{}).first->second;
  }

  std::map<std::string, Seconds, std::less<>> families_;
};

/// Names the family of whatever an operator computes and records in its scope, and times it when the
/// tape has a profile. `family` must outlive the tape: a string literal.
class OperatorScope {
 public:
  OperatorScope(Tape& tape, std::string_view family);
  ~OperatorScope();
  OperatorScope(const OperatorScope&) = delete;
  OperatorScope& operator=(const OperatorScope&) = delete;

 private:
  Tape& tape_;
  std::string_view outer_family_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace palimpsest
