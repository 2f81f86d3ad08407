// Saving, replacing and keeping checkpoints in one process; checkpoint_store_test.cpp has finding and reading them,
// checkpoint_faults_test.cpp interrupted and failing saves, tests/mpi several ranks.
#include <map>

#include <sys/stat.h>

#include "core/io/atomic_directory.h"
#include "tests/launch/checkpoint/checkpoint_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

class CheckpointerTest : public CheckpointDirectoryTest {};

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

TEST_F(CheckpointerTest, TheSameStateGivesTheSameBytes) {
  save(1);
  const std::string file = file_content(path_of(1) / "state-00000.h5");
  const std::string manifest = file_content(path_of(1) / "manifest.json");
  fs::remove_all(checkpoints_);
  save(1);
  EXPECT_EQ(file_content(path_of(1) / "state-00000.h5"), file);
  EXPECT_EQ(file_content(path_of(1) / "manifest.json"), manifest);
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
