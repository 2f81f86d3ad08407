// The shape of the learning rate schedule.
#include "optim/learning_rate.h"

#include <gtest/gtest.h>

namespace palimpsest {
namespace {

OptimizerConfig config_with(Decay decay) {
  OptimizerConfig config;
  config.learning_rate = 2.0;
  config.memory_gate_learning_rate = 10.0;
  config.warmup_steps = 4;
  config.decay = decay;
  config.final_learning_rate_ratio = 0.25;
  return config;
}

double model_rate(const OptimizerConfig& config, std::int64_t step, std::int64_t total = 12) {
  return learning_rate_at(config, step, total).model;
}

TEST(LearningRate, WarmsUpLinearlyToThePeak) {
  for (const Decay decay : {Decay::cosine, Decay::linear, Decay::constant}) {
    const OptimizerConfig config = config_with(decay);
    EXPECT_DOUBLE_EQ(model_rate(config, 0), 0.5);
    EXPECT_DOUBLE_EQ(model_rate(config, 1), 1.0);
    EXPECT_DOUBLE_EQ(model_rate(config, 3), 2.0);
  }
}

TEST(LearningRate, CosineEndsAtTheFinalRatio) {
  const OptimizerConfig config = config_with(Decay::cosine);
  EXPECT_DOUBLE_EQ(model_rate(config, 5), 2 * (0.25 + 0.75 * 0.8535533905932737));  // a quarter of the way
  EXPECT_DOUBLE_EQ(model_rate(config, 7), 2 * 0.625);                               // half way
  EXPECT_DOUBLE_EQ(model_rate(config, 11), 0.5);
  EXPECT_DOUBLE_EQ(model_rate(config, 99), 0.5) << "beyond the last step";
}

TEST(LearningRate, LinearEndsAtTheFinalRatio) {
  const OptimizerConfig config = config_with(Decay::linear);
  EXPECT_DOUBLE_EQ(model_rate(config, 5), 2 * 0.8125);
  EXPECT_DOUBLE_EQ(model_rate(config, 11), 0.5);
}

TEST(LearningRate, StaysAtThePeakUntilTheDecayStarts) {
  OptimizerConfig config = config_with(Decay::linear);
  config.decay_start = 0.5;  // step 6 of 12
  for (std::int64_t step = 3; step < 6; ++step) EXPECT_DOUBLE_EQ(model_rate(config, step), 2.0) << step;
  EXPECT_DOUBLE_EQ(model_rate(config, 8), 2 * 0.625);  // half of the six that are left
  EXPECT_DOUBLE_EQ(model_rate(config, 11), 0.5);
  config.decay_start = 0.1;  // within the warm-up, which comes first
  EXPECT_DOUBLE_EQ(model_rate(config, 5), 2 * 0.8125);
}

TEST(LearningRate, ConstantStaysAtThePeak) { EXPECT_DOUBLE_EQ(model_rate(config_with(Decay::constant), 11), 2.0); }

TEST(LearningRate, GateHasItsOwnPeakAndTheSameShape) {
  const OptimizerConfig config = config_with(Decay::cosine);
  for (std::int64_t step = 0; step < 12; ++step) {
    const LearningRates rates = learning_rate_at(config, step, 12);
    EXPECT_DOUBLE_EQ(rates.memory_gate, 5 * rates.model);
    EXPECT_EQ(rates.of(ParameterRole::memory_gate), rates.memory_gate);
    EXPECT_EQ(rates.of(ParameterRole::memory_decay), rates.memory_gate);
    for (const ParameterRole role :
         {ParameterRole::matrix, ParameterRole::embedding, ParameterRole::norm, ParameterRole::memory_gain}) {
      EXPECT_EQ(rates.of(role), rates.model);
    }
  }
}

TEST(LearningRate, NoWarmUpAndRunsShorterThanTheWarmUp) {
  OptimizerConfig config = config_with(Decay::linear);
  EXPECT_DOUBLE_EQ(model_rate(config, 1, 2), 1.0) << "a run of 2 steps ends within the warm-up of 4";
  EXPECT_DOUBLE_EQ(model_rate(config, 3, 4), 2.0) << "and one of 4 at its end";
  config.warmup_steps = 0;
  EXPECT_DOUBLE_EQ(model_rate(config, 0, 1), 0.5) << "the only step is the last one";
  EXPECT_DOUBLE_EQ(model_rate(config, 0, 100), 2 * (1 - 0.75 * 0.01));
}

}  // namespace
}  // namespace palimpsest
