// The part of `generate` that continues many prompts at once.
#pragma once

#include <cstdint>
#include <string>

#include <CLI/CLI.hpp>

#include "core/comm/communicator.h"
#include "launch/commands/generation.h"

namespace palimpsest {

struct BatchOptions {
  std::string prompts;  // a file; empty: no batch
  std::string out;      // a file; empty: standard output
  std::int64_t lanes = 8;
  bool log_probabilities = false;
};

/// Adds --batch and what goes with it. Returns --batch.
CLI::Option* add_batch_options(CLI::App& command, BatchOptions& options);

/// Returns an exit code.
int generate_many(const GenerationCommand& common, const BatchOptions& options, Communicator& communicator);

}  // namespace palimpsest
