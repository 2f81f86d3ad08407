// The progress line of a command that reads many tokens.
#pragma once

#include <string>
#include <utility>

#include "core/elapsed.h"
#include "launch/inference/evaluation.h"
#include "launch/output/progress.h"
#include "launch/training/run_log.h"

namespace palimpsest {

/// How far it is, how fast, and how long the rest takes, until its end.
class TokenProgress {
 public:
  /// `before` leads the line: "reading: "; `whose` follows the speed: " on this rank". The log must outlive this.
  explicit TokenProgress(RunLog& log, std::string before = {}, std::string whose = {})
      : log_(log), before_(std::move(before)), whose_(std::move(whose)) {}
  ~TokenProgress() { log_.end_progress(); }
  TokenProgress(const TokenProgress&) = delete;
  TokenProgress& operator=(const TokenProgress&) = delete;

  void show(const EvaluationProgress& now);
  double seconds() const { return seconds_since(start_); }

 private:
  RunLog& log_;
  std::string before_, whose_;
  const Pace::Clock::time_point start_ = Pace::Clock::now();
  LastingLines lasting_;
};

}  // namespace palimpsest
