// A trained model read back from a checkpoint, and what is wrong with a bad one.
#include "launch/training/saved_model.h"

#include <gtest/gtest.h>

#include <regex>
#include <string>

#include "configs/yaml.h"
#include "core/error.h"
#include "data/stream/segment_stream.h"
#include "launch/checkpoint/checkpointer.h"
#include "tests/file_damage.h"
#include "tests/launch/tiny_model.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

class SavedModelTest : public testing::Test {
 protected:
  SavedModelTest() {
    config_.model = tiny_config();
    config_.model.attention.memory_update = MemoryUpdate::delta;
  }

  /// The state of every component that is read.
  static nlohmann::json state(std::int64_t step) {
    return {
        {"progress", {{"step", step}, {"tokens", 1'000'000'000'000}, {"skipped_steps", 1}, {"consecutive_skips", 0}}},
        {"parameters", nlohmann::json::object()},
        {"optimizer", {{"step", 2}}},
        {"state", {{"documents", {5, -1, 9, 2}}}},
        {"cursor", to_json(StreamCursor{3, "checksum", 7, 4, 16})},
        {"tokenizer", {{"identity", ByteTokenizer().identity()}, {"model", ""}}},
        {"origin", {{"ranks", 2}, {"threads", 8}, {"instruction_set", "avx2"}}}};
  }

  void save(std::int64_t step, const nlohmann::json& state, const std::string& yaml) {
    StateDictionary parameters;
    for (const Parameter& parameter : model_->parameters()) {
      parameters.add("parameters/" + parameter.name, parameter.master);
    }
    Checkpointer checkpointer(CheckpointStore(directory_ / "checkpoints"), *communicator_, /*asynchronous=*/false);
    checkpointer.save(step, parameters, {}, state, yaml);
  }

  TemporaryDirectory directory_;
  MemoryPool pool_;
  RunConfig config_;
  std::unique_ptr<LanguageModel> model_ = tiny_model(pool_);
  std::unique_ptr<Communicator> communicator_ = single_process();
};

TEST_F(SavedModelTest, HasWhatTheRunHadDone) {
  save(3, state(3), to_yaml(config_));
  const SavedModel saved = open_model(directory_.path(), 0, *communicator_, pool_);
  EXPECT_EQ(saved.progress.step, 3);
  EXPECT_EQ(saved.progress.tokens, 1'000'000'000'000);
  EXPECT_EQ(saved.progress.skipped_steps, 1);
  EXPECT_EQ(saved.updates, 2);
  EXPECT_EQ(saved.carried_lanes, 4);
  EXPECT_EQ(saved.cursor, to_json(StreamCursor{3, "checksum", 7, 4, 16}));
  EXPECT_EQ(saved.origin, (Origin{2, 8, "avx2"}));
  EXPECT_EQ(saved.tokenizer->identity(), ByteTokenizer().identity());
}

TEST_F(SavedModelTest, NamesWhatIsMissing) {
  nlohmann::json json = state(3);
  json["progress"].erase("tokens");
  save(3, json, to_yaml(config_));
  const std::string message =
      message_of([&] { open_model(directory_ / "checkpoints" / "step-00000003", 0, *communicator_, pool_); });
  EXPECT_TRUE(holds(message, "tokens")) << message;
  EXPECT_TRUE(message.starts_with((directory_ / "checkpoints").string())) << message;
}

TEST_F(SavedModelTest, IsFoundByItsCheckpointItsRunDirectoryAndItsStep) {
  std::string old = to_yaml(config_);  // as programs wrote it that knew one kind of attention
  old = std::regex_replace(old, std::regex("  rope_scaling:\n    kind: none\n"), "");
  old = std::regex_replace(old, std::regex("  (lora|summaries):\n(    .*\n)+"), "");
  old = std::regex_replace(old, std::regex("  attention:\n    kind: infini\n"), "");
  old = std::regex_replace(
      old, std::regex("    (gate|memory_readout|memory_decay|memory_features|memory_query|memory_shift|overlap): .*\n"),
      "");
  old = std::regex_replace(old, std::regex("\n    "), "\n  ");
  save(3, state(3), old);
  save(5, state(5), to_yaml(config_));
  const auto path_of = [&](std::int64_t step) { return directory_ / "checkpoints" / checkpoint_directory_name(step); };
  const auto found = [&](const std::filesystem::path& path, std::int64_t step) {
    return open_model(path, step, *communicator_, pool_).path();
  };
  EXPECT_EQ(found(path_of(3), 0), path_of(3));
  EXPECT_EQ(found(directory_.path(), 0), path_of(5));
  EXPECT_EQ(found(directory_.path(), 3), path_of(3));
  const SavedModel saved = open_model(directory_.path(), 3, *communicator_, pool_);
  EXPECT_EQ(run_directory_of(*saved.checkpoint), directory_.path());
  EXPECT_EQ(saved.progress.step, 3);
  EXPECT_TRUE(saved.config.model == config_.model);
  EXPECT_EQ(saved.model->parameters().begin()->master.to_doubles(), model_->parameters().begin()->master.to_doubles());

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
