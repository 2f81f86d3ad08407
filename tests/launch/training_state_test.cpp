// The state of a run that is not tensors: through a checkpoint and back, and what is wrong with a bad one.
#include "launch/training_state.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "launch/checkpointer.h"
#include "launch/saved_model.h"
#include "tests/launch/tiny_model.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

class TrainingStateTest : public testing::Test {
 protected:
  Checkpoint save(const nlohmann::json& state, const StateDictionary& owned = {}) {
    Checkpointer checkpointer(directory_ / "checkpoints", *communicator_, 0);
    checkpointer.save(3, {}, owned, state, "");
    return Checkpoint::open(directory_ / "checkpoints" / "step-00000003", *communicator_);
  }

  TrainingState example() {
    TrainingState state;
    state.step = 3;
    state.optimizer_step = 2;
    state.tokens = 1'000'000'000'000;
    state.skipped_steps = 1;
    state.cursor = {3, "checksum", 7, 4, 16};
    state.memory_documents = {5, -1, 9, 2};
    state.tokenizer_identity = "sentencepiece:hash";
    state.tokenizer_model = std::string("\0\xff\x10 model", 9);
    state.ranks = 2;
    state.threads = 8;
    return state;
  }

  TemporaryDirectory directory_;
  MemoryPool pool_;
  std::unique_ptr<Communicator> communicator_ = single_process();
};

TEST_F(TrainingStateTest, ComesBackWhole) {
  const TrainingState state = example();
  const TrainingState read = training_state_of(save(to_json(state)));
  EXPECT_EQ(to_json(read), to_json(state));
  EXPECT_EQ(read.tokenizer_model, state.tokenizer_model);
  EXPECT_EQ(read.cursor, state.cursor);
}

TEST_F(TrainingStateTest, NamesWhatIsMissing) {
  nlohmann::json json = to_json(example());
  json.erase("tokens");
  try {
    training_state_of(save(json));
    FAIL() << "expected an error";
  } catch (const FileError& error) {
    EXPECT_NE(std::string(error.what()).find("tokens"), std::string::npos);
    EXPECT_TRUE(std::string(error.what()).starts_with((directory_ / "checkpoints").string()));
  }
}

TEST_F(TrainingStateTest, MemoryOfEveryLaneComesBackForAnotherSharingOfLanes) {
  const ModelConfig config = tiny_config();
  std::vector<MemoryState> written;
  for (int i = 0; i < 2; ++i) {  // two micro batches of two lanes
    written.push_back(empty_memory(pool_, config, 2, DataType::float32));
    for (std::int64_t lane = 0; lane < 2; ++lane) {
      Tensor matrix = written.back().layers[1].matrix.rows(lane, lane + 1);
      Tensor norm = written.back().layers[1].norm.rows(lane, lane + 1);
      fill(matrix, 10.0 + 2 * i + static_cast<double>(lane));
      fill(norm, 20.0 + 2 * i + static_cast<double>(lane));
      written.back().documents[static_cast<std::size_t>(lane)] = 2 * i + lane;
    }
  }
  TrainingState state = example();
  state.memory_documents = gather_memory_documents(written, *communicator_);
  EXPECT_EQ(state.memory_documents, (std::vector<std::int64_t>{0, 1, 2, 3}));
  const Checkpoint checkpoint = save(to_json(state), memory_entries(written, 0));

  std::vector<MemoryState> read = {empty_memory(pool_, config, 3, DataType::float32)};
  read_memory(checkpoint, training_state_of(checkpoint), 1, read);  // lanes 1 to 3
  EXPECT_EQ(read[0].documents, (std::vector<std::int64_t>{1, 2, 3}));
  for (std::int64_t lane = 0; lane < 3; ++lane) {
    EXPECT_EQ(read[0].layers[1].matrix.rows(lane, lane + 1).to_doubles().back(), 11.0 + static_cast<double>(lane));
    EXPECT_EQ(read[0].layers[1].norm.rows(lane, lane + 1).to_doubles().front(), 21.0 + static_cast<double>(lane));
    EXPECT_EQ(read[0].layers[0].norm.rows(lane, lane + 1).to_doubles().front(), 0.0);
  }
  EXPECT_THROW(read_memory(checkpoint, training_state_of(checkpoint), 2, read), FileError);
}

TEST_F(TrainingStateTest, CheckpointIsFoundByItsOwnPathOrItsRunDirectory) {
  save(to_json(example()));
  const auto own = directory_ / "checkpoints" / "step-00000003";
  EXPECT_EQ(open_checkpoint(own, *communicator_).path(), own);
  EXPECT_EQ(open_checkpoint(directory_.path(), *communicator_).path(), own);
  EXPECT_EQ(run_directory_of(open_checkpoint(own, *communicator_)), directory_.path());
  EXPECT_THROW(open_checkpoint(directory_ / "nothing", *communicator_), FileError);
  EXPECT_THROW(open_checkpoint(own.parent_path(), *communicator_), FileError);
}

}  // namespace
}  // namespace palimpsest
