// Models of which some parameters are frozen: those that are trained get the gradients of a whole run, bit for bit, the
// frozen ones none, and backward ends where nothing below is trained.
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "layers/attention/registry.h"
#include "tests/layers/every_attention.h"
#include "tests/layers/model_gradients.h"
#include "tests/layers/random_batch.h"
#include "tests/small_config.h"
#include "tests/tensors.h"
#include "tests/thread_ranks.h"

namespace palimpsest {
namespace {

using testing::Gradients;
using testing::gradients;
using testing::NamedAttention;
using testing::random_batch;

/// Trains the parameters whose names contain one of `parts`; all, if there are none.
void train_only(LanguageModel& model, const std::vector<std::string>& parts) {
  for (const Parameter& parameter : model.parameters()) {
    const auto names_it = [&](const std::string& part) { return parameter.name.find(part) != std::string::npos; };
    parameter.variable.set_requires_gradient(parts.empty() || std::ranges::any_of(parts, names_it));
  }
}

const std::vector<std::vector<std::string>> choices = {
    {"memory_"}, {"layers.1."},    {"layers.0.self_attn.v_proj"},      {"layers.0.self_attn.k_proj", "norm.weight"},
    {"lm_head"}, {"embed_tokens"}, {"layers.0.self_attn.q_proj.bias"}, {"k_norm"}};

class FrozenParameters : public testing::EveryAttention {
 protected:
  bool has(const LanguageModel& model, const std::vector<std::string>& parts) const {
    return std::ranges::any_of(model.parameters(), [&](const Parameter& parameter) {
      return std::ranges::any_of(
          parts, [&](const std::string& part) { return parameter.name.find(part) != std::string::npos; });
    });
  }
};

TEST_P(FrozenParameters, GetNoGradientAndLeaveThoseOfOthersAsTheyAre) {
  LanguageModel model(pool, config(), DataType::float32);
  initialize(model, 2);
  const TokenBatch first = random_batch(2, 18, 23, {4, 11}), second = random_batch(2, 9, 23, {3}, 6);
  TokenBatch next = second;
  for (auto& document : next.documents) document += first.documents.back();
  const bool parallel = traits_of(GetParam().attention.kind).parallel_segments;
  for (const auto& [schedule, recompute] :
       {std::pair{Schedule::parallel, Recompute::none}, std::pair{Schedule::parallel, Recompute::cheap},
        std::pair{Schedule::parallel, Recompute::block}, std::pair{Schedule::sequential, Recompute::cheap},
        std::pair{Schedule::sequential, Recompute::block}, std::pair{Schedule::sequential, Recompute::segment}}) {
    if (schedule == Schedule::parallel && !parallel) continue;
    const auto run = [&, schedule = schedule, recompute = recompute](const std::vector<std::string>& parts) {
      train_only(model, parts);
      const PassOptions options{schedule, recompute, 0.5};
      const Gradients before = gradients(model, pool, first, model.empty_state(pool, 2), options);
      return gradients(model, pool, next, before.memory, options);
    };
    const Gradients whole = run({});
    for (const std::vector<std::string>& parts : choices) {
      if (!has(model, parts)) continue;
      const Gradients some = run(parts);
      EXPECT_EQ(some.loss, whole.loss);
      for (std::size_t i = 0; i < some.parameters.size(); ++i) {
        const Parameter& parameter = model.parameters().all()[i];
        ASSERT_EQ(some.parameters[i].defined(), parameter.trained()) << parameter.name;
        if (!parameter.trained()) continue;
        EXPECT_EQ(some.parameters[i].to_doubles(), whole.parameters[i].to_doubles())
            << parameter.name << " " << name_of(schedule) << " " << name_of(recompute);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, FrozenParameters,
    ::testing::Values(
        NamedAttention{"infini", {.initial_gate = 0.4}},
        NamedAttention{"infini_delta", {.memory_update = MemoryUpdate::delta, .initial_gate = 0.4}},
        NamedAttention{
            "infini_options",
            {.gate = GateKind::add, .memory_readout = MemoryReadout::rms, .memory_decay = true, .overlap = 4}},
        NamedAttention{"local", {.kind = AttentionKind::local}}, NamedAttention{"full", {.kind = AttentionKind::full}},
        NamedAttention{"transformer_xl", {.kind = AttentionKind::transformer_xl, .cache_gradient = true}},
        NamedAttention{"recurrent_memory", {.kind = AttentionKind::recurrent_memory}},
        NamedAttention{"memorizing", {.kind = AttentionKind::memorizing}},
        NamedAttention{"infini_as_qwen", {.initial_gate = 0.4}, true}),
    [](const auto& info) { return info.param.name; });

/// The families of operators that backward has passed.
std::vector<std::string> passed_by_backward(LanguageModel& model, Schedule schedule, Recompute recompute) {
  MemoryPool pool;
  OperatorProfile profile;
  SequenceState state = model.empty_state(pool, 1);
  accumulate_gradients(model, pool, random_batch(1, 17, 23, {}), state,
                       {.schedule = schedule, .recompute = recompute, .profile = &profile});
  std::vector<std::string> families;
  for (const auto& [name, seconds] : profile.families()) {
    if (seconds.backward > 0) families.push_back(name);
  }
  return families;
}

TEST(FrozenParametersBelow, AreNotPassedByBackward) {
  MemoryPool pool;
  LanguageModel model(pool, testing::small_config(MemoryUpdate::delta), DataType::float64);
  model.initialize(2);
  const std::vector<std::string> head{"head and loss"}, with_norm{"head and loss", "norm"};
  for (const Schedule schedule : {Schedule::parallel, Schedule::sequential}) {
    train_only(model, {"lm_head"});
    EXPECT_EQ(passed_by_backward(model, schedule, Recompute::cheap), head);
    train_only(model, {"lm_head"});
    EXPECT_EQ(passed_by_backward(model, schedule, Recompute::block), head) << "whole layers are constants";
    for (const Recompute recompute : {Recompute::none, Recompute::segment}) {
      train_only(model, {"layers.1.mlp.down"});
      EXPECT_EQ(passed_by_backward(model, schedule, recompute),
                (std::vector<std::string>{"head and loss", "linear", "norm"}))
          << name_of(recompute);
    }
  }
}

// Ranks that share a sequence send no gradients of a memory that nobody asks for.
TEST(FrozenParametersBelow, AreNotExchangedBetweenRanksThatShareASequence) {
  const auto run = [](MemoryUpdate update, const std::vector<std::string>& parts, std::vector<double>& gradient) {
    ThreadRanks ranks(3);
    ranks.run([&](Communicator& communicator) {
      MemoryPool pool;
      LanguageModel model(pool, testing::small_config(update), DataType::float64);
      model.initialize(4);
      train_only(model, parts);
      SequenceState state = model.empty_state(pool, 2);
      accumulate_gradients(
          model, pool, random_batch(2, 40, 23, {13}), state,
          {.schedule = Schedule::parallel, .recompute = Recompute::block, .sequence_ranks = &communicator});
      std::vector<double> sum =
          model.parameters().find("layers.1.self_attn.v_proj.weight").variable.gradient().to_doubles();
      communicator.all_reduce_sum(std::span(sum));
      if (communicator.is_root()) gradient = sum;
    });
    return ranks.gathers();
  };
  for (const MemoryUpdate update : {MemoryUpdate::linear, MemoryUpdate::delta}) {
    // Per layer and rank: one exchange (delta: two) in forward, again in the recomputation and one (two) in backward.
    const std::size_t exchanges = update == MemoryUpdate::delta ? 2 : 1;
    std::vector<double> whole, layer, value;
    EXPECT_EQ(run(update, {}, whole), 3 * 2 * 3 * exchanges);
    EXPECT_EQ(run(update, {"layers.1."}, layer), 3 * 4 * exchanges) << "forward alone in the first layer";
    EXPECT_EQ(run(update, {"layers.1.self_attn.v_proj"}, value), 3 * (3 * exchanges + 1))
        << "values need no gradient of the norm";
    EXPECT_EQ(layer, whole);
    EXPECT_EQ(value, whole);
  }
}

}  // namespace
}  // namespace palimpsest
