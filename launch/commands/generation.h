// What the commands that generate text have in common.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <CLI/CLI.hpp>

#include "core/comm/communicator.h"
#include "core/storage.h"
#include "launch/inference/generator.h"
#include "launch/output/progress.h"
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

/// The line about a long reading: tokens, their rate and what is left. Without a terminal, a line now and then.
class ReadingProgress {
 public:
  /// Of what a generator has to read from now on; both must outlive this.
  ReadingProgress(const Generator& generator, RunLog& log);
  ~ReadingProgress() { log_.end_progress(); }
  ReadingProgress(const ReadingProgress&) = delete;
  ReadingProgress& operator=(const ReadingProgress&) = delete;

  void show();
  /// Tokens read so far, and the seconds that it took.
  std::int64_t done() const { return generator_.tokens() - begin_; }
  double seconds() const;

 private:
  const Generator& generator_;
  RunLog& log_;
  std::int64_t begin_, all_;
  Pace::Clock::time_point start_ = Pace::Clock::now();
  double next_line_;
};

/// "12.3 k tokens/s".
std::string format_rate(std::int64_t tokens, double seconds);

}  // namespace palimpsest
