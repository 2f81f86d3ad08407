#include <cstdlib>
#include <filesystem>
#include <optional>

#include <gtest/gtest.h>

#include "core/comm/agreement.h"
#include "launch/checkpointer.h"
#include "tests/file_damage.h"
#include "tests/mpi/job.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

constexpr int lanes = 12;  // shared out evenly over 1, 2, 3 or 4 ranks

Tensor filled(MemoryPool& pool, Shape shape, double value) {
  Tensor result(pool, shape, DataType::float32);
  fill(result, value);
  return result;
}

StateDictionary parameters(MemoryPool& pool, double value) {
  StateDictionary result;
  for (int i = 0; i < 10; ++i) result.add("layers." + std::to_string(i), filled(pool, Shape{i + 1, 5}, value + i));
  return result;
}

/// The memory of the lanes of this rank, by their global numbers.
StateDictionary memory(MemoryPool& pool, double value, bool read) {
  StateDictionary result;
  const int own = lanes / job().size();
  for (int lane = job().rank() * own; lane < (job().rank() + 1) * own; ++lane) {
    result.add("lane-" + std::to_string(lane) + "/matrix", filled(pool, Shape{2, 2}, read ? 0 : value + lane));
  }
  return result;
}

void save(Checkpointer& checkpointer, std::int64_t step) {
  MemoryPool pool;
  const auto value = static_cast<double>(step);
  StateDictionary replicated, owned;
  replicated.add_all("parameters", parameters(pool, value));
  owned.add_all("memory", memory(pool, value, false));
  checkpointer.save(step, replicated, owned, {{"step", step}}, "config");
}

void expect_content(const Checkpoint& checkpoint, std::int64_t step) {
  MemoryPool pool;
  const auto value = static_cast<double>(step);
  EXPECT_EQ(checkpoint.step(), step);
  EXPECT_EQ(checkpoint.training_state().at("step"), step);
  const StateDictionary read = parameters(pool, -100), expected = parameters(pool, value);
  checkpoint.read_section("parameters", read);
  for (const auto& [name, tensor] : read) EXPECT_EQ(tensor.to_doubles(), expected.at(name).to_doubles()) << name;
  const StateDictionary lanes_read = memory(pool, value, true), lanes_expected = memory(pool, value, false);
  for (auto [name, tensor] : lanes_read) {
    checkpoint.read("memory/" + name, tensor);
    EXPECT_EQ(tensor.to_doubles(), lanes_expected.at(name).to_doubles()) << name;
  }
}

/// A directory that all ranks of the job share.
class SharedDirectory {
 public:
  SharedDirectory() {
    if (job().is_root()) own_.emplace();
    path_ = broadcast_text(job(), own_ ? own_->path().string() : std::string(), 0);
  }
  ~SharedDirectory() { job().barrier(); }
  fs::path operator/(const char* name) const { return path_ / name; }

 private:
  std::optional<TemporaryDirectory> own_;  // rank 0 removes it
  fs::path path_;
};

TEST(MpiCheckpointer, EveryRankWritesItsShare) {
  const SharedDirectory directory;
  Checkpointer checkpointer(directory / "checkpoints", job(), 1);
  EXPECT_FALSE(checkpointer.newest());
  save(checkpointer, 7);
  save(checkpointer, 8);
  const auto found = checkpointer.newest();
  ASSERT_TRUE(found);
  expect_content(*found, 8);
  for (int rank = 0; rank < job().size(); ++rank) {
    EXPECT_TRUE(fs::exists(found->path() / checkpoint_file_name(rank)));
  }
  EXPECT_FALSE(fs::exists(directory / "checkpoints" / "step-00000007"));
}

TEST(MpiCheckpointer, AFailureOfOneRankFailsOnAllAndKeepsTheEarlierCheckpoint) {
  const SharedDirectory directory;
  Checkpointer checkpointer(directory / "checkpoints", job(), 1);
  save(checkpointer, 1);
  const int failing = job().size() - 1;
  MemoryPool pool;
  StateDictionary owned;
  owned.add("memory", filled(pool, Shape{1}, 0));
  if (job().rank() == failing) owned.add("memory/below", filled(pool, Shape{1}, 0));
  const std::string message = message_of<WriteError>([&] { checkpointer.save(2, {}, owned, {}, ""); });
  EXPECT_TRUE(holds(message, "rank " + std::to_string(failing) + " of " + std::to_string(job().size()) + ": "));
  EXPECT_TRUE(holds(message, "'memory/below'")) << message;
  expect_content(checkpointer.newest().value(), 1);
}

TEST(MpiCheckpointer, EntriesOfTwoRanksMayNotClash) {
  const SharedDirectory directory;
  Checkpointer checkpointer(directory / "checkpoints", job(), 1);
  MemoryPool pool;
  StateDictionary owned;
  owned.add("memory/lane-0", filled(pool, Shape{1}, 0));
  const std::string message = message_of<WriteError>([&] { checkpointer.save(2, {}, owned, {}, ""); });
  EXPECT_TRUE(holds(message, "the entry 'memory/lane-0' was written twice")) << message;
  EXPECT_FALSE(checkpointer.newest());
}

TEST(MpiCheckpointer, DamageSeenByOneRankIsDecidedByAll) {
  const SharedDirectory directory;
  Checkpointer checkpointer(directory / "checkpoints", job(), 0);
  save(checkpointer, 1);
  save(checkpointer, 2);
  if (job().is_root()) {
    flip_byte(directory / "checkpoints" / "step-00000002" / checkpoint_file_name(job().size() - 1), 1000);
  }
  job().barrier();
  expect_content(checkpointer.newest().value(), 1);
  // A single reader looks at every file.
  EXPECT_THROW(Checkpoint::open(directory / "checkpoints/step-00000002", *single_process()), FileError);
  job().barrier();
  if (job().is_root()) fs::remove(directory / "checkpoints" / "step-00000001" / "manifest.json");
  job().barrier();
  EXPECT_TRUE(holds(message_of([&] { checkpointer.newest(); }), "none of the 2 checkpoints is whole"));
}

// Two jobs of different sizes; ctest runs the first before the others.
class CheckpointBetweenJobs : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(std::getenv("PALIMPSEST_TEST_DIRECTORY"), nullptr) << "run by ctest";
    directory_ = std::getenv("PALIMPSEST_TEST_DIRECTORY");
  }
  fs::path directory_;
};

TEST_F(CheckpointBetweenJobs, IsWritten) {
  if (job().is_root()) fs::remove_all(directory_);
  job().barrier();
  Checkpointer checkpointer(directory_, job(), 0);
  save(checkpointer, 5);
}

TEST_F(CheckpointBetweenJobs, IsRead) { expect_content(Checkpointer(directory_, job(), 0).newest().value(), 5); }

}  // namespace
}  // namespace palimpsest
