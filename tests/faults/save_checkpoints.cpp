// A process that saves checkpoints, to be killed or to be denied a disk: save_checkpoints DIRECTORY KEEP_LAST
// STEP... saves those steps, asynchronously and one after another, and prints a line for each. With --bytes N
// the tensors have so many bytes, and --load reads the newest one back; both print seconds
// (tests/bench/checkpoint_bench.py).
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "core/elapsed.h"
#include "launch/checkpoint/checkpointer.h"
#include "tests/faults/example_state.h"

using namespace palimpsest;

namespace {

int load(const std::filesystem::path& directory, std::int64_t bytes) {
  MemoryPool pool;
  const auto communicator = single_process();
  // Memory that is there before the clock starts, as a model's is.
  const StateDictionary targets = example_state(pool, -1, bytes);
  const auto start = std::chrono::steady_clock::now();
  const auto found = CheckpointStore(directory).newest(
      *communicator, [&](const Checkpoint& checkpoint) { checkpoint.load(targets, *communicator); });
  fmt::print("loaded step {} in {:.4f} s\n", found.value().step(), seconds_since(start));
  return 0;
}

}  // namespace

int main(int argument_count, char** arguments) {
  std::vector<std::string> words(arguments + 1, arguments + argument_count);
  const bool loading = !words.empty() && words[0] == "--load";
  if (loading) words.erase(words.begin());
  std::int64_t bytes = 0;
  if (words.size() > 1 && words[0] == "--bytes") {
    bytes = std::stoll(words[1]);
    words.erase(words.begin(), words.begin() + 2);
  }
  if (words.empty()) return 2;
  if (loading) return load(words[0], bytes);
  if (words.size() < 2) return 2;

  const auto communicator = single_process();
  Checkpointer checkpointer(CheckpointStore(words[0], {std::stoll(words[1]), 0}), *communicator, /*asynchronous=*/true);
  MemoryPool pool;
  for (std::size_t i = 2; i < words.size(); ++i) {
    const std::int64_t step = std::stoll(words[i]);
    const StateDictionary state = example_state(pool, step, bytes);
    const auto start = std::chrono::steady_clock::now();
    checkpointer.start(step, state, {}, {{"step", step}}, "config");
    const double waited = seconds_since(start);
    const auto outcome = checkpointer.finish().value();
    fmt::print("step {}: {} in {:.4f} s, waited {:.4f} s\n", step, outcome.error.value_or("saved"),
               seconds_since(start), waited);
    for (const std::string& warning : outcome.warnings) fmt::print("warning: {}\n", warning);
    std::fflush(stdout);
  }
  return 0;
}
