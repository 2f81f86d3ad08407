// Saving, choosing, keeping and reading checkpoints in one process; tests/mpi has several ranks,
// checkpoint_faults_test.cpp interrupted and failing saves.
#include <array>
#include <map>
#include <sstream>

#include <sys/stat.h>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include "core/io/atomic_directory.h"
#include "launch/checkpoint/checkpointer.h"
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
  CheckpointStore store(std::int64_t keep_last = 0, std::int64_t keep_every = 0) const {
    return CheckpointStore(checkpoints_, {keep_last, keep_every});
  }
  /// The newest whole checkpoint, with everything verified.
  std::optional<Checkpoint> newest() {
    return store().newest(*communicator_, [&](const Checkpoint& found) { found.verify(*communicator_); });
  }
  fs::path path_of(std::int64_t step) const { return checkpoints_ / checkpoint_directory_name(step); }
  /// Saves a checkpoint whose tensors hold the step's number.
  Checkpointer::Outcome save(std::int64_t step, std::int64_t keep_last = 0, std::int64_t keep_every = 0,
                             bool asynchronous = true) {
    StateDictionary replicated, owned;
    replicated.add("parameters/a.weight", tensor(static_cast<double>(step)));
    replicated.add("optimizer/a.weight/variance", tensor(static_cast<double>(step) / 2, Shape{7}, DataType::float64));
    owned.add("memory/lane-00001/layers.0/matrix", tensor(static_cast<double>(step) + 1, Shape{2, 2}));
    const nlohmann::json state = {{"cursor", {{"lane", 3}, {"offset", 1234567890123}}}, {"loss_scale", 0.1}};
    return Checkpointer(store(keep_last, keep_every), *communicator_, asynchronous)
        .save(step, replicated, owned, state, "model:\n  hidden_size: 8\n");
  }
  void save_whole(const StateDictionary& replicated) {
    Checkpointer(store(), *communicator_, /*asynchronous=*/false).save(1, replicated, {}, {}, "");
  }
  double first_value(const Checkpoint& checkpoint) {
    StateDictionary target;
    target.add("parameters/a.weight", tensor(-1));
    checkpoint.load(target, *communicator_);
    return target.at("parameters/a.weight").to_doubles()[0];
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
  for (const bool asynchronous : {false, true}) {
    fs::remove_all(checkpoints_);
    EXPECT_FALSE(newest());
    save(12, 0, 0, asynchronous);
    const auto found = newest();
    ASSERT_TRUE(found);
    EXPECT_EQ(found->step(), 12);
    EXPECT_EQ(found->path(), path_of(12));
    EXPECT_EQ(found->training_state().at("cursor").at("offset"), 1234567890123);
    EXPECT_EQ(found->training_state().at("loss_scale"), 0.1);
    EXPECT_EQ(found->config_yaml(), "model:\n  hidden_size: 8\n");
    ASSERT_EQ(found->entries().size(), 3u);
    EXPECT_EQ(found->entries().at("optimizer/a.weight/variance").shape, (Shape{7}));
    EXPECT_EQ(found->entries().at("optimizer/a.weight/variance").type, DataType::float64);

    StateDictionary targets;
    targets.add("memory/lane-00001/layers.0/matrix", tensor(0, Shape{2, 2}));
    targets.add("optimizer/a.weight/variance", tensor(0, Shape{7}, DataType::float64));
    found->load(targets, *communicator_);
    EXPECT_EQ(targets.at("memory/lane-00001/layers.0/matrix").to_doubles(), std::vector<double>(4, 13.0));
    EXPECT_EQ(targets.at("optimizer/a.weight/variance").to_doubles(), std::vector<double>(7, 6.0));
    EXPECT_EQ(names(), (std::vector<std::string>{"latest", "step-00000012"}));
    EXPECT_EQ(file_content(checkpoints_ / "latest"), "step-00000012\n");
    EXPECT_EQ(warnings(), "");
  }
}

TEST_F(CheckpointerTest, TensorsMayChangeOnceAnAsynchronousSaveHasBegun) {
  Tensor changing = tensor(1);
  StateDictionary state;
  state.add("parameters/a.weight", changing);
  Checkpointer checkpointer(store(), *communicator_, /*asynchronous=*/true);
  EXPECT_FALSE(checkpointer.poll());
  checkpointer.start(1, state, {}, {}, "");
  fill(changing, 2);
  EXPECT_TRUE(checkpointer.busy());
  EXPECT_THROW(checkpointer.start(2, state, {}, {}, ""), WriteError);
  const auto outcome = checkpointer.finish();
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->step, 1);
  EXPECT_EQ(outcome->error, std::nullopt);
  EXPECT_FALSE(checkpointer.busy());
  EXPECT_FALSE(checkpointer.finish());
  EXPECT_EQ(first_value(*newest()), 1);
}

TEST_F(CheckpointerTest, PollReportsTheEndOfASave) {
  StateDictionary state;
  state.add("parameters/a.weight", tensor(1));
  Checkpointer checkpointer(store(), *communicator_, /*asynchronous=*/true);
  checkpointer.start(1, state, {}, {}, "");
  std::optional<Checkpointer::Outcome> outcome;
  while (!outcome) outcome = checkpointer.poll();
  EXPECT_EQ(outcome->step, 1);
  EXPECT_TRUE(newest());

  fs::remove_all(checkpoints_);
  overwrite_file(checkpoints_, "not a directory");
  checkpointer.start(2, state, {}, {}, "");
  while (!(outcome = checkpointer.poll())) {
  }
  EXPECT_TRUE(holds(outcome->error.value_or(""), checkpoints_.string())) << outcome->error.value_or("");
}

TEST_F(CheckpointerTest, SharesOfATensorAreReadInAnyOther) {
  Tensor values = Tensor::from_values(pool_, Shape{2, 3}, DataType::float32, std::vector<double>{0, 1, 2, 3, 4, 5});
  StateDictionary replicated;
  replicated.add("optimizer/a", values);
  save_whole(replicated);
  for (std::int64_t first = 0; first <= 6; ++first) {
    for (std::int64_t last = first; last <= 6; ++last) {
      StateDictionary target;
      target.add_slice("optimizer/a", Shape{2, 3}, first, tensor(-1, Shape{last - first}));
      newest()->load(target, *communicator_);
      std::vector<double> expected;
      for (std::int64_t i = first; i < last; ++i) expected.push_back(static_cast<double>(i));
      EXPECT_EQ(target.at("optimizer/a").to_doubles(), expected);
    }
  }
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
  const auto message_for = [&](const std::string& name, Tensor target) {
    StateDictionary targets;
    targets.add(name, std::move(target));
    return message_of([&] { found.load(targets, *communicator_); });
  };
  const std::string start = path_of(1).string() + ": ";
  EXPECT_EQ(message_for("parameters/a.weight", tensor(0, Shape{3, 2})),
            start + "entry 'parameters/a.weight' is float32 (2, 3), expected float32 (3, 2)");
  EXPECT_EQ(message_for("parameters/a.weight", tensor(0, Shape{2, 3}, DataType::float64)),
            start + "entry 'parameters/a.weight' is float32 (2, 3), expected float64 (2, 3)");
  EXPECT_EQ(message_for("parameters/b", tensor(0)), start + "has no entry 'parameters/b'");
  EXPECT_EQ(message_of([&] { found.require_section("parameters", {}); }),
            start + "has an entry 'parameters/a.weight' that is not expected");
  EXPECT_EQ(message_of([&] {
              found.require_section("parameters", {"a.weight", "b.weight"});
            }),
            start + "has no entry 'parameters/b.weight'");
  EXPECT_NO_THROW(found.require_section("parameters", {"a.weight"}));
}

TEST_F(CheckpointerTest, KeepsTheLastOnes) {
  for (const std::int64_t step : {1, 2, 3, 4}) save(step, 2);
  EXPECT_EQ(names(), (std::vector<std::string>{"latest", "step-00000003", "step-00000004"}));
  save(5, 0);
  EXPECT_EQ(names().size(), 4u);
}

TEST_F(CheckpointerTest, KeepsEverySoManiethForEver) {
  for (const std::int64_t step : {2, 3, 4, 5, 6, 7}) save(step, 1, 3);
  EXPECT_EQ(names(), (std::vector<std::string>{"latest", "step-00000003", "step-00000006", "step-00000007"}));
}

TEST_F(CheckpointerTest, WhatCannotBeRemovedIsReportedAndDoesNotFailTheSave) {
  save(1);
  // A directory that a rename cannot replace, as an unprivileged user's would be.
  fs::create_directories(AtomicDirectory::temporary_for(path_of(1)).string() + "/x");
  fs::remove(checkpoints_ / "latest");
  fs::create_directories(checkpoints_ / "latest" / "in the way");
  const auto outcome = save(2, 1);
  EXPECT_EQ(outcome.step, 2);
  ASSERT_EQ(outcome.warnings.size(), 1u);
  EXPECT_TRUE(holds(outcome.warnings[0], (checkpoints_ / "latest").string())) << outcome.warnings[0];
  EXPECT_EQ(newest()->step(), 2);
}

TEST_F(CheckpointerTest, ADamagedLaterOneDoesNotPushOutTheOneJustSaved) {
  save(1, 1);
  save(3, 0);
  flip_byte(path_of(3) / "state-00000.h5", 100);
  save(2, 1);
  EXPECT_EQ(names(), (std::vector<std::string>{"latest", "step-00000002", "step-00000003"}));
  EXPECT_EQ(newest()->step(), 2);
}

TEST_F(CheckpointerTest, AStepSavedAgainIsReplaced) {
  save(1);
  flip_byte(path_of(1) / "state-00000.h5", 100);
  EXPECT_THROW(newest(), FileError);
  save(1);
  EXPECT_EQ(first_value(*newest()), 1);
  EXPECT_EQ(names(), (std::vector<std::string>{"latest", "step-00000001"}));
}

TEST_F(CheckpointerTest, EveryFlippedByteIsNoticed) {
  save(1);
  for (const char* name : {"state-00000.h5", "manifest.json", "manifest.json.xxh128"}) {
    const fs::path path = path_of(1) / name;
    const std::string intact = file_content(path);
    // The name behind the manifest's hash is for xxhsum only.
    const std::size_t size = name == std::string("manifest.json.xxh128") ? 32 : intact.size();
    for (std::size_t offset = 0; offset < size; offset += 1 + size / 200) {
      flip_byte(path, offset);
      const std::string message =
          message_of([&] { Checkpoint::open(path_of(1), *communicator_).verify(*communicator_); });
      EXPECT_TRUE(holds(message, path_of(1).string())) << message;
      EXPECT_TRUE(holds(message, "damaged: its hash is")) << message;
    }
    overwrite_file(path, intact);
  }
  EXPECT_NO_THROW(Checkpoint::open(path_of(1), *communicator_).verify(*communicator_));
}

TEST_F(CheckpointerTest, PassesOverWhatIsNotWholeAndSaysWhy) {
  for (const std::int64_t step : {1, 2, 3, 4, 5}) save(step);
  const fs::path truncated = path_of(5) / "state-00000.h5";
  const std::uintmax_t size = fs::file_size(truncated);
  fs::resize_file(truncated, size - 1);
  fs::remove(path_of(4) / "manifest.json");
  fs::remove(path_of(3) / "state-00000.h5");
  fs::rename(path_of(2), path_of(6));
  const auto found = newest();
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
  const std::string message = message_of([&] { newest(); });
  EXPECT_TRUE(holds(message, checkpoints_.string() + ": none of the 2 checkpoints is whole")) << message;
  EXPECT_TRUE(holds(message, "manifest.json: no such file")) << message;
  EXPECT_TRUE(holds(message, "state-00000.h5: damaged")) << message;
}

TEST_F(CheckpointerTest, AnUnreadableDirectoryIsAnError) {
  fs::create_directories(checkpoints_.parent_path());
  overwrite_file(checkpoints_, "not a directory");
  EXPECT_TRUE(holds(message_of([&] { newest(); }), checkpoints_.string() + ": cannot list"));
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
  EXPECT_TRUE(holds(message_with("\"version\": 2", "\"version\": 1"), "'version' is 1, this program reads 2"));
  EXPECT_TRUE(holds(message_with("\"step\": 1", "\"step\": -1"), "'step' is -1, expected a non-negative integer"));
  EXPECT_TRUE(holds(message_with("palimpsest checkpoint", "checkpoint"), "'format' is 'checkpoint'"));
  EXPECT_TRUE(holds(message_with("state-00000.h5", "../../secrets"), "file '../../secrets' is listed where"));
  EXPECT_TRUE(holds(message_with("\"offset\": ", "\"offset\": 9"), "not a part of file 'state-00000.h5'"));
  EXPECT_TRUE(holds(message_with("\"end\": ", "\"end\": 9"), "not a part of file 'state-00000.h5'"));
  EXPECT_TRUE(holds(message_with("\"type\": \"float32", "\"type\": \"int"), "'type' is 'int'"));
  EXPECT_TRUE(holds(message_with("\"training_state\"", "\"trained_state\""), "training_state"));
  EXPECT_TRUE(holds(message_with("{", "["), path.string() + ": not JSON at byte"));
}

TEST_F(CheckpointerTest, SlicesHaveToMakeUpTheirEntry) {
  const auto message_for = [](const std::vector<std::array<std::int64_t, 2>>& slices, DataType last) {
    CheckpointManifest manifest;
    for (const auto& [begin, end] : slices) {
      CheckpointManifest::File& file = manifest.files.emplace_back();
      StoredSlice& slice = file.slices.emplace_back();
      slice.name.push_back('a');
      slice.shape = Shape{2, 3};
      slice.begin = begin;
      slice.end = end;
    }
    manifest.files.back().slices.back().type = last;
    return message_of([&] { entries_of(manifest, "here"); });
  };
  const DataType same = DataType::float32;
  EXPECT_EQ(message_for({{0, 3}, {4, 6}}, same), "here: the entry 'a' lacks elements 3 to 4");
  EXPECT_EQ(message_for({{1, 6}}, same), "here: the entry 'a' lacks elements 0 to 1");
  EXPECT_EQ(message_for({{3, 5}, {0, 3}}, same), "here: the entry 'a' lacks elements 5 to 6");
  EXPECT_EQ(message_for({{0, 4}, {3, 6}}, same), "here: the entry 'a' has elements twice, from 3 on");
  EXPECT_EQ(message_for({{0, 6}, {0, 6}}, same), "here: the entry 'a' has elements twice, from 0 on");
  EXPECT_EQ(message_for({{0, 3}, {3, 6}}, DataType::float64),
            "here: the entry 'a' is float32 (2, 3) in one file and float64 (2, 3) in another");
}

TEST_F(CheckpointerTest, AFailedSaveLeavesEverythingAsItWas) {
  save(1, 1);
  StateDictionary clashing;
  clashing.add("memory", tensor(0));
  clashing.add("memory/lane", tensor(0));  // below a data set
  Checkpointer checkpointer(store(1), *communicator_, /*asynchronous=*/true);
  const std::string message = message_of<WriteError>([&] { checkpointer.save(2, {}, clashing, {}, ""); });
  EXPECT_TRUE(holds(message, "'memory/lane'")) << message;
  EXPECT_EQ(names(), (std::vector<std::string>{"latest", "step-00000001"}));
  EXPECT_EQ(newest()->step(), 1);
}

TEST_F(CheckpointerTest, CheckpointsThatWereThereAndAreGoneAreAnError) {
  save(1);
  fs::remove_all(path_of(1));
  const std::string message = message_of([&] { newest(); });
  EXPECT_TRUE(holds(message, (checkpoints_ / "latest").string() + ": says that there was a checkpoint")) << message;
}

TEST_F(CheckpointerTest, OneThatWasJustBeingReplacedIsFound) {
  // What a crash leaves in the middle of `commit` on a file system without an exchange of names.
  save(1);
  fs::rename(path_of(1), path_of(1).string() + ".replaced");
  EXPECT_EQ(first_value(newest().value()), 1);
  EXPECT_EQ(store().steps(), std::vector<std::int64_t>{1});
  save(1);
  EXPECT_EQ(names(), (std::vector<std::string>{"latest", "step-00000001"}));
}

TEST_F(CheckpointerTest, ACheckpointHasTheRightsOfTheUsersMask) {
  const mode_t before = umask(027);
  save(1);
  umask(before);
  const auto rights = [&](const char* name) { return fs::status(path_of(1) / name).permissions(); };
  EXPECT_EQ(rights(""), static_cast<fs::perms>(0750));
  for (const char* name : {"state-00000.h5", "manifest.json", "manifest.json.xxh128"}) {
    EXPECT_EQ(rights(name), static_cast<fs::perms>(0640)) << name;
  }
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

TEST_F(CheckpointerTest, BytesAreSharedEvenlyWhateverEachOwns) {
  StateDictionary state;
  for (int i = 0; i < 20; ++i) state.add(std::to_string(i), tensor(i, Shape{10 + i % 7, 3}));
  state.add("empty", tensor(0, Shape{0}));
  state.add("double", tensor(0, Shape{11}, DataType::float64));
  for (const std::vector<std::uint64_t>& owned : std::vector<std::vector<std::uint64_t>>{
           {0}, {0, 0, 0}, {500, 0, 100, 800}, {100'000, 10, 0}, {7, 100'000, 100'000}}) {
    const int ranks = static_cast<int>(owned.size());
    std::map<std::string, std::int64_t> elements;
    std::uint64_t least_above = ~std::uint64_t{0}, most = 0, total = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      const StateDictionary share = share_of(state, owned, rank);
      for (const auto& entry : share) {
        EXPECT_EQ(entry.begin, elements[entry.name]) << entry.name;  // in the order of the ranks, without holes
        elements[entry.name] = entry.end();
      }
      total += share.bytes();
      if (share.bytes() == 0) continue;
      most = std::max(most, share.bytes() + owned[static_cast<std::size_t>(rank)]);
      least_above = std::min(least_above, share.bytes() + owned[static_cast<std::size_t>(rank)]);
    }
    EXPECT_EQ(total, state.bytes());
    EXPECT_LE(most - least_above, 16u);
    ASSERT_EQ(elements.size(), state.size());
    for (const auto& entry : state) EXPECT_EQ(elements[entry.name], entry.tensor.elements()) << entry.name;
  }
}

}  // namespace
}  // namespace palimpsest
