// The state of a run that is not tensors: through a checkpoint and back, and what is wrong with a bad one.
#include "launch/training/training_state.h"

#include <gtest/gtest.h>

#include <regex>
#include <string>

#include "configs/yaml.h"
#include "core/error.h"
#include "launch/checkpoint/checkpointer.h"
#include "launch/training/saved_model.h"
#include "tests/file_damage.h"
#include "tests/launch/tiny_model.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

class TrainingStateTest : public testing::Test {
 protected:
  Checkpoint save(const nlohmann::json& state, const StateDictionary& owned = {}) {
    Checkpointer checkpointer(CheckpointStore(directory_ / "checkpoints"), *communicator_, /*asynchronous=*/false);
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
    state.instruction_set = "avx2";
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
  checkpoint.load(memory_entries(read, 1), *communicator_);  // lanes 1 to 3
  set_memory_documents(training_state_of(checkpoint), checkpoint.path(), 1, read);
  EXPECT_EQ(read[0].documents, (std::vector<std::int64_t>{1, 2, 3}));
  for (std::int64_t lane = 0; lane < 3; ++lane) {
    EXPECT_EQ(read[0].layers[1].matrix.rows(lane, lane + 1).to_doubles().back(), 11.0 + static_cast<double>(lane));
    EXPECT_EQ(read[0].layers[1].norm.rows(lane, lane + 1).to_doubles().front(), 21.0 + static_cast<double>(lane));
    EXPECT_EQ(read[0].layers[0].norm.rows(lane, lane + 1).to_doubles().front(), 0.0);
  }
  EXPECT_THROW(checkpoint.load(memory_entries(read, 2), *communicator_), FileError);
  EXPECT_THROW(set_memory_documents(training_state_of(checkpoint), checkpoint.path(), 2, read), FileError);
}

TEST_F(TrainingStateTest, ModelIsFoundByItsCheckpointItsRunDirectoryAndItsStep) {
  const std::unique_ptr<LanguageModel> model = tiny_model(pool_);
  RunConfig config;
  config.model = tiny_config();
  config.model.attention.memory_update = MemoryUpdate::delta;
  TrainingState state = example();
  state.tokenizer_identity = ByteTokenizer().identity();
  state.tokenizer_model.clear();
  Checkpointer checkpointer(CheckpointStore(directory_ / "checkpoints"), *communicator_, /*asynchronous=*/false);
  for (const std::int64_t step : {3, 5}) {
    StateDictionary parameters;
    for (const Parameter& parameter : model->parameters()) {
      parameters.add("parameters/" + parameter.name, parameter.master);
    }
    state.step = step;
    std::string yaml = to_yaml(config);
    if (step == 3) {  // as programs wrote it that knew one kind of attention
      yaml = std::regex_replace(yaml, std::regex("  attention:\n    kind: infini\n"), "");
      yaml = std::regex_replace(yaml, std::regex("\n    "), "\n  ");
    }
    checkpointer.save(step, parameters, {}, to_json(state), yaml);
  }
  const auto path_of = [&](std::int64_t step) { return directory_ / "checkpoints" / checkpoint_directory_name(step); };
  const auto found = [&](const std::filesystem::path& path, std::int64_t step) {
    return open_model(path, step, *communicator_, pool_).path();
  };
  EXPECT_EQ(found(path_of(3), 0), path_of(3));
  EXPECT_EQ(found(directory_.path(), 0), path_of(5));
  EXPECT_EQ(found(directory_.path(), 3), path_of(3));
  const SavedModel saved = open_model(directory_.path(), 3, *communicator_, pool_);
  EXPECT_EQ(run_directory_of(*saved.checkpoint), directory_.path());
  EXPECT_EQ(saved.state.step, 3);
  EXPECT_TRUE(saved.config.model == config.model);
  EXPECT_EQ(saved.model->parameters().begin()->master.to_doubles(), model->parameters().begin()->master.to_doubles());

  EXPECT_TRUE(holds(message_of([&] { found(directory_.path(), 4); }),
                    "there is no checkpoint of step 4; there are those of 3, 5"));
  EXPECT_TRUE(holds(message_of([&] { found(path_of(3), 5); }), "is the checkpoint of step 3, asked for was step 5"));
  EXPECT_THROW(found(directory_ / "nothing", 0), FileError);
  EXPECT_THROW(found(path_of(3).parent_path(), 0), FileError);
  // The one that was asked for, or none; the newest that is whole where none was.
  flip_byte(path_of(5) / "state-00000.h5", 3000);
  EXPECT_TRUE(holds(message_of([&] { found(directory_.path(), 5); }), "damaged: its hash is"));
  EXPECT_EQ(found(directory_.path(), 0), path_of(3));
}

}  // namespace
}  // namespace palimpsest
