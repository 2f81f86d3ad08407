// Write weights as the model's user meets them: a segment of weight r stands for r segments, weight 0 for none. What
// they do in every schedule and over ranks, the golden vectors weights_*.h5 show.
#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "layers/training_pass.h"
#include "tests/layers/model_gradients.h"
#include "tests/layers/random_batch.h"
#include "tests/small_config.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

constexpr std::int64_t segment_length = 5;

/// In a model of one layer keys and values do not depend on the memory, so repetitions of a segment write the same.
LanguageModel model_of(MemoryPool& pool, MemoryUpdate update, bool shift, DataType type, std::int64_t layers) {
  ModelConfig config = testing::small_config(update, segment_length);
  config.attention.memory_shift = shift;
  config.num_layers = layers;
  LanguageModel result(pool, config, type);
  result.initialize(3);
  return result;
}

/// The logits of the batch's last segment.
std::vector<double> last_logits(MemoryPool& pool, const LanguageModel& model, const TokenBatch& batch) {
  SequenceState memory = model.empty_state(pool, batch.lanes);
  const std::vector<double> all = logits(model, pool, batch, memory).to_doubles();
  return {all.end() - segment_length * 23, all.end()};
}

/// The batch of one lane with its segments in this order.
TokenBatch with_segments(const TokenBatch& batch, const std::vector<std::int64_t>& order) {
  TokenBatch result{1, static_cast<std::int64_t>(order.size()) * segment_length, {}, {}, {}, {}};
  for (const std::int64_t segment : order) {
    const TokenBatch part = columns_of(batch, segment * segment_length, (segment + 1) * segment_length);
    result.inputs.insert(result.inputs.end(), part.inputs.begin(), part.inputs.end());
    result.targets.insert(result.targets.end(), part.targets.begin(), part.targets.end());
    result.documents.insert(result.documents.end(), part.documents.begin(), part.documents.end());
    result.loss_weights.insert(result.loss_weights.end(), part.loss_weights.begin(), part.loss_weights.end());
  }
  return result;
}

std::vector<float> of_segments(const std::vector<float>& weights) {
  std::vector<float> all;
  for (const float weight : weights) all.insert(all.end(), segment_length, weight);
  return all;
}

void expect_a_segment_of_weight_three_to_be_three(bool shift) {
  MemoryPool pool;
  const LanguageModel one_layer = model_of(pool, MemoryUpdate::linear, shift, DataType::float64, 1);
  TokenBatch batch = testing::random_batch(1, 3 * segment_length, 23, {});
  const TokenBatch repeated = with_segments(batch, {0, 1, 1, 1, 2});
  const std::vector<double> unweighted = last_logits(pool, one_layer, batch);
  batch.write_weights = of_segments({1, 3, 1});
  EXPECT_LE(testing::relative_difference(last_logits(pool, one_layer, batch), last_logits(pool, one_layer, repeated)),
            1e-12);
  EXPECT_GT(testing::relative_difference(last_logits(pool, one_layer, batch), unweighted), 1e-4);
}

TEST(WriteWeightsOfTheLinearRule, MakeASegmentOfWeightThreeThreeSegments) {
  for (const bool shift : {false, true}) expect_a_segment_of_weight_three_to_be_three(shift);
}

struct WritingRule {
  MemoryUpdate update;
  bool shift;
};

class WriteWeights : public ::testing::TestWithParam<WritingRule> {
 protected:
  LanguageModel model(DataType type, std::int64_t layers) {
    return model_of(pool, GetParam().update, GetParam().shift, type, layers);
  }

  MemoryPool pool;
};

TEST_P(WriteWeights, ASegmentOfWeightZeroLeavesNoTrace) {
  const LanguageModel one_layer = model(DataType::float64, 1);
  TokenBatch batch = testing::random_batch(1, 4 * segment_length, 23, {});
  const TokenBatch without = with_segments(batch, {0, 2, 3});
  batch.write_weights = of_segments({1, 0, 1, 1});
  EXPECT_LE(testing::relative_difference(last_logits(pool, one_layer, batch), last_logits(pool, one_layer, without)),
            1e-12);
}

TEST_P(WriteWeights, WeightsOfOneChangeNoBit) {
  for (const DataType type : {DataType::float32, DataType::bfloat16}) {
    LanguageModel two_layers = model(type, 2);
    TokenBatch batch = testing::random_batch(2, 23, 23, {7, 10});
    const auto run = [&](Schedule schedule) {
      return testing::gradients(two_layers, pool, batch, two_layers.empty_state(pool, 2), {.schedule = schedule});
    };
    for (const Schedule schedule : {Schedule::sequential, Schedule::parallel}) {
      batch.write_weights.clear();
      const testing::Gradients plain = run(schedule);
      batch.write_weights.assign(batch.inputs.size(), 1.0f);
      const testing::Gradients weighted = run(schedule);
      EXPECT_EQ(plain.loss, weighted.loss);
      for (std::size_t i = 0; i < plain.parameters.size(); ++i) {
        EXPECT_EQ(plain.parameters[i].to_doubles(), weighted.parameters[i].to_doubles()) << i;
      }
      EXPECT_EQ(plain.memory.layers[1][0].tensor.to_doubles(), weighted.memory.layers[1][0].tensor.to_doubles());
    }
  }
}

TEST_P(WriteWeights, LargeWeightsStayFinite) {
  LanguageModel two_layers = model(DataType::bfloat16, 2);
  TokenBatch batch = testing::random_batch(1, 8 * segment_length, 23, {});
  batch.write_weights = of_segments({1, 10000, 10000, 1, 10000, 0, 10000, 1});
  const testing::Gradients result =
      testing::gradients(two_layers, pool, batch, two_layers.empty_state(pool, 1), {.schedule = Schedule::parallel});
  EXPECT_TRUE(std::isfinite(result.loss));
  for (const Tensor& gradient : result.parameters) {
    for (const double element : gradient.to_doubles()) ASSERT_TRUE(std::isfinite(element));
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, WriteWeights,
                         ::testing::Values(WritingRule{MemoryUpdate::linear, false},
                                           WritingRule{MemoryUpdate::delta, false},
                                           WritingRule{MemoryUpdate::linear, true},
                                           WritingRule{MemoryUpdate::delta, true}),
                         [](const auto& info) {
                           const std::string rule = info.param.update == MemoryUpdate::delta ? "delta" : "linear";
                           return rule + (info.param.shift ? "_shift" : "");
                         });

}  // namespace
}  // namespace palimpsest
