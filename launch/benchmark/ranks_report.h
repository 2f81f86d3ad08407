// How the ranks of a training benchmark got on together: what `palimpsest bench --ranks-report` prints.
#pragma once

#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

#include "core/comm/communicator.h"
#include "launch/benchmark/benchmark.h"

namespace palimpsest {

struct RanksReport {
  int ranks = 1;
  std::string where;                   // "2 MPI ranks on 1 host"
  double tokens_per_second = 0;        // all ranks together, the median step
  double alone_tokens_per_second = 0;  // of one rank while the others slept; 0: not measured
  double step_seconds = 0;             // median
  double waiting_seconds = 0;          // a step, for the slowest rank: mean over ranks
  double exposed_seconds = 0;          // a step, in which the slowest rank only communicates
  double alone_seconds = 0;            // the same communication without anything to hide behind
  std::int64_t bytes_per_step = 0;     // sent by the rank that sends most
  std::int64_t calls_per_step = 0;
  std::int64_t optimizer_bytes = 0;  // of the rank that has most
  std::int64_t parameter_bytes = 0;  // masters, for comparison

  /// The share of the communication that goes on behind computation: 1 - exposed / alone.
  double hidden() const;
  /// Tokens per second of a rank over those of one alone.
  double efficiency() const { return tokens_per_second / ranks / alone_tokens_per_second; }
};

/// Collective: the ranks' results together.
RanksReport gather_ranks(const BenchmarkResult& result, Communicator& communicator);

std::string format_ranks(const RanksReport& report);
nlohmann::ordered_json to_json(const RanksReport& report);

}  // namespace palimpsest
