#include <csignal>
#include <sstream>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/io/atomic_directory.h"
#include "launch/checkpointer.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

class CheckpointerTest : public testing::Test {
 protected:
  CheckpointerTest() {
    before_ = spdlog::default_logger();
    spdlog::set_default_logger(
        std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log_)));
  }
  ~CheckpointerTest() override { spdlog::set_default_logger(before_); }

  Tensor tensor(double value, Shape shape = Shape{2, 3}, DataType type = DataType::float32) {
    Tensor result(pool_, shape, type);
    fill(result, value);
    return result;
  }
  Checkpointer checkpointer(std::int64_t keep_last = 0) { return {checkpoints_, *communicator_, keep_last}; }
  fs::path path_of(std::int64_t step) const { return checkpoints_ / checkpoint_directory_name(step); }
  /// Saves a checkpoint whose tensors hold the step's number.
  void save(std::int64_t step, std::int64_t keep_last = 0) {
    StateDictionary replicated, owned;
    replicated.add("parameters/a.weight", tensor(static_cast<double>(step)));
    replicated.add("optimizer/a.weight/variance", tensor(static_cast<double>(step) / 2, Shape{7}, DataType::float64));
    owned.add("memory/lane-00001/layers.0/matrix", tensor(static_cast<double>(step) + 1, Shape{2, 2}));
    const nlohmann::json state = {{"cursor", {{"lane", 3}, {"offset", 1234567890123}}}, {"loss_scale", 0.1}};
    checkpointer(keep_last).save(step, replicated, owned, state, "model:\n  hidden_size: 8\n");
  }
  double first_value(const Checkpoint& checkpoint) {
    Tensor target = tensor(-1);
    checkpoint.read("parameters/a.weight", target);
    return target.to_doubles()[0];
  }
  std::string warnings() const { return log_.str(); }
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const auto& entry : fs::directory_iterator(checkpoints_)) result.push_back(entry.path().filename().string());
    std::sort(result.begin(), result.end());
    return result;
  }

  TemporaryDirectory directory_;
  fs::path checkpoints_ = directory_ / "run" / "checkpoints";
  MemoryPool pool_;
  std::unique_ptr<Communicator> communicator_ = single_process();
  std::ostringstream log_;
  std::shared_ptr<spdlog::logger> before_;
};

TEST_F(CheckpointerTest, WhatWasSavedComesBack) {
  EXPECT_FALSE(checkpointer().newest());
  save(12);
  const auto found = checkpointer().newest();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->step(), 12);
  EXPECT_EQ(found->path(), path_of(12));
  EXPECT_EQ(found->training_state().at("cursor").at("offset"), 1234567890123);
  EXPECT_EQ(found->training_state().at("loss_scale"), 0.1);
  EXPECT_EQ(found->config_yaml(), "model:\n  hidden_size: 8\n");
  ASSERT_EQ(found->entries().size(), 3u);
  EXPECT_EQ(found->entries()[0].name, "memory/lane-00001/layers.0/matrix");
  EXPECT_EQ(found->entries()[1].shape, (Shape{7}));
  EXPECT_EQ(found->entries()[1].type, "float64");
  EXPECT_TRUE(found->contains("parameters/a.weight"));

  Tensor matrix = tensor(0, Shape{2, 2});
  found->read("memory/lane-00001/layers.0/matrix", matrix);
  EXPECT_EQ(matrix.to_doubles(), std::vector<double>(4, 13.0));
  StateDictionary targets;
  targets.add("a.weight/variance", tensor(0, Shape{7}, DataType::float64));
  found->read_section("optimizer", targets);
  EXPECT_EQ(targets.at("a.weight/variance").to_doubles(), std::vector<double>(7, 6.0));
  EXPECT_EQ(names(), (std::vector<std::string>{"latest", "step-00000012"}));
  EXPECT_EQ(file_content(checkpoints_ / "latest"), "step-00000012\n");
  EXPECT_EQ(warnings(), "");
}

TEST_F(CheckpointerTest, TheSameStateGivesTheSameBytes) {
  save(1);
  const std::string file = file_content(path_of(1) / "state-00000.h5");
  const std::string manifest = file_content(path_of(1) / "manifest.json");
  fs::remove_all(checkpoints_);
  save(1);
  EXPECT_EQ(file_content(path_of(1) / "state-00000.h5"), file);
  EXPECT_EQ(file_content(path_of(1) / "manifest.json"), manifest);
}

TEST_F(CheckpointerTest, EntriesHaveToMatchExactly) {
  save(1);
  const Checkpoint found = Checkpoint::open(path_of(1), *communicator_);
  Tensor wrong_shape = tensor(0, Shape{3, 2}), wrong_type = tensor(0, Shape{2, 3}, DataType::float64);
  const std::string file = (path_of(1) / "state-00000.h5").string();
  EXPECT_EQ(message_of([&] { found.read("parameters/a.weight", wrong_shape); }),
            file + ": data set 'parameters/a.weight' has shape (2, 3), expected (3, 2)");
  EXPECT_EQ(message_of([&] { found.read("parameters/a.weight", wrong_type); }),
            file + ": data set 'parameters/a.weight' has elements of type float32, expected float64");
  EXPECT_EQ(message_of([&] { found.read("parameters/b", wrong_shape); }),
            path_of(1).string() + ": has no entry 'parameters/b'");
  StateDictionary none, both;
  EXPECT_EQ(message_of([&] { found.read_section("parameters", none); }),
            path_of(1).string() + ": has an entry 'parameters/a.weight' that is not expected");
  both.add("a.weight", tensor(0));
  both.add("b.weight", tensor(0));
  EXPECT_EQ(message_of([&] { found.read_section("parameters", both); }),
            path_of(1).string() + ": has no entry 'parameters/b.weight'");
}

TEST_F(CheckpointerTest, KeepsTheLastOnes) {
  for (const std::int64_t step : {1, 2, 3, 4}) save(step, 2);
  EXPECT_EQ(names(), (std::vector<std::string>{"latest", "step-00000003", "step-00000004"}));
  save(5, 0);
  EXPECT_EQ(names().size(), 4u);
}

TEST_F(CheckpointerTest, ADamagedLaterOneDoesNotPushOutTheOneJustSaved) {
  save(1, 1);
  save(3, 0);
  flip_byte(path_of(3) / "state-00000.h5", 100);
  save(2, 1);
  EXPECT_EQ(names(), (std::vector<std::string>{"latest", "step-00000002", "step-00000003"}));
  EXPECT_EQ(checkpointer().newest()->step(), 2);
}

TEST_F(CheckpointerTest, AStepSavedAgainIsReplaced) {
  save(1);
  flip_byte(path_of(1) / "state-00000.h5", 100);
  EXPECT_THROW(checkpointer().newest(), FileError);
  save(1);
  EXPECT_EQ(first_value(*checkpointer().newest()), 1);
  EXPECT_EQ(names(), (std::vector<std::string>{"latest", "step-00000001"}));
}

TEST_F(CheckpointerTest, EveryFlippedByteIsNoticed) {
  save(1);
  for (const char* name : {"state-00000.h5", "manifest.json", "manifest.json.xxh128"}) {
    const fs::path path = path_of(1) / name;
    const std::string intact = file_content(path);
    // The name behind the manifest's hash is for xxhsum only.
    const std::size_t size = name == std::string("manifest.json.xxh128") ? 32 : intact.size();
    for (std::size_t offset = 0; offset < size; offset += 1 + size / 50) {
      flip_byte(path, offset);
      const std::string message = message_of([&] { Checkpoint::open(path_of(1), *communicator_); });
      EXPECT_TRUE(holds(message, path_of(1).string())) << message;
      EXPECT_TRUE(holds(message, "damaged: its hash is")) << message;
    }
    overwrite_file(path, intact);
  }
  EXPECT_NO_THROW(Checkpoint::open(path_of(1), *communicator_));
}

TEST_F(CheckpointerTest, PassesOverWhatIsNotWholeAndSaysWhy) {
  for (const std::int64_t step : {1, 2, 3, 4, 5}) save(step);
  const fs::path truncated = path_of(5) / "state-00000.h5";
  const std::uintmax_t size = fs::file_size(truncated);
  fs::resize_file(truncated, size - 1);
  fs::remove(path_of(4) / "manifest.json");
  fs::remove(path_of(3) / "state-00000.h5");
  fs::rename(path_of(2), path_of(6));
  const auto found = checkpointer().newest();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->step(), 1);
  EXPECT_EQ(first_value(*found), 1);
  const std::string sizes = fmt::format("{} bytes, the manifest says {}", size - 1, size);
  EXPECT_TRUE(holds(warnings(), truncated.string() + ": damaged: " + sizes)) << warnings();
  EXPECT_TRUE(holds(warnings(), (path_of(4) / "manifest.json").string() + ": no such file")) << warnings();
  EXPECT_TRUE(holds(warnings(), (path_of(3) / "state-00000.h5").string() + ": no such file")) << warnings();
  EXPECT_TRUE(holds(warnings(), path_of(6).string() + ": is a checkpoint of step 2")) << warnings();
}

TEST_F(CheckpointerTest, NeverStartsAfreshOverDamagedCheckpoints) {
  save(1);
  save(2);
  fs::remove(path_of(1) / "manifest.json");
  flip_byte(path_of(2) / "state-00000.h5", 500);
  const std::string message = message_of([&] { checkpointer().newest(); });
  EXPECT_TRUE(holds(message, checkpoints_.string() + ": none of the 2 checkpoints is whole")) << message;
  EXPECT_TRUE(holds(message, "manifest.json: no such file")) << message;
  EXPECT_TRUE(holds(message, "state-00000.h5: damaged")) << message;
}

TEST_F(CheckpointerTest, AnUnreadableDirectoryIsAnError) {
  fs::create_directories(checkpoints_.parent_path());
  overwrite_file(checkpoints_, "not a directory");
  EXPECT_TRUE(holds(message_of([&] { checkpointer().newest(); }), checkpoints_.string() + ": cannot list"));
}

TEST_F(CheckpointerTest, ManifestsOfAnotherKindAreRefused) {
  save(1);
  const fs::path path = path_of(1) / "manifest.json";
  const std::string intact = file_content(path);
  const auto message_with = [&](const std::string& from, const std::string& to) {
    std::string changed = intact;
    changed.replace(changed.find(from), from.size(), to);
    return message_of([&] { CheckpointManifest::from_text(changed, path); });
  };
  EXPECT_TRUE(holds(message_with("\"version\": 1", "\"version\": 2"), "'version' is 2, this program reads 1"));
  EXPECT_TRUE(holds(message_with("\"step\": 1", "\"step\": -1"), "'step' is -1, expected a non-negative integer"));
  EXPECT_TRUE(holds(message_with("palimpsest checkpoint", "checkpoint"), "'format' is 'checkpoint'"));
  EXPECT_TRUE(holds(message_with("state-00000.h5", "../../secrets"), "file '../../secrets' is listed where"));
  EXPECT_TRUE(holds(message_with("\"training_state\"", "\"trained_state\""), "training_state"));
  EXPECT_TRUE(holds(message_with("{", "["), path.string() + ": not JSON at byte"));
}

TEST_F(CheckpointerTest, AFailedSaveLeavesEverythingAsItWas) {
  save(1);
  StateDictionary clashing;
  clashing.add("memory", tensor(0));
  clashing.add("memory/lane", tensor(0));  // below a data set
  const std::string message = message_of<WriteError>([&] { checkpointer().save(2, {}, clashing, {}, ""); });
  EXPECT_TRUE(holds(message, "'memory/lane'")) << message;
  StateDictionary one;
  one.add("memory", tensor(0));
  EXPECT_TRUE(holds(message_of<WriteError>([&] { checkpointer().save(2, one, one, {}, ""); }), "'memory'"));
  EXPECT_EQ(names(), (std::vector<std::string>{"latest", "step-00000001"}));
  EXPECT_EQ(checkpointer().newest()->step(), 1);
}

TEST_F(CheckpointerTest, AProcessKilledWhileSavingLeavesTheEarlierCheckpoint) {
  save(1);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    // The signal for a file that grows beyond the limit ends the process in the middle of a write.
    std::signal(SIGXFSZ, SIG_DFL);
    const rlimit limit{200'000, 200'000}, no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    setrlimit(RLIMIT_FSIZE, &limit);
    StateDictionary large;
    large.add("parameters/a.weight", tensor(2, Shape{1000, 1000}));
    checkpointer().save(2, large, {}, {}, "");
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));

  const fs::path left = AtomicDirectory::temporary_for(path_of(2));
  ASSERT_TRUE(fs::exists(left));
  EXPECT_EQ(checkpointer().newest()->step(), 1);
  EXPECT_TRUE(holds(warnings(), left.string() + ": left by an interrupted save, ignored"));
  save(3);
  EXPECT_EQ(names(), (std::vector<std::string>{"latest", "step-00000001", "step-00000003"}));
}

TEST_F(CheckpointerTest, NamesOfDirectories) {
  EXPECT_EQ(checkpoint_directory_name(1234), "step-00001234");
  for (const std::int64_t step : {0L, 99'999'999L, 100'000'000L}) {
    EXPECT_EQ(checkpoint_step(checkpoint_directory_name(step)), step);
  }
  for (const char* name : {"latest", "step-", "step-1234", "step-0000123x", ".tmp-step-00001234", "step--0001234"}) {
    EXPECT_EQ(checkpoint_step(name), -1) << name;
  }
}

TEST_F(CheckpointerTest, EntriesAreSpreadEvenlyByBytes) {
  StateDictionary state;
  for (int i = 0; i < 20; ++i) state.add(std::to_string(i), tensor(0, Shape{10 + i % 7}));
  const std::vector<int> writers = assign_entries(state, 3);
  std::vector<std::size_t> bytes(3);
  for (std::size_t i = 0; i < writers.size(); ++i) {
    bytes.at(static_cast<std::size_t>(writers[i])) += state.entries()[i].tensor.bytes();
  }
  const auto [least, most] = std::minmax_element(bytes.begin(), bytes.end());
  EXPECT_LE(*most - *least, 16u * 4);
  EXPECT_EQ(assign_entries(state, 3), writers);
  EXPECT_EQ(assign_entries(state, 1), std::vector<int>(20, 0));
}

}  // namespace
}  // namespace palimpsest
