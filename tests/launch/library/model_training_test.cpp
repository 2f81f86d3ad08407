// A model as a library has it: made anew, trained on batches of the caller's, stored and read again.
#include "launch/library/model_training.h"

#include <filesystem>
#include <limits>
#include <memory>
#include <string>

#include <gtest/gtest.h>
#include <unistd.h>

#include "core/error.h"
#include "tests/launch/tiny_model.h"

namespace palimpsest {
namespace {

class ModelTrainingTest : public testing::Test {
 protected:
  ModelTrainingTest() {
    config_.model = tiny_config();
    config_.train.batch_size = 3;
    config_.train.steps = 10;
    config_.optimizer.warmup_steps = 0;
    config_.optimizer.learning_rate = 1e-2;
  }
  ~ModelTrainingTest() override { std::filesystem::remove_all(folder_); }

  /// Three texts of different lengths.
  static std::vector<std::vector<std::int32_t>> sequences() {
    std::vector<std::vector<std::int32_t>> result;
    for (const std::size_t length : {21u, 9u, 30u}) result.push_back(ByteTokenizer().encode(tiny_text(length, 1)));
    return result;
  }
  static std::vector<float> logits(Model& model) {
    Generator text = model.new_text();
    text.append("what comes next");
    const std::span<const float> values = text.logits();
    return {values.begin(), values.end()};
  }

  RunConfig config_;
  std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("palimpsest-model-training-" + std::to_string(getpid()));
};

TEST_F(ModelTrainingTest, BatchesPredictEachTokenFromThoseBeforeIt) {
  const std::vector<std::vector<std::int32_t>> tokens = {{5, 6, 7}, {8, 9}};
  const TokenBatch batch = make_batch(tokens, 4);
  EXPECT_EQ(batch.lanes, 2);
  EXPECT_EQ(batch.tokens, 2);
  EXPECT_EQ(batch.inputs, (std::vector<std::int32_t>{5, 6, 8, 0}));
  EXPECT_EQ(batch.targets, (std::vector<std::int32_t>{6, 7, 9, 0}));
  EXPECT_EQ(batch.loss_weights, (std::vector<float>{1, 1, 1, 0}));
  EXPECT_EQ(batch.documents, std::vector<std::int64_t>(4, 4));
  EXPECT_THROW(make_batch(std::vector<std::vector<std::int32_t>>{{1}}), DataError);
}

TEST_F(ModelTrainingTest, LearnsAndIsStoredAndReadAgain) {
  Model model(config_, std::make_unique<ByteTokenizer>());
  const std::vector<float> before = logits(model);
  ModelTraining training(model, config_);
  const auto texts = sequences();
  double first = 0, last = 0;
  for (std::int64_t step = 0; step < 10; ++step) {
    const StepResult result = training.step(make_batch(texts, step));
    EXPECT_FALSE(result.skipped);
    (step == 0 ? first : last) = result.loss;
  }
  EXPECT_LT(last, 0.8 * first);
  EXPECT_EQ(model.progress().step, 10);
  EXPECT_EQ(model.progress().tokens, 10 * (20 + 8 + 29));
  EXPECT_NE(logits(model), before);
  model.save(folder_);
  Model again(folder_);
  EXPECT_EQ(logits(again), logits(model));
  EXPECT_EQ(again.progress().step, 10);
  EXPECT_EQ(again.config().model, model.config().model);
  EXPECT_TRUE(again.warnings().empty());
  EXPECT_THROW(again.save(folder_), WriteError) << "a run's checkpoints stay what they are";
}

TEST_F(ModelTrainingTest, WhatALongerLaneFillsUpChangesNothing) {
  const auto texts = sequences();
  std::vector<double> norms;
  for (const std::int32_t filled : {0, 77}) {
    Model model(config_, std::make_unique<ByteTokenizer>());
    TokenBatch batch = make_batch(texts);
    for (std::size_t i = 0; i < batch.inputs.size(); ++i) {
      if (batch.loss_weights[i] == 0) batch.inputs[i] = batch.targets[i] = filled;
    }
    // In the second step the memory holds what the first one wrote.
    ModelTraining training(model, config_);
    for (int step = 0; step < 2; ++step) norms.push_back(training.step(batch).gradient_norm);
  }
  EXPECT_EQ(norms[0], norms[2]);
  EXPECT_EQ(norms[1], norms[3]);
}

TEST_F(ModelTrainingTest, RefusesBatchesThatAreNone) {
  Model model(config_, std::make_unique<ByteTokenizer>());
  ModelTraining training(model, config_);
  const TokenBatch sound = make_batch(sequences());
  const std::vector<float> before = logits(model);
  TokenBatch batch = sound;
  batch.lanes = 2;
  EXPECT_THROW(training.step(batch), ShapeError);
  batch = sound;
  batch.targets.pop_back();
  EXPECT_THROW(training.step(batch), ShapeError);
  batch = sound;
  batch.write_weights = {1};
  EXPECT_THROW(training.step(batch), ShapeError);
  batch = sound;
  batch.inputs[7] = 258;
  EXPECT_THROW(training.step(batch), DataError);
  batch = sound;
  batch.targets[3] = -1;
  EXPECT_THROW(training.step(batch), DataError);
  batch = sound;
  batch.documents[0] = 3;
  EXPECT_THROW(training.step(batch), DataError);
  EXPECT_EQ(training.progress().step, 0);
  EXPECT_EQ(logits(model), before);
}

TEST_F(ModelTrainingTest, RefusesConfigurationsThatCannotBe) {
  RunConfig config = config_;
  config.model.vocab_size = 100;
  EXPECT_THROW(Model(config, std::make_unique<ByteTokenizer>()), ConfigError);
  Model model(config_, std::make_unique<ByteTokenizer>());
  config = config_;
  config.train.sequence_ranks = 2;
  EXPECT_THROW(ModelTraining(model, config), ConfigError);
  config = config_;
  config.train.micro_batch_size = 2;
  EXPECT_THROW(ModelTraining(model, config), ConfigError);
}

TEST_F(ModelTrainingTest, GivesUpAfterTooManySkippedSteps) {
  config_.train.max_skipped_steps = 2;
  Model model(config_, std::make_unique<ByteTokenizer>());
  ModelTraining training(model, config_);
  TokenBatch batch = make_batch(sequences());
  batch.loss_weights[0] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(training.step(batch).skipped);
  EXPECT_THROW(training.step(batch), NumericalError);
}

}  // namespace
}  // namespace palimpsest
