// Reading configurations: values and overrides arrive, every mistake is refused with file, line, key
// and what was expected, and what is written reads back equal.
#include "configs/yaml.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <limits>

#include "core/error.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

RunConfig parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return parse_run_config(text, "run.yaml", overrides);
}

/// The message with which `text` is refused; "accepted" when it is not.
std::string refusal(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    parse(text, overrides);
    return "accepted";
  } catch (const ConfigError& error) {
    return error.what();
  }
}

TEST(RunConfigYaml, ValuesArrive) {
  const RunConfig config = parse(R"(# a comment
model: {hidden_size: 64, num_heads: 4, attention: {memory_update: delta, kind: infini}, tie_embeddings: true}
data:
  train: "a b/train.h5"
train:
  seed: 18446744073709551615
  steps: 20
  carry_memory: false
optimizer:
  kind: adafactor
  learning_rate: 1e-2
  clip_norm: 0
)");
  EXPECT_EQ(config.model.hidden_size, 64);
  EXPECT_EQ(config.model.attention.memory_update, MemoryUpdate::delta);
  EXPECT_TRUE(config.model.tie_embeddings);
  EXPECT_EQ(config.data.train, "a b/train.h5");
  EXPECT_EQ(config.train.seed, std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(config.train.steps, 20);
  EXPECT_FALSE(config.train.carry_memory);
  EXPECT_EQ(config.optimizer.kind, OptimizerKind::adafactor);
  EXPECT_EQ(config.optimizer.learning_rate, 0.01);
  EXPECT_EQ(config.optimizer.clip_norm, 0.0);
  EXPECT_EQ(config.train.batch_size, RunConfig().train.batch_size) << "keys left out have their defaults";
}

TEST(RunConfigYaml, DurationsAreSecondsOrTimes) {
  const auto limit = [](const std::string& value) {
    return parse("train: {time_limit: " + value + "}").train.time_limit;
  };
  EXPECT_EQ(limit("90"), 90);
  EXPECT_EQ(limit("0.5"), 0.5);
  EXPECT_EQ(limit("1:30:05"), 5405);
  EXPECT_EQ(limit("\"12:00:00\""), 43200);
  EXPECT_EQ(limit("2-00:00:01"), 172801);
  EXPECT_EQ(parse(to_yaml(parse("train: {time_limit: 0:00:59}"))).train.time_limit, 59);
  for (const std::string wrong : {"-1", "12:30", "1:60:00", "0100", "soon", "1e999", "\"90\"", "1:00:00x"}) {
    EXPECT_NE(refusal("train: {time_limit: " + wrong + "}").find("train.time_limit must be seconds, HH:MM:SS"),
              std::string::npos)
        << wrong;
  }
}

TEST(RunConfigYaml, NothingGivesTheDefaults) {
  for (const std::string text : {"", "# only a comment\n", "---\n", "{}", "model:\ntrain:\n", "train: {}\n"}) {
    EXPECT_TRUE(differences(RunConfig(), parse(text)).empty()) << text;
  }
}

TEST(RunConfigYaml, OverridesWinAndTheLaterOneMost) {
  const RunConfig config = parse("train:\n  steps: 5\n", {"train.steps=6", "data.train=x=y.h5", "train.steps=7"});
  EXPECT_EQ(config.train.steps, 7);
  EXPECT_EQ(config.data.train, "x=y.h5");
}

struct Mistake {
  std::string text;
  std::string message;
};

void expect_refused(const std::vector<Mistake>& mistakes) {
  for (const Mistake& mistake : mistakes) EXPECT_EQ(refusal(mistake.text), mistake.message) << mistake.text;
}

TEST(RunConfigYaml, UnknownNames) {
  expect_refused({
      {"optimizer:\n  kind: adamw\n  learning_rat: 1\n",
       "run.yaml:3:3: optimizer.learning_rat is not a key; did you mean learning_rate?"},
      {"optimiser:\n  kind: adamw\n", "run.yaml:1:1: optimiser is not a section; did you mean optimizer?"},
      {"train:\n  steps: 1\nmodle:\n", "run.yaml:3:1: modle is not a section; did you mean model?"},
      {"data:\n  corpus: x\n", "run.yaml:2:3: data.corpus is an option of data.kind queries, found text"},
      {"data:\n  books: x\n",
       "run.yaml:2:3: data.books is not a key; expected kind, train, virtual_length, segments_before_targets, "
       "validation or test"},
      {"train:\n  learning_rate: 1\n",
       "run.yaml:2:3: train.learning_rate is not a key; did you mean optimizer.learning_rate?"},
      {"train: 1\n", "run.yaml:1:1: train is a section: expected indented keys, found `1`"},
      {"train: [1]\n", "run.yaml:1:1: train is a section: expected indented keys, found a list"},
      {"steps: 1\n", "run.yaml:1:1: steps is not a section; did you mean train.steps?"},
  });
  EXPECT_EQ(refusal("zzz:\n"),
            "run.yaml:1:1: zzz is not a section; expected model, data, train, distillation, optimizer, loss_spike, "
            "evaluation or "
            "checkpoint");
}

TEST(RunConfigYaml, Duplicates) {
  expect_refused({
      {"train:\n  steps: 1\n  seed: 2\n  steps: 3\n", "run.yaml:4:3: train.steps is already set in line 2"},
      {"train:\n  steps: 1\nmodel:\ntrain:\n  seed: 1\n", "run.yaml:4:1: train is already set in line 1"},
  });
}

TEST(RunConfigYaml, Integers) {
  const auto steps = [](const std::string& value) { return "train:\n  steps: " + value + "\n"; };
  expect_refused({
      {steps("1e3"), "run.yaml:2:3: train.steps must be an integer, found `1e3`"},
      {steps("1e-4"), "run.yaml:2:3: train.steps must be an integer, found `1e-4`"},
      {steps("1.0"), "run.yaml:2:3: train.steps must be an integer, found `1.0`"},
      {steps("0x10"), "run.yaml:2:3: train.steps must be an integer, found `0x10`"},
      {steps("+5"), "run.yaml:2:3: train.steps must be an integer, found `+5`"},
      {steps("010"), "run.yaml:2:3: train.steps must be an integer without leading zeros, found `010`"},
      {steps("\"10\""), "run.yaml:2:3: train.steps must be an integer, found the string \"10\""},
      {steps("ten"), "run.yaml:2:3: train.steps must be an integer, found `ten`"},
      {steps("true"), "run.yaml:2:3: train.steps must be an integer, found `true`"},
      {steps("0"), "run.yaml:2:3: train.steps must be at least 1 and at most 1000000000000, found `0`"},
      {steps("-1"), "run.yaml:2:3: train.steps must be at least 1 and at most 1000000000000, found `-1`"},
      {steps("99999999999999999999"),
       "run.yaml:2:3: train.steps must be at least 1 and at most 1000000000000, found `99999999999999999999`"},
      {"train:\n  seed: -1\n", "run.yaml:2:3: train.seed must be a non-negative integer, found `-1`"},
      {"train:\n  seed: 18446744073709551616\n",
       "run.yaml:2:3: train.seed must be at least 0 and at most 18446744073709551615, found `18446744073709551616`"},
  });
}

TEST(RunConfigYaml, Numbers) {
  const auto rate = [](const std::string& value) { return "optimizer:\n  learning_rate: " + value + "\n"; };
  expect_refused({
      {rate("fast"), "run.yaml:2:3: optimizer.learning_rate must be a number, found `fast`"},
      {rate(".nan"), "run.yaml:2:3: optimizer.learning_rate must be a number, found `.nan`"},
      {rate(".inf"), "run.yaml:2:3: optimizer.learning_rate must be a number, found `.inf`"},
      {rate("nan"), "run.yaml:2:3: optimizer.learning_rate must be a finite number, found `nan`"},
      {rate("inf"), "run.yaml:2:3: optimizer.learning_rate must be a finite number, found `inf`"},
      {rate("1e999"), "run.yaml:2:3: optimizer.learning_rate must be a finite number, found `1e999`"},
      {rate("-0.1"), "run.yaml:2:3: optimizer.learning_rate must be at least 0, found `-0.1`"},
      {rate("0010"), "run.yaml:2:3: optimizer.learning_rate must be a number without leading zeros, found `0010`"},
      {"optimizer:\n  beta1: 1\n", "run.yaml:2:3: optimizer.beta1 must be at least 0 and less than 1, found `1`"},
      {"optimizer:\n  epsilon: 0\n", "run.yaml:2:3: optimizer.epsilon must be greater than 0, found `0`"},
  });
}

TEST(RunConfigYaml, BooleansChoicesAndText) {
  expect_refused({
      {"train:\n  carry_memory: yes\n", "run.yaml:2:3: train.carry_memory must be true or false, found `yes`"},
      {"train:\n  carry_memory: 1\n", "run.yaml:2:3: train.carry_memory must be true or false, found `1`"},
      {"model:\n  attention: {memory_update: dleta}\n",
       "run.yaml:2:15: model.attention.memory_update must be linear or delta, found `dleta`; did you mean delta?"},
      {"optimizer:\n  kind: sgd\n", "run.yaml:2:3: optimizer.kind must be adamw or adafactor, found `sgd`"},
      {"data:\n  train: \"a\\0b\"\n", "run.yaml:2:3: data.train must be text without control characters"},
      {"data:\n  train: a\xff\n", "run.yaml:2: byte 0xFF at offset 16 is no part of UTF-8, expected UTF-8 text"},
  });
}

TEST(RunConfigYaml, StructureThatIsNotSectionsOfKeys) {
  expect_refused({
      {"5\n", "run.yaml:1:1: expected sections like `train:` with indented keys, found a single value"},
      {"- train\n", "run.yaml:1:1: expected `key: value`, found a list"},
      {"train:\n  steps: [1, 2]\n", "run.yaml:2:3: train.steps: expected a value, found a list"},
      {"train:\n  steps:\n    a: 1\n", "run.yaml:2:3: train.steps: expected a value, found a mapping"},
      {"train:\n  steps:\n", "run.yaml:2:3: train.steps has no value; an empty string is written \"\""},
      {"train:\n  run_directory: ~\n",
       "run.yaml:2:3: train.run_directory has no value; an empty string is written \"\""},
      {"train:\n  ~: 1\n", "run.yaml:2:3: a key is missing"},
      {"train:\n  ? {a: 1}\n  : 2\n", "run.yaml:2:5: expected the name of a key, found more than a name"},
      {"model: &m\n  num_heads: 2\ntrain:\n  steps: 1\n", "run.yaml:1:8: anchors (&name) are not allowed"},
      {"train:\n  steps: &s 1\n", "run.yaml:2:10: anchors (&name) are not allowed"},
      {"train:\n  steps: !!int 1\n", "run.yaml:2:10: tags (tag:yaml.org,2002:int) are not allowed"},
      {"train:\n  steps: 1\n---\ntrain:\n  steps: 2\n",
       "run.yaml:3:1: a second document starts; a configuration is one document"},
  });
  EXPECT_NE(refusal("model: &m {num_heads: 2}\ntrain: *m\n"), "accepted");
  EXPECT_NE(refusal("train: &t [*t]\n"), "accepted");
}

TEST(RunConfigYaml, SyntaxErrorsNameTheLine) {
  EXPECT_EQ(refusal("train:\n  steps: 1\n seed: 2\n").substr(0, 11), "run.yaml:3:");
  EXPECT_EQ(refusal("train:\n  run_directory: \"a\n").substr(0, 9), "run.yaml:");
  EXPECT_NE(refusal("data:\n  train: \"a\n  test: b\n"), "accepted") << "the quote swallows the next key";
  EXPECT_NE(refusal("data:\n  train: 'a\n\n"), "accepted");
  EXPECT_EQ(refusal("train: {steps: 1\n").substr(0, 9), "run.yaml:");
  EXPECT_EQ(refusal(std::string(100000, '[')).substr(0, 11), "run.yaml:1:");
  EXPECT_EQ(refusal("a: " + std::string(100000, '{')).substr(0, 11), "run.yaml:1:");
}

TEST(RunConfigYaml, Overrides) {
  const auto message = [](const std::string& text) { return refusal("", {text}); };
  EXPECT_EQ(message("train.stepz=1"), "--set: train.stepz is not a key; did you mean steps?");
  EXPECT_EQ(message("trian.steps=1"), "--set: trian is not a section; did you mean train?");
  EXPECT_EQ(message("train.steps=many"), "--set: train.steps must be an integer, found `many`");
  EXPECT_EQ(message("train.steps="), "--set: train.steps must be an integer, found ``");
  using Names = std::vector<std::string>;
  EXPECT_EQ(parse("", {"train.trainable=[memory, \"layers.1.*\"]"}).train.trainable, (Names{"memory", "layers.1.*"}));
  EXPECT_EQ(parse("train:\n  trainable: [all]\n", {"train.trainable=[]"}).train.trainable, Names());
  EXPECT_EQ(message("train.trainable=[a"), "--set train.trainable=[a:1:1: end of sequence flow not found");
  for (const std::string text : {"train.steps", "steps=1", "steps=1.5", "", "="}) {
    EXPECT_EQ(message(text), "--set " + text + ": expected section.key=value, as in train.steps=1000");
  }
}

TEST(RunConfigYaml, KeysThatContradictEachOther) {
  expect_refused({
      {"train:\n  batch_size: 8\n  micro_batch_size: 3\n",
       "run.yaml: train.batch_size 8 is not a multiple of train.micro_batch_size 3"},
      {"evaluation:\n  every: 10\n",
       "run.yaml: evaluation.every is 10 but data.validation names no token file, nor evaluation.sets"},
      {"evaluation: {summaries: {every: 10}}\n",
       "run.yaml: evaluation.summaries.every is 10 but evaluation.summaries.pairs names no file"},
      {"evaluation: {summaries: {template: 'Read {document}'}}\n",
       "run.yaml: evaluation.summaries.template: the pair \"Read {document}\", expected one {document} and behind it "
       "one "
       "{summary}"},
      {"data: {train: [{file: a.h5, name: 'a\\nb'}]}\n",
       "run.yaml: data.train[0].name is \"a\\nb\", expected letters, digits, -, _ and ."},
      {"train:\n  schedule: parallel\n  recompute: segment\n",
       "run.yaml: train.recompute segment needs train.schedule sequential or automatic, found parallel"},
      {"data: {kind: queries, contrast: 1}\nmodel: {attention: {kind: local}}\n",
       "run.yaml: contrast of documents needs model.attention.kind infini without an overlap: queries that follow each "
       "other would see each other"},
      {"data: {kind: queries, contrast: 1}\ndistillation: {share: 0.5, teacher: runs/a}\n",
       "run.yaml: data.contrast 1 needs train.sequence_ranks 1 and distillation.share 0, found 1 and 0.5"},
      {"train: {fresh_memory: 0.1, carry_memory: false}\n",
       "run.yaml: train.fresh_memory 0.1 needs train.carry_memory true and data.segments_before_targets 0, found false "
       "and 0"},
      {"data: {kind: passkey}\ntrain: {interleave: 2}\n",
       "run.yaml: train.interleave 2 needs one token file in data.train, and data.segments_before_targets 0, found "
       "another data.kind"},
      {"data: {train: [{file: a.h5}]}\ntrain: {interleave: 2}\n",
       "run.yaml: train.interleave 2 needs one token file in data.train, and data.segments_before_targets 0, found a "
       "list of sources"},
      {"data: {segments_before_targets: 4}\ntrain: {interleave: 2}\n",
       "run.yaml: train.interleave 2 needs one token file in data.train, and data.segments_before_targets 0, found "
       "data.segments_before_targets 4"},
      {"train:\n  run_directory: \"\"\n", "run.yaml: train.run_directory is empty: checkpoints need a place"},
  });
  EXPECT_NE(refusal("model:\n  hidden_size: 100\n").find("model.hidden_size 100"), std::string::npos);
  EXPECT_NE(refusal("model:\n  num_kv_heads: 3\n").find("model.num_kv_heads 3"), std::string::npos);
  EXPECT_NE(
      refusal("model: {segment_length: 1, attention: {memory_shift: true}}\n").find("needs a model.segment_length"),
      std::string::npos);
  EXPECT_NE(refusal("model: {attention: {memory_features: identity}}\n").find("needs memory_readout rms"),
            std::string::npos);
  EXPECT_NE(refusal("model: {attention: {memory_features: identity, memory_readout: rms, memory_update: delta}}\n")
                .find("needs memory_update linear"),
            std::string::npos);
  EXPECT_NE(refusal("model: {segment_length: 8, attention: {overlap: 9}}\n").find("model.attention.overlap 9"),
            std::string::npos);
}

TEST(RunConfigYaml, WrittenConfigurationReadsBackEqual) {
  RunConfig config;
  config.model.attention.memory_update = MemoryUpdate::delta;
  config.model.attention.memory_epsilon = 0.1 + 0.2;
  config.model.attention.initial_gate = -1.0 / 3;
  config.model.attention.gate = GateKind::add;
  config.model.attention.memory_readout = MemoryReadout::rms;
  config.model.attention.memory_decay = true;
  config.model.attention.memory_query = MemoryQuery::key;
  config.model.attention.memory_shift = true;
  config.model.attention.overlap = 32;
  config.model.norm_epsilon = std::numeric_limits<double>::min();
  config.data.train = "it's \"quoted\": [a, b] #no comment \\ {ß → 語}";
  config.data.validation = "true";
  config.data.test = " ~ ";
  config.train.seed = std::numeric_limits<std::uint64_t>::max();
  config.train.carry_memory = false;
  config.optimizer.learning_rate = std::numeric_limits<double>::max();
  config.optimizer.adafactor_epsilon1 = 1e-30;
  const RunConfig again = parse(to_yaml(config));
  EXPECT_TRUE(differences(config, again).empty());
  EXPECT_EQ(to_yaml(again), to_yaml(config));
  EXPECT_EQ(again.data.train, config.data.train);
  EXPECT_EQ(again.data.test, config.data.test);
  EXPECT_EQ(again.model.attention.memory_epsilon, 0.1 + 0.2);
  EXPECT_EQ(again.model.attention.initial_gate, -1.0 / 3);
  EXPECT_EQ(again.optimizer.learning_rate, std::numeric_limits<double>::max());
  EXPECT_TRUE(again.model == config.model);
  config.model.attention.memory_update = MemoryUpdate::linear;
  config.model.attention.memory_features = MemoryFeatures::identity;
  EXPECT_TRUE(parse(to_yaml(config)).model == config.model);
}

TEST(RunConfigYaml, DifferencesNameKeyAndValues) {
  RunConfig before, after;
  after.model.hidden_size = 256;
  after.train.steps = 2;
  after.optimizer.kind = OptimizerKind::adafactor;
  EXPECT_EQ(differences(before, after, "model"), std::vector<std::string>{"model.hidden_size: 512 -> 256"});
  EXPECT_EQ(differences(before, after),
            (std::vector<std::string>{"model.hidden_size: 512 -> 256", "train.steps: 1000 -> 2",
                                      "optimizer.kind: adamw -> adafactor"}));
  EXPECT_TRUE(differences(before, before).empty());
}

TEST(RunConfigFile, LoadsAndRefusesWhatIsNoFile) {
  const TemporaryDirectory directory;
  const auto write = [&](const std::string& name, const std::string& text) {
    std::ofstream(directory / name, std::ios::binary) << text;
    return directory / name;
  };
  EXPECT_EQ(load_run_config(write("good.yaml", "train:\n  steps: 3\n")).train.steps, 3);
  EXPECT_TRUE(differences(RunConfig(), load_run_config(write("empty.yaml", ""))).empty());

  const auto expect_error = [](const std::filesystem::path& path, const std::string& message) {
    try {
      load_run_config(path);
      ADD_FAILURE() << path << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.what(), path.string() + message);
    }
  };
  EXPECT_THROW(load_run_config(directory / "none.yaml"), FileError);
  expect_error(directory / "none.yaml", ": No such file or directory");
  EXPECT_THROW(load_run_config(directory.path()), FileError);
  expect_error(directory.path(), ": is a directory, expected a YAML file");
  expect_error(write("bad.yaml", "train:\n  stepz: 3\n"), ":2:3: train.stepz is not a key; did you mean steps?");
  expect_error(write("large.yaml", "#" + std::string(max_config_bytes, 'x')),
               ": larger than the 1048576 bytes allowed for a configuration");
  EXPECT_NO_THROW(load_run_config(write("just.yaml", "#" + std::string(max_config_bytes - 1, 'x'))));
}

}  // namespace
}  // namespace palimpsest
