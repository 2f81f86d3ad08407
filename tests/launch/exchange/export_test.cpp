// What an exported folder holds: all of the model, bit for bit in float32, and nothing of where it was made.
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/io/json_file.h"
#include "launch/exchange/export_model.h"
#include "launch/exchange/stored_model.h"
#include "launch/training/run_directory.h"
#include "layers/merged_model.h"
#include "tests/launch/exchange/exchange_fixture.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

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

TEST_F(Exchange, OnlyAnOptionThatItWasNotTrainedWithComputesSomethingElse) {
  const auto warned_of = [](const ImportResult& result, const std::string& option) {
    return std::ranges::any_of(result.notes, [&](const std::string& note) { return holds(note, option); });
  };
  const std::string overlap = "an overlap, the model does not compute", gated = "empty_memory gated the model does not";
  EXPECT_TRUE(warned_of(import(folder_, "run", {"model.attention.overlap=3"}), overlap));
  const fs::path exported = directory_ / "exported";
  export_model(open("run"), {.folder = exported});
  EXPECT_FALSE(warned_of(import(exported, "again", {"model.attention.initial_gate=-2"}, ""), overlap));
  EXPECT_TRUE(warned_of(import(exported, "wider", {"model.attention.overlap=5"}, ""), overlap));
  const ImportResult changed = import(exported, "gated", {"model.attention.empty_memory=gated"}, "");
  EXPECT_TRUE(warned_of(changed, gated));
  EXPECT_FALSE(warned_of(changed, overlap));
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

}  // namespace
}  // namespace palimpsest
