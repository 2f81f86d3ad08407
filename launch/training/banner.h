// What a run says about itself before its first step.
#pragma once

#include <cstdint>
#include <filesystem>

#include "configs/run_config.h"
#include "core/comm/communicator.h"
#include "data/stream/token_source.h"
#include "launch/ranks/threads.h"
#include "launch/training/run_log.h"
#include "launch/training/teacher.h"
#include "layers/language_model.h"
#include "layers/pass_plan.h"

namespace palimpsest {

struct Banner {
  const RunConfig& config;  // resolved
  const Communicator& communicator;
  const ThreadPlan& threads;
  const std::filesystem::path& run_directory;
  const LanguageModel& model;
  const TokenSource& source;
  const PassPlan& plan;
  std::int64_t step;       // done
  const Teacher* teacher;  // null: none
};

/// Program, ranks and where they are, model, data, plan: a few lines.
void print_banner(const Banner& banner, RunLog& log);

}  // namespace palimpsest
