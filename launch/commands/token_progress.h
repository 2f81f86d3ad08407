// The progress line of a command that reads many tokens.
#pragma once

#include <string>
#include <utility>

#include "launch/inference/evaluation.h"
#include "launch/output/progress.h"
#include "launch/training/run_log.h"

namespace palimpsest {

/// How far it is, how fast, and how long the rest takes. Where there is no terminal whose line could renew itself, a
/// line now and then.
class TokenProgress {
 public:
  /// `whose` follows the speed: " on this rank".
  explicit TokenProgress(RunLog& log, std::string whose = {}) : log_(log), whose_(std::move(whose)) {}

  void show(const EvaluationProgress& now);

 private:
  static constexpr double seconds_between_lines = 30;

  RunLog& log_;
  std::string whose_;
  const Pace::Clock::time_point start_ = Pace::Clock::now();
  double next_line_ = seconds_between_lines;
};

}  // namespace palimpsest
