// A section whose kind decides which options it has: model.attention.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "configs/yaml.h"
#include "core/error.h"

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

TEST(TaggedSection, OptionsArriveInAnyOrder) {
  const AttentionConfig attention =
      parse("model:\n  attention: {memory_update: delta, initial_gate: -1, kind: infini}\n").model.attention;
  EXPECT_EQ(attention.kind, AttentionKind::infini);
  EXPECT_EQ(attention.memory_update, MemoryUpdate::delta);
  EXPECT_EQ(attention.initial_gate, -1);
  EXPECT_EQ(attention.memory_epsilon, AttentionConfig().memory_epsilon) << "options left out have their defaults";
  EXPECT_EQ(parse("model:\n  attention:\n    empty_memory: gated\n").model.attention.empty_memory, EmptyMemory::gated)
      << "so has the kind";
  EXPECT_TRUE(parse("model: {attention: }\n").model == ModelConfig());
}

TEST(TaggedSection, OptionsOfAnotherKindAreRefused) {
  EXPECT_EQ(refusal("model:\n  attention: {kind: local}\n"), "accepted");
  EXPECT_EQ(refusal("model:\n  attention:\n    memory_update: delta\n    kind: local\n"),
            "run.yaml:3:5: model.attention.memory_update is an option of model.attention.kind infini, found local");
  EXPECT_EQ(refusal("model:\n  attention: {kind: full, initial_gate: 1}\n"),
            "run.yaml:2:27: model.attention.initial_gate is an option of model.attention.kind infini, found full");
}

TEST(TaggedSection, UnknownNamesAndDuplicates) {
  EXPECT_EQ(refusal("model:\n  attention: {memory_updat: delta}\n"),
            "run.yaml:2:15: model.attention.memory_updat is not a key; did you mean memory_update?");
  EXPECT_EQ(refusal("model:\n  attention: {kind: local, memory_updat: delta}\n"),
            "run.yaml:2:28: model.attention.memory_updat is not a key; did you mean memory_update?");
  EXPECT_EQ(refusal("model:\n  attention: {zzz: 1}\n"),
            "run.yaml:2:15: model.attention.zzz is not a key; expected kind, memory_update, empty_memory, "
            "memory_epsilon, initial_gate, gate, memory_readout, memory_decay, memory_features, memory_query, "
            "memory_shift or overlap");
  EXPECT_EQ(refusal("model:\n  attention: {kind: infiny}\n"),
            "run.yaml:2:15: model.attention.kind must be infini, local, full, transformer_xl, recurrent_memory or "
            "memorizing, found `infiny`; did you mean infini?");
  EXPECT_EQ(refusal("model:\n  attention: {kind: infini, kind: infini}\n"),
            "run.yaml:2:29: model.attention.kind is already set in line 2");
  EXPECT_EQ(refusal("model:\n  attention: infini\n"),
            "run.yaml:2:3: model.attention is a section: expected indented keys, found `infini`");
}

TEST(TaggedSection, OldPlacesNameTheNewOnes) {
  for (const std::string key : {"memory_update", "empty_memory", "memory_epsilon", "initial_gate"}) {
    const std::string reason = fmt::format("model.{0} is not a key; did you mean model.attention.{0}?", key);
    EXPECT_EQ(refusal(fmt::format("model:\n  {}: x\n", key)), "run.yaml:2:3: " + reason);
    EXPECT_EQ(refusal("", {fmt::format("model.{}=x", key)}), "--set: " + reason);
  }
}

TEST(TaggedSection, Overrides) {
  const std::string text = "model:\n  attention: {memory_update: linear}\n";
  EXPECT_EQ(parse(text, {"model.attention.memory_update=delta"}).model.attention.memory_update, MemoryUpdate::delta);
  EXPECT_EQ(parse("", {"model.attention.memory_update=delta"}).model.attention.memory_update, MemoryUpdate::delta);
  EXPECT_EQ(refusal(text, {"model.attention.kind=local"}), "accepted") << "what the file says of memory is left out";
  EXPECT_EQ(refusal("model: {attention: {kind: local}}", {"model.attention.kind=infini"}), "accepted");
  EXPECT_EQ(refusal(text, {"model.attention.memory_update=delta", "model.attention.kind=local"}),
            "--set: model.attention.memory_update is an option of model.attention.kind infini, found local");
  EXPECT_EQ(refusal("model:\n  attention: {memory_update: new}\n", {"model.attention.memory_update=delta"}),
            "run.yaml:2:15: model.attention.memory_update must be linear or delta, found `new`");
  EXPECT_EQ(refusal("", {"model.attention=local"}),
            "--set: model.attention is a section: expected indented keys, found `local`");
  EXPECT_EQ(refusal("train: {steps: 1}\n", {"train.steps.more=1"}),
            "--set: train.steps: expected a value, found a mapping");
}

TEST(TaggedSection, IsWrittenAndComparedByKind) {
  RunConfig before, after;
  EXPECT_NE(to_yaml(before).find("  attention:\n    kind: infini\n    memory_update: linear\n"), std::string::npos);
  after.model.attention.kind = AttentionKind::local;
  EXPECT_NE(to_yaml(after).find("  attention:\n    kind: local\n  norm_epsilon"), std::string::npos);
  const std::vector<std::string> changes = differences(before, after, "model");
  EXPECT_EQ(changes.front(), "model.attention.kind: infini -> local");
  EXPECT_TRUE(std::ranges::count(changes, "model.attention.memory_update: linear -> none"));
  EXPECT_TRUE(std::ranges::count(differences(after, before), "model.attention.memory_update: none -> linear"));
}

TEST(SavedConfig, OptionsOfAttentionAreFoundWhereEarlierProgramsWroteThem) {
  const RunConfig config = parse_saved_config(
      "model:\n  num_heads: 4\n  memory_update: delta\n  empty_memory: gated\n  memory_epsilon: 0.5\n"
      "  norm_epsilon: 0.25\n  initial_gate: 2\n",
      "saved");
  EXPECT_EQ(config.model.attention, (AttentionConfig{.memory_update = MemoryUpdate::delta,
                                                     .empty_memory = EmptyMemory::gated,
                                                     .memory_epsilon = 0.5,
                                                     .initial_gate = 2}));
  EXPECT_EQ(config.model.num_heads, 4);
  EXPECT_EQ(config.model.norm_epsilon, 0.25);
  EXPECT_TRUE(differences(config, parse_saved_config(to_yaml(config), "written")).empty());
  EXPECT_THROW(parse_saved_config("model: {memory_update: delta, attention: {kind: infini}}", "saved"), ConfigError);
  EXPECT_THROW(parse_saved_config("model: {memory_update: dleta}", "saved"), ConfigError);
}

}  // namespace
}  // namespace palimpsest
