// Models that come and go as Hugging Face folders: what is computed stays, to the last bit in float32, and a folder
// that is not exactly a model is refused with the tensor named.
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "configs/yaml.h"
#include "core/error.h"
#include "core/io/json_file.h"
#include "data/text/sentencepiece_tokenizer.h"
#include "data/text/word_tokenizer.h"
#include "launch/exchange/export_model.h"
#include "launch/exchange/import_model.h"
#include "launch/exchange/stored_model.h"
#include "launch/training/run_directory.h"
#include "layers/decode_state.h"
#include "layers/merged_model.h"
#include "tests/launch/exchange/model_folder.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

class Exchange : public ::testing::Test {
 protected:
  Exchange() { write_model_folder(folder_, tiny_description(), released_tensors(*model_)); }

  ImportResult import(const fs::path& folder, const std::string& run, std::vector<std::string> overrides = {},
                      const std::string& tokenizer = "bytes") {
    return import_model({folder, directory_ / run, std::move(overrides), tokenizer}, *communicator_);
  }
  SavedModel open(const std::string& run) { return open_model(directory_ / run, 0, *communicator_, pool_); }
  /// The message with which the folder is refused, which leaves nothing behind.
  std::string refusal(const fs::path& folder) {
    const std::string message = message_of([&] { import(folder, "refused"); });
    EXPECT_FALSE(fs::exists(directory_ / "refused"));
    return message;
  }
  /// The tensors of a Llama without, or with another, `name`.
  StateDictionary tensors_but(const std::string& name, const Tensor& other = {}) {
    StateDictionary changed;
    for (const auto& entry : released_tensors(*model_)) {
      if (entry.name != name) changed.add(entry.name, entry.tensor);
    }
    if (other) changed.add(name, other);
    return changed;
  }
  static std::vector<float> values_of(LanguageModel& model, const std::string& name) {
    const auto values = model.parameters().find(name).master.values<float>();
    return {values.begin(), values.end()};
  }
  static void expect_equal(LanguageModel& a, LanguageModel& b) {
    ASSERT_EQ(a.parameters().size(), b.parameters().size());
    for (const Parameter& parameter : a.parameters()) {
      EXPECT_EQ(values_of(a, parameter.name), values_of(b, parameter.name)) << parameter.name;
    }
  }
  /// Logits after every token.
  std::vector<double> logits(const LanguageModel& model, const std::vector<std::int32_t>& tokens, bool decoded) {
    std::vector<double> all;
    DecodeState state(model, pool_);
    if (!decoded) return state.advance(std::span(tokens)).to_doubles();
    for (const std::int32_t token : tokens) all = state.advance(token).to_doubles();
    return all;
  }

  TemporaryDirectory directory_;
  MemoryPool pool_;
  std::unique_ptr<LanguageModel> model_ = tiny_model(pool_);
  std::unique_ptr<Communicator> communicator_ = single_process();
  fs::path folder_ = directory_ / "folder";
};

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

TEST_F(Exchange, ExportedModelIsImportedBitForBit) {
  import(folder_, "run",
         {"model.attention.memory_update=delta", "model.segment_length=8", "train.seed=5",
          "data.train=/secret/place/train.h5"});
  SavedModel saved = open("run");
  Tensor gate = saved.model->parameters().find("layers.1.self_attn.memory_gate").master;
  std::ranges::copy(std::vector<float>{0.1f, -3.25f, 7.0f, 1e-30f}, gate.values<float>().begin());
  saved.config.model.rope_scaling = {.kind = RotaryScalingKind::llama3,
                                     .factor = 8,
                                     .low_frequency_factor = 1,
                                     .high_frequency_factor = 4,
                                     .original_length = 64};
  for (const std::uint64_t shard_bytes : {1'000'000, 4'000}) {
    const fs::path exported = directory_ / ("export-" + std::to_string(shard_bytes));
    export_model(saved, {.folder = exported, .shard_bytes = shard_bytes});
    import(exported, exported.filename().string() + "-run", {}, "");
    const SavedModel again = open(exported.filename().string() + "-run");
    expect_equal(*again.model, *saved.model);
    EXPECT_TRUE(again.config.model == saved.config.model);
    EXPECT_EQ(again.config.train.seed, 5u);
    EXPECT_EQ(again.config.data.train, "train.h5");  // nobody else's business where it lay
    EXPECT_EQ(again.tokenizer->identity(), "bytes");
    EXPECT_FALSE(holds(file_content(exported / "config.json"), "secret"));
    EXPECT_FALSE(holds(file_content(exported / "README.md"), "secret"));
  }
  export_model(saved, {.folder = directory_ / "half", .type = DataType::bfloat16});
  import(directory_ / "half", "half-run", {}, "");
  const SavedModel half = open("half-run");
  for (const Parameter& parameter : saved.model->parameters()) {
    std::vector<float> rounded = values_of(*saved.model, parameter.name);
    for (float& value : rounded) value = bfloat16(value);
    EXPECT_EQ(values_of(*half.model, parameter.name), rounded) << parameter.name;
  }
}

TEST_F(Exchange, LoraIsMergedOnTheWayOutAndIntoTheWeightsOfANewRun) {
  RunConfig config;
  config.model = tiny_config();
  config.model.lora = {.rank = 2, .alpha = 4, .projections = {"o_proj", "up_proj"}};
  LanguageModel changed(pool_, config.model, DataType::float32);
  changed.initialize(5);
  for (Parameter& parameter : changed.parameters()) {
    if (parameter.role == ParameterRole::lora_up) fill(parameter.master, 0.25);
  }
  const auto merged = merge_lora(changed, pool_);
  save_model(directory_ / "run" / "checkpoints", config, changed, ByteTokenizer(), {.step = 3}, *communicator_);
  const SavedModel saved = open("run");
  expect_equal(*saved.model, changed);
  EXPECT_EQ(export_model(saved, {.folder = directory_ / "exported"}), merged->parameters().elements());
  import(directory_ / "exported", "again", {}, "");
  expect_equal(*open("again").model, *merged);
  EXPECT_EQ(open("again").config.model.lora.rank, 0);
  const StoredModel stored = open_stored_model(directory_ / "run", *communicator_, pool_);
  expect_equal(*stored.model, *merged);
}

TEST_F(Exchange, AnExportLacksNothingButWhatAChangedOptionAdds) {
  import(folder_, "run", {"model.attention.memory_decay=true"});
  const SavedModel saved = open("run");
  const fs::path exported = directory_ / "exported";
  export_model(saved, {.folder = exported});
  const auto initialized = [&](const std::string& run, const std::string& option) {
    return import(exported, run, {option}, "").initialized;
  };
  for (const std::string& name : initialized("lora", "model.lora.rank=2")) EXPECT_TRUE(holds(name, ".lora_")) << name;
  EXPECT_EQ(initialized("gain", "model.attention.memory_readout=rms"),
            (std::vector<std::string>{"layers.0.self_attn.memory_gain", "layers.1.self_attn.memory_gain"}));
  StateDictionary kept;
  for (const Parameter& parameter : saved.model->parameters()) {
    if (parameter.role != ParameterRole::memory_gate) kept.add(hugging_face_name(parameter.name), parameter.master);
  }
  write_model_folder(directory_ / "broken", parse_json(file_content(exported / "config.json"), "config.json"), kept);
  for (const char* option : {"train.steps=7", "model.lora.rank=2", "model.attention.memory_readout=rms"}) {
    const auto error = message_of<FileError>([&] { import(directory_ / "broken", "refused", {option}, "bytes"); });
    EXPECT_TRUE(holds(error, "has no tensor 'palimpsest.layers.0.self_attn.memory_gate'")) << option;
  }
}

TEST_F(Exchange, OnlyAnAttentionThatItWasNotTrainedWithComputesSomethingElse) {
  const auto says_so = [](const ImportResult& result) {
    return std::ranges::any_of(result.notes, [](const std::string& note) { return holds(note, "does not compute"); });
  };
  EXPECT_TRUE(says_so(import(folder_, "run", {"model.attention.overlap=3"})));
  const fs::path exported = directory_ / "exported";
  export_model(open("run"), {.folder = exported});
  EXPECT_FALSE(says_so(import(exported, "again", {"train.steps=7"}, "")));
  EXPECT_TRUE(says_so(import(exported, "wider", {"model.attention.overlap=5"}, "")));
  EXPECT_TRUE(says_so(import(exported, "gated", {"model.attention.empty_memory=gated"}, "")));
}

TEST_F(Exchange, ExportIsALlamaWithSomethingBesides) {
  import(folder_, "run");
  const fs::path exported = directory_ / "exported";
  export_model(open("run"), {.folder = exported, .licence = "apache-2.0"});
  const nlohmann::json json = parse_json(file_content(exported / "config.json"), "config.json");
  const nlohmann::json expected = tiny_description();
  for (const auto& [key, value] : expected.items()) {
    if (key == "transformers_version") continue;
    EXPECT_EQ(json.at(key), value) << key;
  }
  const SafetensorsFolder tensors(exported);
  for (const auto& entry : released_tensors(*model_)) EXPECT_TRUE(tensors.tensors().contains(entry.name)) << entry.name;
  EXPECT_TRUE(tensors.tensors().contains("palimpsest.layers.0.self_attn.memory_gate"));
  EXPECT_EQ(tensors.tensors().size(), model_->parameters().size());
  EXPECT_EQ(parse_json(file_content(exported / "generation_config.json"), "generation_config.json"),
            (nlohmann::json{{"bos_token_id", 256}, {"eos_token_id", 257}}));
  const std::string card = file_content(exported / "README.md");
  EXPECT_TRUE(card.starts_with("---\nlicense: apache-2.0\n")) << card;
  EXPECT_TRUE(holds(card, "None were measured"));
}

TEST_F(Exchange, ModelCardHasThePerplexitiesOfItsStep) {
  import(folder_, "run");
  const SavedModel saved = open("run");
  const RunDirectory run(directory_ / "run");
  const auto result = [](int step, bool complete, const std::string& data) {
    return nlohmann::json{
        {"step", step},
        {"complete", complete},
        {"data", "/secret/" + data},
        {"documents", nlohmann::json::array()},
        {"total", {{"tokens", 100}, {"token_perplexity", 3.5}, {"word_perplexity", 12.25}, {"bits_per_byte", 1.5}}}}
        .dump();
  };
  write_result(run.evaluation() / "a.json", result(0, true, "test.h5"));
  write_result(run.evaluation() / "b.json", result(3, true, "later.h5"));
  write_result(run.evaluation() / "c.partial.json", result(0, false, "stopped.h5"));
  nlohmann::json set = nlohmann::json::parse(result(0, true, "books/validation.h5"));
  set["set"] = "books";
  write_result(run.evaluation() / "passkey-books.json", set.dump());
  write_result(run.evaluation() / "comparison.json", R"({"data": "test.h5", "documents": 4, "runs": []})");
  write_result(run.evaluation() / "other.json", "[]");
  export_model(saved, {.folder = directory_ / "exported"});
  const std::string card = file_content(directory_ / "exported" / "README.md");
  EXPECT_TRUE(holds(card, "| test.h5 | 100 | 3.5000 | 12.25 | 1.5000 |")) << card;
  EXPECT_TRUE(holds(card, "| validation.h5 (books) | 100 |")) << card;
  for (const char* absent : {"later.h5", "stopped.h5", "secret", "license:"}) EXPECT_FALSE(holds(card, absent));
  write_result(run.evaluation() / "d.json", R"({"documents": []})");
  EXPECT_TRUE(holds(message_of([&] { export_model(saved, {.folder = directory_ / "other"}); }), "d.json"));
  EXPECT_FALSE(fs::exists(directory_ / "other"));
}

TEST_F(Exchange, OnlyAnExportIsReplaced) {
  import(folder_, "run");
  const SavedModel saved = open("run");
  const fs::path exported = directory_ / "exported";
  export_model(saved, {.folder = exported});
  EXPECT_THROW(export_model(saved, {.folder = exported}), WriteError);
  overwrite_file(exported / "left", "over");
  export_model(saved, {.folder = exported, .force = true});
  EXPECT_FALSE(fs::exists(exported / "left"));
  EXPECT_TRUE(holds(message_of([&] { export_model(saved, {.folder = folder_, .force = true}); }), "is no export"));
  EXPECT_TRUE(fs::exists(folder_ / "model.safetensors"));
  EXPECT_THROW(export_model(saved, {.folder = directory_ / "other", .licence = "MIT\nor: not"}), ConfigError);
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
    const std::string message = message_of([&] { import(exported, "changed", {}, ""); });
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
