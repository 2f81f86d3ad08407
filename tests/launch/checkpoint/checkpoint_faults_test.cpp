// Saves by a real process (tests/faults/save_checkpoints.cpp) that is killed, or to which the file system says
// no, at every single call by which it changes files: whatever the moment, the newest complete checkpoint loads.
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/null_sink.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>

#include "launch/checkpoint/checkpoint_store.h"
#include "tests/faults/example_state.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

class CheckpointFaultsTest : public testing::Test {
 protected:
  struct Result {
    int status;          // of waitpid
    std::string output;  // a line for every step
    std::vector<std::string> calls;
    bool killed() const { return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }
  };

  CheckpointFaultsTest() {
    before_ = spdlog::default_logger();
    spdlog::set_default_logger(
        std::make_shared<spdlog::logger>("none", std::make_shared<spdlog::sinks::null_sink_mt>()));
  }
  ~CheckpointFaultsTest() override { spdlog::set_default_logger(before_); }

  /// Saves `steps` in a process of its own, with `action` at the `at`-th change to a file; 0: without.
  Result save(int keep_last, const std::string& steps, const std::string& action = "none", int at = 0) {
    const fs::path log = directory_ / "calls", output = directory_ / "output";
    fs::remove(log);
    const std::string command = fmt::format(
        "LD_PRELOAD={} PALIMPSEST_FAULT_PATH={} PALIMPSEST_FAULT_LOG={} PALIMPSEST_FAULT_ACTION={} {} "
        "ASAN_OPTIONS=verify_asan_link_order=0 exec {} {} {} {} > {} 2>&1",
        PALIMPSEST_INTERPOSER, checkpoints_.string(), log.string(), action,
        at > 0 ? fmt::format("PALIMPSEST_FAULT_AT={}", at) : std::string(), PALIMPSEST_SAVE_CHECKPOINTS,
        checkpoints_.string(), keep_last, steps, output.string());
    Result result;
    result.status = std::system(command.c_str());
    result.output = file_content(output);
    std::istringstream lines(fs::exists(log) ? file_content(log) : std::string());
    for (std::string line; std::getline(lines, line);) result.calls.push_back(line);
    return result;
  }

  /// The step of the newest checkpoint, whose content is compared with what it should be; 0 when there is none.
  std::int64_t newest_step() {
    const StateDictionary read = example_state(pool_, -1);
    const auto found = CheckpointStore(checkpoints_).newest(*communicator_, [&](const Checkpoint& checkpoint) {
      checkpoint.load(read, *communicator_);
    });
    if (!found) return 0;
    const StateDictionary expected = example_state(pool_, found->step());
    for (const auto& entry : read) EXPECT_EQ(entry.tensor.to_doubles(), expected.at(entry.name).to_doubles());
    EXPECT_EQ(found->training_state().at("step"), found->step());
    return found->step();
  }

  std::string latest() { return file_content(checkpoints_ / "latest"); }
  /// A run directory with the whole checkpoint of step 1 and nothing else.
  void start_with_step_1() {
    const fs::path original = directory_ / "original";
    fs::remove_all(checkpoints_);
    if (!fs::exists(original)) {
      ASSERT_EQ(save(0, "1").status, 0);
      fs::rename(checkpoints_, original);
    }
    fs::copy(original, checkpoints_, fs::copy_options::recursive);
  }

  TemporaryDirectory directory_;
  fs::path checkpoints_ = directory_ / "checkpoints";
  MemoryPool pool_;
  std::unique_ptr<Communicator> communicator_ = single_process();
  std::shared_ptr<spdlog::logger> before_;
};

/// What a crash of the machine needs, which no process that dies can show: the order in which things reach the disk.
TEST_F(CheckpointFaultsTest, EverythingIsOnDiskBeforeItGetsItsNameAndTheNameBeforeAnythingGoes) {
  for (const std::string step : {"2", "1"}) {  // a new one, and one that replaces another
    start_with_step_1();
    const fs::path destination = checkpoints_ / ("step-0000000" + step);
    std::set<std::string> unsaved;  // files and directories changed since they were last forced to disk
    bool named = false;
    for (const std::string& line : save(1, step).calls) {
      std::istringstream words(line);
      std::string number, call, path;
      words >> number >> call >> path;
      if (named && path != destination) {  // where there is nothing to exchange, a rename follows
        EXPECT_EQ(call + " " + path, "fsync " + checkpoints_.string()) << "step " << step;
        break;
      }
      if (call == "fsync") unsaved.erase(path);
      if (call == "write" || call == "pwrite" || call == "ftruncate" || call == "create") unsaved.insert(path);
      if (call != "create" && call != "mkdir" && call != "rename" && call != "exchange") continue;
      if (path == destination) {
        for (const std::string& changed : unsaved) {
          EXPECT_FALSE(changed.starts_with((checkpoints_ / ".tmp-step-").string()))
              << "step " << step << ": " << changed;
        }
        named = true;
      }
      if (call == "rename") unsaved.erase(path);  // under the new name; what it replaced is gone
      unsaved.insert(fs::path(path).parent_path().string());
    }
    EXPECT_TRUE(named) << step;
  }
}

TEST_F(CheckpointFaultsTest, KilledAtEveryWriteFsyncAndRename) {
  start_with_step_1();
  const std::vector<std::string> calls = save(1, "2").calls;
  const auto times = [&](const std::string& call) {
    return std::ranges::count_if(calls, [&](const std::string& line) { return holds(line, " " + call + " "); });
  };
  // What the loop below goes through is really what a save does.
  EXPECT_GE(times("pwrite"), 4);
  EXPECT_GE(times("fsync"), 6);
  EXPECT_GE(times("rename"), 4);  // manifest, its hash, the directory, latest
  EXPECT_GE(times("remove"), 3);

  std::int64_t before = 1;
  int killed = 0;
  for (int at = 1; at <= static_cast<int>(calls.size()); ++at) {
    start_with_step_1();
    const Result result = save(1, "2", "kill", at);
    ASSERT_TRUE(result.killed()) << at << ": " << result.output;
    ++killed;
    const std::int64_t step = newest_step();
    EXPECT_TRUE(step == 1 || step == 2) << calls[static_cast<std::size_t>(at) - 1];
    EXPECT_GE(step, before) << "the new checkpoint was there already, and is no longer: "
                            << calls[static_cast<std::size_t>(at) - 1];
    before = step;
    // `latest` and the earlier checkpoint stay until the new one is durable.
    if (step == 1) {
      EXPECT_EQ(latest(), "step-00000001\n");
    }
    if (latest() == "step-00000002\n") {
      EXPECT_EQ(step, 2);
    }
    if (!fs::exists(checkpoints_ / "step-00000001" / "manifest.json")) {
      EXPECT_EQ(latest(), "step-00000002\n");
    }
    if (at % 5 == 0) {  // the next run goes on and leaves nothing of it behind
      EXPECT_EQ(save(1, "3").status, 0);
      EXPECT_EQ(newest_step(), 3);
      EXPECT_EQ(std::distance(fs::directory_iterator(checkpoints_), fs::directory_iterator()), 2);
    }
  }
  EXPECT_EQ(before, 2);
  EXPECT_EQ(killed, static_cast<int>(calls.size()));
}

TEST_F(CheckpointFaultsTest, KilledWhileTheOnlyCheckpointIsReplaced) {
  for (const std::string action : {"kill", "noexchange"}) {
    start_with_step_1();
    const auto calls = save(1, "1", action).calls.size();
    ASSERT_GT(calls, 10u);
    for (int at = 1; at <= static_cast<int>(calls); ++at) {
      start_with_step_1();
      ASSERT_TRUE(save(1, "1", action, at).killed()) << at;
      EXPECT_EQ(newest_step(), 1) << action << " at " << at;
    }
  }
}

TEST_F(CheckpointFaultsTest, FullDiskAtEveryWriteIsReportedAndKeepsWhatIsThere) {
  start_with_step_1();
  const std::vector<std::string> calls = save(1, "2").calls;
  int failed = 0;
  for (int at = 1; at <= static_cast<int>(calls.size()); ++at) {
    start_with_step_1();
    const Result result = save(1, "2", "ENOSPC", at);
    ASSERT_EQ(result.status, 0) << at << ": " << result.output;
    if (holds(result.output, "step 2: saved")) {
      EXPECT_EQ(newest_step(), 2);
      continue;
    }
    ++failed;
    EXPECT_TRUE(holds(result.output, "No space left on device")) << result.output;
    EXPECT_TRUE(holds(result.output, "step 2: " + checkpoints_.string())) << result.output;
    EXPECT_EQ(newest_step(), 1);
    EXPECT_EQ(latest(), "step-00000001\n");
  }
  EXPECT_GE(failed, 6);
  // Room again: the same process's next save would do, as this one's does.
  EXPECT_EQ(save(1, "3").status, 0);
  EXPECT_EQ(newest_step(), 3);
}

TEST_F(CheckpointFaultsTest, ADiskThatDoesNotKeepWhatItIsGivenIsNoSuccess) {
  start_with_step_1();
  const auto calls = save(1, "2").calls.size();
  for (int at = 1; at <= static_cast<int>(calls); ++at) {
    start_with_step_1();
    const Result result = save(1, "2", "EIO", at);
    ASSERT_EQ(result.status, 0);
    if (!holds(result.output, "step 2: saved")) {
      EXPECT_TRUE(holds(result.output, "cannot force to disk: Input/output error")) << result.output;
      EXPECT_EQ(latest(), "step-00000001\n");
      EXPECT_TRUE(fs::exists(checkpoints_ / "step-00000001" / "manifest.json"));
    }
    EXPECT_GE(newest_step(), 1);
  }
}

TEST_F(CheckpointFaultsTest, FailedSavesAndRemovalsNeverLeaveARunWithoutACheckpoint) {
  for (const std::string action : {"EACCES", "ENOSPC", "EIO"}) {
    start_with_step_1();
    const auto calls = save(1, "2 3").calls.size();
    for (int at = 1; at <= static_cast<int>(calls); at += 5) {
      start_with_step_1();
      const Result result = save(1, "2 3", action, at);
      ASSERT_EQ(result.status, 0) << result.output;
      const std::int64_t step = newest_step();
      EXPECT_GE(step, 1) << action << " at " << at;
      if (holds(result.output, "step 3: saved")) {
        EXPECT_EQ(step, 3);
      }
    }
  }
}

TEST_F(CheckpointFaultsTest, ARenameThatIsDoneAlthoughItSaysOtherwiseIsDone) {
  for (const std::string action : {"lost", "noexchange-lost"}) {
    for (const std::string step : {"2", "1"}) {  // a new one, and one that replaces another
      start_with_step_1();
      const Result result = save(1, step, action, 1);
      EXPECT_TRUE(holds(result.output, "step " + step + ": saved")) << action << ": " << result.output;
      EXPECT_EQ(std::to_string(newest_step()), step) << action;
      EXPECT_EQ(latest(), "step-0000000" + step + "\n") << action;
      EXPECT_EQ(std::distance(fs::directory_iterator(checkpoints_), fs::directory_iterator()), 2)
          << action << ": nothing is left over";
    }
  }
}

TEST_F(CheckpointFaultsTest, ADirectoryThatIsGoneOrCannotBeWrittenIsAClearError) {
  start_with_step_1();
  const Result result = save(1, "2", "EACCES", 1);
  EXPECT_TRUE(holds(result.output, "step 2: " + checkpoints_.string())) << result.output;
  EXPECT_TRUE(holds(result.output, "Permission denied")) << result.output;
  fs::remove_all(checkpoints_);
  overwrite_file(checkpoints_, "in the way");
  EXPECT_TRUE(holds(save(1, "2").output, "step 2: " + checkpoints_.string() + ": cannot create"));
}

}  // namespace
}  // namespace palimpsest
