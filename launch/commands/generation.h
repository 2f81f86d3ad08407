// What the commands that generate text have in common.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <CLI/CLI.hpp>

#include "core/comm/communicator.h"
#include "core/storage.h"
#include "launch/commands/token_progress.h"
#include "launch/inference/generator.h"
#include "launch/training/run_log.h"
#include "launch/training/saved_model.h"

namespace palimpsest {

/// Options of all of them.
struct GenerationCommand {
  std::string model;
  std::int64_t step = 0;  // 0: the newest
  std::string state;      // a file to go on from; empty: the start of a document
  GenerationOptions generation;
  bool special_tokens = false;  // text may spell the tokenizer's special tokens
  std::int64_t threads = 0;
};

void add_generation_options(CLI::App& command, GenerationCommand& options);

/// Sets the threads and reads the model into `pool`. Collective. Throws ConfigError on options that cannot be, and what
/// open_model does.
SavedModel open_for_generation(const GenerationCommand& options, Communicator& communicator, RunLog& log,
                               MemoryPool& pool);

/// From the state that the options name, or the start of a document.
Generator make_generator(const GenerationCommand& options, const SavedModel& saved, MemoryPool& pool);

/// The progress line of a generator that reads.
class ReadingProgress {
 public:
  /// Of what a generator has to read from now on; both must outlive this.
  ReadingProgress(const Generator& generator, RunLog& log);
  void show() { line_.show({done(), all_}); }
  /// Tokens read so far, and the seconds that it took.
  std::int64_t done() const { return generator_.tokens() - begin_; }
  double seconds() const { return line_.seconds(); }

 private:
  const Generator& generator_;
  std::int64_t begin_, all_;
  TokenProgress line_;
};

}  // namespace palimpsest
