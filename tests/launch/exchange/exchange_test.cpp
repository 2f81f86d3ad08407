// Models that come and go as Hugging Face folders: what is computed stays, to the last bit in float32, and a folder
// that is not exactly a model is refused with the tensor named.
#include <limits>

#include <gtest/gtest.h>

#include "configs/yaml.h"
#include "core/error.h"
#include "core/io/json_file.h"
#include "data/text/sentencepiece_tokenizer.h"
#include "data/text/word_tokenizer.h"
#include "launch/exchange/export_model.h"
#include "launch/training/run_directory.h"
#include "tests/launch/exchange/exchange_fixture.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

TEST_F(Exchange, ImportedLlamaIsARunOfStepZero) {
  const ImportResult result = import(folder_, "run", {"model.attention.memory_update=delta", "train.steps=7"});
  EXPECT_EQ(result.checkpoint, directory_ / "run" / "checkpoints" / "step-00000000");
  EXPECT_EQ(result.parameters, model_->parameters().elements());
  EXPECT_EQ(result.initialized,
            (std::vector<std::string>{"layers.0.self_attn.memory_gate", "layers.1.self_attn.memory_gate"}));
  EXPECT_TRUE(result.notes.empty());
  const SavedModel saved = open("run");
  EXPECT_EQ(saved.progress.step, 0);
  EXPECT_EQ(saved.config.model.segment_length, 40);
  EXPECT_EQ(saved.config.model.attention.memory_update, MemoryUpdate::delta);
  EXPECT_EQ(saved.config.train.steps, 7);
  EXPECT_EQ(saved.config.train.run_directory, (directory_ / "run").string());
  EXPECT_EQ(saved.tokenizer->identity(), "bytes");
  EXPECT_EQ(values_of(*saved.model, "layers.1.self_attn.memory_gate"), std::vector<float>(4, 0.0f));
  expect_equal(*saved.model, *model_);  // whose gates are new, too
  EXPECT_TRUE(differences(load_run_config(directory_ / "run" / "config.yaml"), saved.config).empty());
  EXPECT_THROW(import(folder_, "run"), WriteError);
}

TEST_F(Exchange, CheckpointAloneIsOpenedByItsPath) {
  import(folder_, "step-00000000");
  EXPECT_FALSE(fs::exists(directory_ / "config.yaml"));
  const SavedModel saved = open("step-00000000");
  expect_equal(*saved.model, *model_);
}

TEST_F(Exchange, SegmentsAreMistralsWindowUnlessToldOtherwise) {
  nlohmann::json description = tiny_description();
  description["model_type"] = "mistral";
  description["sliding_window"] = 24;
  write_model_folder(folder_, description, released_tensors(*model_));
  import(folder_, "window");
  EXPECT_EQ(open("window").config.model.segment_length, 24);
  import(folder_, "told", {"model.segment_length=16"});
  EXPECT_EQ(open("told").config.model.segment_length, 16);
  description["sliding_window"] = nullptr;
  description["max_position_embeddings"] = 100'000;
  write_model_folder(folder_, description, released_tensors(*model_));
  import(folder_, "none");
  EXPECT_EQ(open("none").config.model.segment_length, 2048);
}

TEST_F(Exchange, ComputesWhatItDidWithinASegmentAndDecodesIt) {
  const ByteTokenizer tokenizer;
  const std::vector<std::int32_t> tokens = tokenizer.encode(tiny_text(24, 3));
  import(folder_, "plain", {"model.attention.kind=full"});
  import(folder_, "infini", {"model.segment_length=24"});
  import(folder_, "short", {"model.segment_length=8"});
  const std::vector<double> expected = logits(*open("plain").model, tokens, false);
  EXPECT_LT(testing::relative_difference(logits(*open("infini").model, tokens, false), expected), 1e-5);
  EXPECT_LT(testing::relative_difference(logits(*open("infini").model, tokens, true), expected), 1e-5);
  EXPECT_GT(testing::relative_difference(logits(*open("short").model, tokens, false), expected), 1e-2);
}

TEST_F(Exchange, TiedShardedAndHalfPreciseFoldersAreRead) {
  ModelConfig config = tiny_config();
  config.tie_embeddings = true;
  config.head_size = 6;
  LanguageModel tied(pool_, config, DataType::float32);
  tied.initialize(11);
  for (Parameter& parameter : tied.parameters()) {  // what bfloat16 can hold
    for (float& value : parameter.master.values<float>()) value = bfloat16(value);
  }
  nlohmann::json description = tiny_description();
  description["tie_word_embeddings"] = true;
  description["head_dim"] = 6;
  write_model_folder(directory_ / "tied", description, released_tensors(tied), DataType::bfloat16, 3'000);
  EXPECT_TRUE(fs::exists(directory_ / "tied" / SafetensorsFolder::index_name));
  import(directory_ / "tied", "run");
  expect_equal(*open("run").model, tied);
  // Some files have the head nevertheless.
  StateDictionary tensors = released_tensors(tied);
  tensors.add("lm_head.weight", tied.parameters().find("embed_tokens.weight").master);
  write_model_folder(directory_ / "both", description, tensors);
  import(directory_ / "both", "run-2");
  expect_equal(*open("run-2").model, tied);
  StateDictionary other = released_tensors(tied);
  other.add("lm_head.weight", model_->parameters().find("lm_head.weight").master);
  write_model_folder(directory_ / "other", description, other);
  EXPECT_TRUE(holds(refusal(directory_ / "other"), "has a tensor 'lm_head.weight' (258, 16) for which the model"));
}

TEST_F(Exchange, TensorsThatAreNotTheModelsAreNamed) {
  const auto refused = [&](const StateDictionary& tensors) {
    write_model_folder(folder_, tiny_description(), tensors);
    return refusal(folder_);
  };
  const std::string query = "model.layers.1.self_attn.q_proj.weight";
  EXPECT_TRUE(holds(refused(tensors_but(query)), "has no tensor '" + query + "', expected one of shape (16, 16)"));
  EXPECT_TRUE(holds(refused(tensors_but(query, Tensor::zeros(pool_, {16, 12}, DataType::float32))),
                    "the tensor '" + query + "' is (16, 12), expected (16, 16)"));
  const std::string bias = "model.layers.1.self_attn.q_proj.bias";
  EXPECT_TRUE(holds(refused(tensors_but(bias, Tensor::zeros(pool_, {16}, DataType::float32))),
                    "has a tensor '" + bias + "' (16) for which the model has no place"));
  Tensor broken = converted(pool_, model_->parameters().find("norm.weight").master, DataType::float32);
  broken.values<float>()[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(holds(refused(tensors_but("model.norm.weight", broken)),
                    "the tensor 'model.norm.weight' has nan as its element 5"));
  // What follows from config.json may be there.
  write_model_folder(
      folder_, tiny_description(),
      tensors_but("model.layers.0.self_attn.rotary_emb.inv_freq", Tensor::zeros(pool_, {2}, DataType::float32)));
  EXPECT_NO_THROW(import(folder_, "old"));
}

TEST_F(Exchange, TokenizerHasToBeThereAndToFit) {
  EXPECT_TRUE(
      holds(message_of([&] { import(folder_, "run", {}, ""); }), "has no tokenizer.model and no tokenizer.json"));
  overwrite_file(folder_ / "tokenizer.json", "{}");
  EXPECT_TRUE(holds(message_of([&] { import(folder_, "run", {}, ""); }), "tokenizer_config.json: no such file"));
  overwrite_file(folder_ / "tokenizer.model", "no model");
  EXPECT_TRUE(holds(message_of([&] { import(folder_, "run", {}, ""); }), "tokenizer.model: is not a SentencePiece"));
  nlohmann::json description = tiny_description();
  description["vocab_size"] = 200;
  overwrite_file(folder_ / "config.json", description.dump());
  EXPECT_TRUE(holds(message_of<DataError>([&] { import(folder_, "run"); }), "the tokenizer has 258 tokens, the model"));
  description = tiny_description();
  description["bos_token_id"] = 1;
  overwrite_file(folder_ / "config.json", description.dump());
  EXPECT_TRUE(holds(import(folder_, "run").notes.at(0), "documents begin with token 256 and end with 257"));
}

TEST_F(Exchange, ShapeAndStoredConfigurationHaveToAgree) {
  import(folder_, "run");
  const fs::path exported = directory_ / "exported";
  export_model(open("run"), {.folder = exported});
  const auto refused = [&](auto&& change) {
    nlohmann::json json = parse_json(file_content(exported / "config.json"), "config.json");
    change(json);
    overwrite_file(exported / "changed.json", json.dump());
    fs::rename(exported / "config.json", exported / "sound.json");
    fs::rename(exported / "changed.json", exported / "config.json");
    std::string message = message_of([&] { import(exported, "changed", {}, ""); });
    fs::rename(exported / "sound.json", exported / "config.json");
    return message;
  };
  EXPECT_TRUE(holds(refused([](auto& json) { json["rope_theta"] = 500000.0; }), "model.rope_theta: 500000 -> 10000"));
  EXPECT_TRUE(holds(refused([](auto& json) { json["palimpsest"].erase("config"); }), "is not as expected"));
  EXPECT_TRUE(holds(refused([](auto& json) { json["palimpsest"]["tokenizer"]["model"] = "0"; }), "hexadecimal"));
}

TEST_F(Exchange, SentencePieceModelsTravelAsFiles) {
  overwrite_file(directory_ / "text.txt", tiny_text(5'000, 1));
  TokenizerTraining training;
  training.vocab_size = 290;
  const std::string pieces = train_sentencepiece({directory_ / "text.txt"}, training).model;
  overwrite_file(folder_ / "tokenizer.model", pieces);
  nlohmann::json description = tiny_description();
  description["vocab_size"] = 300;
  ModelConfig config = tiny_config();
  config.vocab_size = 300;
  LanguageModel model(pool_, config, DataType::float32);
  model.initialize(3);
  write_model_folder(folder_, description, released_tensors(model));
  import(folder_, "run", {}, "");
  EXPECT_EQ(file_content(directory_ / "run" / "tokenizer.model"), pieces);
  const SavedModel saved = open("run");
  EXPECT_EQ(saved.tokenizer->model(), pieces);
  const fs::path exported = directory_ / "exported";
  export_model(saved, {.folder = exported});
  EXPECT_EQ(file_content(exported / "tokenizer.model"), pieces);
  const nlohmann::json written = parse_json(file_content(exported / "tokenizer_config.json"), "tokenizer_config.json");
  EXPECT_EQ(written.at("bos_token"), "<s>");
  EXPECT_EQ(written.at("eos_token"), "</s>");
  EXPECT_EQ(written.at("unk_token"), "<unk>");
  import(exported, "again", {}, "");
  EXPECT_EQ(open("again").tokenizer->identity(), saved.tokenizer->identity());
}

TEST_F(Exchange, WordListsTravelWithTheModel) {
  const WordTokenizer words(passkey_word_list());
  import(folder_, "run", {}, "passkey");
  export_model(open("run"), {.folder = directory_ / "exported"});
  import(directory_ / "exported", "again", {}, "");
  EXPECT_EQ(open("again").tokenizer->identity(), words.identity());
}

}  // namespace
}  // namespace palimpsest
