#include "launch/training/training_step.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "layers/layer_state.h"
#include "tests/launch/tiny_model.h"

namespace palimpsest {
namespace {

class Recorder final : public StepObserver {
 public:
  void enter(Phase phase) override { phases.push_back(phase); }
  StopReason stop_reason() override { return reason; }

  std::vector<Phase> phases;
  StopReason reason;
};

/// A tiny model, four lanes of two segments and a half, and the step over them.
class TrainingStepTest : public testing::Test {
 protected:
  TrainingStepTest() {
    config_.model = tiny_config();
    config_.train.batch_size = 4;
    config_.train.sequence_length = 20;
    config_.train.carry_memory = true;
    config_.optimizer.warmup_steps = 0;
    batch_.lanes = 4;
    batch_.tokens = 20;
    for (std::int32_t i = 0; i < 80; ++i) {
      batch_.inputs.push_back(97 + i * 7 % 26);
      batch_.targets.push_back(97 + i * 11 % 26);
      batch_.documents.push_back(0);
      batch_.loss_weights.push_back(i % 5 == 0 ? 0.0f : 1.0f);
    }
  }

  TrainingStep make_step(LanguageModel& model, const LanguageModel* teacher = nullptr) {
    return TrainingStep({.config = config_,
                         .lanes = plan_lanes(config_.train, 1),
                         .plan = {Schedule::parallel, Recompute::cheap, 0},
                         .model = model,
                         .state_pool = pool_,
                         .step_pool = pool_,
                         .communicator = *communicator_,
                         .sequence_ranks = nullptr,
                         .observer = recorder_,
                         .teacher = teacher});
  }

  MemoryPool pool_;
  RunConfig config_;
  TokenBatch batch_;
  Recorder recorder_;
  std::unique_ptr<Communicator> communicator_ = single_process();
};

TEST_F(TrainingStepTest, UpdatesAndCountsAndSaysWhatItDoes) {
  config_.train.micro_batch_size = 2;
  const auto model = tiny_model(pool_);
  TrainingStep step = make_step(*model);
  StepState state = step.empty_state();
  ASSERT_EQ(state.memories.size(), 2u);
  const StepResult first = step.step(batch_, state);
  EXPECT_EQ(recorder_.phases, (std::vector<Phase>{Phase::communication, Phase::forward, Phase::forward,
                                                  Phase::communication, Phase::optimizer}));
  EXPECT_EQ(first.tokens, 64);
  EXPECT_FALSE(first.skipped);
  EXPECT_FALSE(first.stop.stop());
  EXPECT_EQ(step.optimizer().step(), 1);
  EXPECT_EQ(state.progress.step, 1);
  EXPECT_EQ(state.progress.tokens, 64);
  EXPECT_EQ(state.memories[0].documents, std::vector<std::int64_t>(2, 0));  // carried on
  EXPECT_LT(step.step(batch_, state).loss, first.loss);
}

// At every second step a place is where it was left, whatever the other one has read between.
TEST_F(TrainingStepTest, PlacesThatTakeTurnsHaveMemoriesOfTheirOwn) {
  config_.train.micro_batch_size = 2;
  config_.optimizer.learning_rate = config_.optimizer.memory_gate_learning_rate = 0;
  const auto model = tiny_model(pool_);
  const auto losses = [&](std::int64_t interleave, int steps) {
    config_.train.interleave = interleave;
    TrainingStep step = make_step(*model);
    StepState state = step.empty_state();
    EXPECT_EQ(state.memories.size(), 2u * static_cast<std::size_t>(interleave));
    std::vector<double> result(static_cast<std::size_t>(steps));
    for (double& loss : result) loss = step.step(batch_, state).loss;
    return result;
  };
  const std::vector<double> straight = losses(1, 3), in_turn = losses(2, 6);
  EXPECT_NE(straight[0], straight[1]) << "the memory makes a difference";
  for (std::size_t i = 0; i < in_turn.size(); ++i) EXPECT_EQ(in_turn[i], straight[i / 2]) << i;
}

TEST_F(TrainingStepTest, MicroBatchesMakeTheSameStep) {
  std::vector<StepResult> results;
  for (const std::int64_t size : {0, 2, 1}) {
    config_.train.micro_batch_size = size;
    const auto model = tiny_model(pool_);
    TrainingStep step = make_step(*model);
    StepState state = step.empty_state();
    results.push_back(step.step(batch_, state));
    EXPECT_NEAR(results.back().loss, results[0].loss, 1e-5 * results[0].loss);
    EXPECT_NEAR(results.back().gradient_norm, results[0].gradient_norm, 1e-4 * results[0].gradient_norm);
  }
}

TEST_F(TrainingStepTest, LearnsFromATeacherAndSaysSoApart) {
  ModelConfig sees_all = tiny_config();
  sees_all.attention = {.kind = AttentionKind::full};
  LanguageModel teacher(pool_, sees_all, DataType::float32);
  teacher.initialize(8);
  config_.train.carry_memory = false;
  config_.train.trainable = {"*self_attn*"};
  config_.optimizer.learning_rate = 0.01;
  const auto without = [&] {
    const auto model = tiny_model(pool_);
    TrainingStep step = make_step(*model);
    StepState state = step.empty_state();
    StepResult result = step.step(batch_, state);
    EXPECT_FALSE(result.divergence);
    return result;
  }();
  config_.distillation.share = 1;
  std::vector<StepResult> firsts;
  for (const std::int64_t size : {0, 2, 1}) {
    config_.train.micro_batch_size = size;
    const auto model = tiny_model(pool_);
    TrainingStep step = make_step(*model, &teacher);
    StepState state = step.empty_state();
    firsts.push_back(step.step(batch_, state));
    EXPECT_NEAR(firsts.back().loss, without.loss, 1e-5 * without.loss) << "of the targets alone";
    EXPECT_NEAR(*firsts.back().divergence, *firsts[0].divergence, 1e-5 * *firsts[0].divergence);
    EXPECT_NEAR(firsts.back().gradient_norm, firsts[0].gradient_norm, 1e-4 * firsts[0].gradient_norm);
    double last = 0;
    for (int i = 0; i < 10; ++i) last = *step.step(batch_, state).divergence;
    EXPECT_LT(last, 0.9 * *firsts[0].divergence);
  }
}

TEST_F(TrainingStepTest, ContrastsDocumentsAndSaysSoApart) {
  // In every lane two documents of a segment, each asked two queries of seven tokens.
  config_.train.sequence_length = 48;
  config_.train.carry_memory = false;
  config_.optimizer.learning_rate = 0.01;
  batch_ = {};
  batch_.lanes = 4;
  batch_.tokens = 48;
  for (std::int32_t i = 0; i < 4 * 48; ++i) {
    const std::int32_t document = i / 24 % 2, query = i / 8 % 3, at = i % 8, lane = i / 48;
    const bool asked = query > 0 && at < 7;
    const auto token = [&](std::int32_t place) { return 97 + (query * 5 + lane * 3 + place * 7) % 26; };
    batch_.inputs.push_back(query == 0 ? 97 + (document * 11 + i) % 26 : token(at));
    batch_.targets.push_back(token(at + 1));
    batch_.documents.push_back(document);
    batch_.loss_weights.push_back(asked && query == document + 1 ? 1.0F : 0.0F);
    batch_.write_weights.push_back(query == 0 ? 1.0F : 0.0F);
    batch_.queries.push_back(asked ? query : 0);
  }
  const auto without = [&] {
    const auto model = tiny_model(pool_);
    TrainingStep step = make_step(*model);
    StepState state = step.empty_state();
    return step.step(batch_, state);
  }();
  config_.data.queries.contrast = {.weight = 1, .documents = 2, .temperature = 0.5};
  std::vector<StepResult> firsts;
  for (const std::int64_t size : {0, 2, 1}) {
    config_.train.micro_batch_size = size;
    const auto model = tiny_model(pool_);
    TrainingStep step = make_step(*model);
    StepState state = step.empty_state();
    firsts.push_back(step.step(batch_, state));
    EXPECT_NEAR(firsts.back().loss, without.loss, 1e-5 * without.loss) << "of the queries alone";
    EXPECT_EQ(firsts.back().tokens, 4 * 2 * 7);
    EXPECT_EQ(firsts.back().contrast->tokens, 4 * 2 * 7);
    EXPECT_EQ(firsts.back().contrast->found.all, 8);
    EXPECT_NEAR(firsts.back().contrast->loss, firsts[0].contrast->loss, 1e-5 * firsts[0].contrast->loss);
    EXPECT_NEAR(firsts.back().gradient_norm, firsts[0].gradient_norm, 1e-4 * firsts[0].gradient_norm);
    StepResult last;
    for (int i = 0; i < 20; ++i) last = step.step(batch_, state);
    EXPECT_LT(last.contrast->loss, 0.5 * firsts[0].contrast->loss);
    EXPECT_EQ(last.contrast->found.right, 8);
  }
}

TEST_F(TrainingStepTest, EmptiesMemoriesAsOftenAsAsked) {
  const auto read_after = [&](double fresh, std::int64_t size, int steps) {
    config_.train.fresh_memory = fresh;
    config_.train.micro_batch_size = size;
    const auto model = tiny_model(pool_);
    TrainingStep step = make_step(*model);
    StepState state = step.empty_state();
    for (int i = 0; i < steps; ++i) step.step(batch_, state);
    std::vector<std::int64_t> tokens;
    for (const SequenceState& memory : state.memories)
      tokens.insert(tokens.end(), memory.tokens.begin(), memory.tokens.end());
    return tokens;
  };
  const std::vector<std::int64_t> always = read_after(1, 0, 3), never = read_after(0, 0, 3);
  EXPECT_EQ(always, read_after(0, 0, 1));
  std::int64_t emptied = 0;
  for (int steps = 1; steps <= 8; ++steps) {
    const std::vector<std::int64_t> half = read_after(0.5, 0, steps);
    EXPECT_EQ(half, read_after(0.5, 1, steps));
    emptied += std::ranges::count(half, always[0]);
  }
  EXPECT_GT(emptied, 4 + 5);  // of 4 lanes, all of them in the first step
  EXPECT_LT(emptied, 4 + 23);
  EXPECT_NE(never, always);
}

TEST_F(TrainingStepTest, CarriesNothingUnlessAsked) {
  config_.train.carry_memory = false;
  const auto model = tiny_model(pool_);
  TrainingStep step = make_step(*model);
  StepState state = step.empty_state();
  step.step(batch_, state);
  EXPECT_TRUE(state.memories.empty());
}

TEST_F(TrainingStepTest, SkipsWhatIsNotFiniteAndEmptiesTheMemory) {
  const auto model = tiny_model(pool_);
  TrainingStep step = make_step(*model);
  StepState state = step.empty_state();
  step.step(batch_, state);
  Parameter& spoilt = model->parameters().all()[1];
  spoilt.master.values<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  spoilt.refresh();
  for (int skips = 1; skips <= 2; ++skips) {
    const StepResult result = step.step(batch_, state);
    EXPECT_TRUE(result.skipped);
    EXPECT_NE(result.warning.find(spoilt.name), std::string::npos) << result.warning;
    EXPECT_EQ(state.progress.consecutive_skips, skips);
    EXPECT_EQ(state.memories[0].documents, std::vector<std::int64_t>(4, no_document));
  }
  EXPECT_EQ(step.optimizer().step(), 1);
  EXPECT_EQ(state.progress.step, 3);
}

TEST_F(TrainingStepTest, ABatchWithoutATargetMovesMemoriesAndNoParameter) {
  config_.loss_spike.policy = LossSpikePolicy::skip;
  const auto model = tiny_model(pool_);
  TrainingStep step = make_step(*model);
  StepState state = step.empty_state();
  step.step(batch_, state);
  const auto before = model->parameters().all().front().master.to_doubles();
  const auto memory = state.memories[0].layers[0][0].tensor.to_doubles();
  batch_.loss_weights.assign(80, 0.0f);
  const StepResult result = step.step(batch_, state);
  EXPECT_FALSE(result.has_targets());
  EXPECT_EQ(result.loss, 0.0);
  EXPECT_FALSE(result.skipped);
  EXPECT_EQ(model->parameters().all().front().master.to_doubles(), before);
  EXPECT_NE(state.memories[0].layers[0][0].tensor.to_doubles(), memory);
  EXPECT_EQ(step.optimizer().step(), 1);
  EXPECT_EQ(state.progress.step, 2);
  EXPECT_EQ(state.progress.tokens, 64);
  EXPECT_EQ(step.spikes().window().size(), 1u);
  for (const Parameter& parameter : model->parameters()) {
    EXPECT_FALSE(parameter.variable.has_gradient()) << parameter.name << ": nothing goes backward";
  }
}

TEST_F(TrainingStepTest, MicroBatchesWithoutATargetAreReadOnly) {
  std::vector<StepResult> results;
  for (const bool last : {false, true}) {
    TokenBatch batch = batch_;  // of four lanes the first or the last two are masked
    std::fill_n(batch.loss_weights.begin() + (last ? 40 : 0), 40, 0.0f);
    for (const std::int64_t size : {0, 2, 1}) {
      config_.train.micro_batch_size = size;
      const auto model = tiny_model(pool_);
      TrainingStep step = make_step(*model);
      StepState state = step.empty_state();
      const StepResult first = step.step(batch, state);
      const StepResult second = step.step(batch, state);
      if (size == 0) results = {first, second};
      EXPECT_EQ(first.tokens, 32);
      EXPECT_NEAR(first.gradient_norm, results[0].gradient_norm, 1e-4 * results[0].gradient_norm);
      EXPECT_NEAR(second.loss, results[1].loss, 1e-5 * results[1].loss);
    }
  }
}

TEST_F(TrainingStepTest, TrainsWhatItIsToldAndNothingElse) {
  const auto model = tiny_model(pool_);
  const auto whole_model = tiny_model(pool_);
  config_.optimizer.clip_norm = 0;
  TrainingStep whole = make_step(*whole_model);
  StepState whole_state = whole.empty_state();
  const StepResult of_whole = whole.step(batch_, whole_state);

  config_.train.trainable = {"memory", "layers.1.*norm*"};
  TrainingStep step = make_step(*model);
  std::map<std::string, std::vector<double>> before;
  for (const Parameter& parameter : model->parameters()) before[parameter.name] = parameter.master.to_doubles();
  StepState state = step.empty_state();
  const StepResult result = step.step(batch_, state);
  EXPECT_EQ(result.loss, of_whole.loss);
  double squares = 0;
  for (const Parameter& parameter : model->parameters()) {
    const bool trained = parameter.name.find("memory_gate") != std::string::npos ||
                         parameter.name.find("layers.1.input_layernorm") != std::string::npos ||
                         parameter.name.find("layers.1.post_attention_layernorm") != std::string::npos;
    ASSERT_EQ(parameter.trained(), trained) << parameter.name;
    const Parameter& same = whole_model->parameters().find(parameter.name);
    EXPECT_EQ(parameter.master.to_doubles(), trained ? same.master.to_doubles() : before[parameter.name])
        << parameter.name;
    EXPECT_EQ(parameter.variable.has_gradient(), trained);
    if (!trained) continue;
    for (const double element : parameter.variable.gradient().to_doubles()) squares += element * element;
  }
  EXPECT_NEAR(result.gradient_norm, std::sqrt(squares), 1e-6 * result.gradient_norm);
  EXPECT_LT(result.gradient_norm, of_whole.gradient_norm);
  EXPECT_EQ(step.optimizer().state_bytes(), 2 * 4 * (2 * 4 + 2 * 16u)) << "two moments of gates and norms";
}

TEST_F(TrainingStepTest, TellsWhyToStop) {
  const auto model = tiny_model(pool_);
  TrainingStep step = make_step(*model);
  StepState state = step.empty_state();
  recorder_.reason = {.signal = 15};
  EXPECT_EQ(step.step(batch_, state).stop.signal, 15);
  recorder_.reason = {.out_of_time = true};
  EXPECT_TRUE(step.step(batch_, state).stop.out_of_time);
  EXPECT_EQ(step.optimizer().step(), 2);  // the step is taken all the same
}

}  // namespace
}  // namespace palimpsest
