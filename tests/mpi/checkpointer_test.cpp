#include <cstdlib>
#include <filesystem>
#include <optional>

#include <gtest/gtest.h>

#include "core/comm/agreement.h"
#include "launch/checkpoint/checkpointer.h"
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

/// What this rank alone has of a tensor that the ranks hold together: shares of different lengths.
StateDictionary moments(MemoryPool& pool, double value) {
  StateDictionary result;
  const Shape whole{7, lanes};
  const int first = 7 * lanes * job().rank() / job().size(), last = 7 * lanes * (job().rank() + 1) / job().size();
  result.add_slice("moments", whole, first, filled(pool, Shape{last - first}, value));
  for (std::int64_t i = 0; i < last - first; ++i) {
    Tensor tensor = result.at("moments");
    if (value >= 0) tensor.values<float>()[static_cast<std::size_t>(i)] += static_cast<float>(first + i);
  }
  return result;
}

struct State {
  StateDictionary replicated, owned;
};

State state_of(MemoryPool& pool, std::int64_t step) {
  const auto value = static_cast<double>(step);
  State state;
  state.replicated.add_all("parameters", parameters(pool, value));
  state.owned.add_all("memory", memory(pool, value, false));
  state.owned.add_all("optimizer", moments(pool, value));
  return state;
}

Checkpointer checkpointer(const fs::path& directory, std::int64_t keep_last = 0, bool asynchronous = true) {
  return {CheckpointStore(directory, {keep_last, 0}), job(), asynchronous};
}

void save(Checkpointer& checkpointer, std::int64_t step) {
  MemoryPool pool;
  const State state = state_of(pool, step);
  checkpointer.save(step, state.replicated, state.owned, {{"step", step}}, "config");
}

std::optional<Checkpoint> newest(const fs::path& directory) {
  return CheckpointStore(directory).newest(job(), [](const Checkpoint& found) { found.verify(job()); });
}

void expect_content(const Checkpoint& checkpoint, std::int64_t step) {
  MemoryPool pool;
  EXPECT_EQ(checkpoint.step(), step);
  EXPECT_EQ(checkpoint.training_state().at("step"), step);
  StateDictionary read, expected = state_of(pool, step).replicated;
  read.add_all("parameters", parameters(pool, -100));
  read.add_all("memory", memory(pool, 0, true));
  read.add_all("optimizer", moments(pool, -1));
  for (const auto& entry : state_of(pool, step).owned) expected.add(entry);
  checkpoint.load(read, job());
  for (const auto& entry : read) {
    EXPECT_EQ(entry.tensor.to_doubles(), expected.at(entry.name).to_doubles()) << entry.name;
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
  for (const bool asynchronous : {false, true}) {
    const fs::path checkpoints = directory / (asynchronous ? "asynchronous" : "at once");
    Checkpointer writer = checkpointer(checkpoints, 1, asynchronous);
    EXPECT_FALSE(newest(checkpoints));
    save(writer, 7);
    save(writer, 8);
    const auto found = newest(checkpoints);
    ASSERT_TRUE(found);
    expect_content(*found, 8);
    std::uint64_t least = ~std::uint64_t{0}, most = 0;
    ASSERT_EQ(found->files().size(), static_cast<std::size_t>(job().size()));
    for (const auto& file : found->files()) {
      std::uint64_t bytes = 0;
      for (const StoredSlice& slice : file.slices) bytes += slice.bytes();
      least = std::min(least, bytes);
      most = std::max(most, bytes);
    }
    EXPECT_LE(most - least, 16u);
    EXPECT_FALSE(fs::exists(checkpoints / "step-00000007"));
    job().barrier();
  }
}

TEST(MpiCheckpointer, GoesOnBetweenSteps) {
  const SharedDirectory directory;
  Checkpointer writer = checkpointer(directory / "checkpoints");
  MemoryPool pool;
  State state = state_of(pool, 3);
  writer.start(3, state.replicated, state.owned, {{"step", 3}}, "config");
  for (const auto& entry : state.owned) {
    Tensor tensor = entry.tensor;
    fill(tensor, -1);
  }
  std::optional<Checkpointer::Outcome> outcome;
  int polls = 0;
  while (!(outcome = writer.poll())) ++polls;
  EXPECT_GE(polls, 1);  // at one boundary all files are there, at a later one the manifest
  EXPECT_EQ(outcome->error, std::nullopt);
  expect_content(newest(directory / "checkpoints").value(), 3);
}

TEST(MpiCheckpointer, AFailureOfOneRankFailsOnAllAndKeepsTheEarlierCheckpoint) {
  const SharedDirectory directory;
  Checkpointer writer = checkpointer(directory / "checkpoints", 1);
  save(writer, 1);
  const int failing = job().size() - 1;
  MemoryPool pool;
  StateDictionary owned;
  if (job().rank() == failing) {
    owned.add("memory", filled(pool, Shape{1}, 0));
    owned.add("memory/below", filled(pool, Shape{1}, 0));
  }
  const std::string message = message_of<WriteError>([&] { writer.save(2, {}, owned, {}, ""); });
  EXPECT_TRUE(holds(message, "rank " + std::to_string(failing) + " of " + std::to_string(job().size())));
  EXPECT_TRUE(holds(message, "'memory/below'")) << message;
  expect_content(newest(directory / "checkpoints").value(), 1);
  job().barrier();
  EXPECT_FALSE(fs::exists(AtomicDirectory::temporary_for(directory / "checkpoints" / "step-00000002")));
}

TEST(MpiCheckpointer, EntriesOfTwoRanksMayNotClash) {
  const SharedDirectory directory;
  Checkpointer writer = checkpointer(directory / "checkpoints", 1);
  MemoryPool pool;
  StateDictionary owned;
  owned.add("memory/lane-0", filled(pool, Shape{1}, 0));
  const std::string message = message_of<WriteError>([&] { writer.save(2, {}, owned, {}, ""); });
  EXPECT_TRUE(holds(message, "the entry 'memory/lane-0' has elements twice")) << message;
  EXPECT_FALSE(newest(directory / "checkpoints"));
}

TEST(MpiCheckpointer, DamageSeenByOneRankIsDecidedByAll) {
  const SharedDirectory directory;
  const fs::path checkpoints = directory / "checkpoints";
  Checkpointer writer = checkpointer(checkpoints);
  save(writer, 1);
  save(writer, 2);
  if (job().is_root()) flip_byte(checkpoints / "step-00000002" / checkpoint_file_name(job().size() - 1), 1000);
  job().barrier();
  expect_content(newest(checkpoints).value(), 1);
  // A single reader looks at every file.
  const auto alone = single_process();
  EXPECT_THROW(Checkpoint::open(checkpoints / "step-00000002", *alone).verify(*alone), FileError);
  job().barrier();
  if (job().is_root()) fs::remove(checkpoints / "step-00000001" / "manifest.json");
  job().barrier();
  EXPECT_TRUE(holds(message_of([&] { newest(checkpoints); }), "none of the 2 checkpoints is whole"));
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
  Checkpointer writer = checkpointer(directory_);
  save(writer, 5);
}

TEST_F(CheckpointBetweenJobs, IsRead) { expect_content(newest(directory_).value(), 5); }

}  // namespace
}  // namespace palimpsest
