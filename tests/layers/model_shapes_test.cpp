// The whole model over shapes that fill no vector, tile or block of the kernels: loss, gradients and memory of float32
// and bfloat16 against float64, of one schedule against the other.
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/layers/model_gradients.h"
#include "tests/layers/random_batch.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

using testing::Gradients;
using testing::gradients;
using testing::relative_difference;

struct ModelShape {
  std::int64_t heads, kv_heads, head_size, segment_length;
  MemoryUpdate rule;
};

constexpr std::int64_t vocabulary = 29, lanes = 2, tokens = 26;
constexpr std::int64_t one_segment = 50;  // longer than the sequence

ModelConfig config_of(const ModelShape& shape) {
  ModelConfig config;
  config.vocab_size = vocabulary;
  config.hidden_size = 24;
  config.num_layers = 2;
  config.num_heads = shape.heads;
  config.num_kv_heads = shape.kv_heads;
  config.head_size = shape.head_size;
  config.ffn_size = 41;
  config.segment_length = shape.segment_length;
  config.attention.memory_update = shape.rule;
  config.initializer_range = 0.15;  // large, so that every path matters
  config.attention.initial_gate = 0.4;
  return config.resolved();
}

std::vector<ModelShape> shapes() {
  std::vector<ModelShape> all;
  for (const MemoryUpdate rule : {MemoryUpdate::linear, MemoryUpdate::delta}) {
    for (const std::int64_t head_size : {8, 24, 80}) {
      for (const std::int64_t segment_length : {std::int64_t{1}, std::int64_t{7}, one_segment}) {
        all.push_back({3, 1, head_size, segment_length, rule});
      }
      all.push_back({1, 1, head_size, 7, rule});
    }
    all.push_back({3, 3, 24, 7, rule});
    all.push_back({64, 64, 8, one_segment, rule});
    all.push_back({64, 16, 8, 7, rule});
    all.push_back({64, 1, 24, 7, rule});
  }
  return all;
}

std::string name_of_shape(const ::testing::TestParamInfo<ModelShape>& info) {
  const ModelShape& shape = info.param;
  return fmt::format("{}_heads_{}_kv_of_{}_segments_of_{}_{}", shape.heads, shape.kv_heads, shape.head_size,
                     shape.segment_length, shape.rule == MemoryUpdate::delta ? "delta" : "linear");
}

class ModelShapes : public ::testing::TestWithParam<ModelShape> {
 protected:
  Gradients pass(DataType type, Schedule schedule) {
    LanguageModel model(pool_, config_of(GetParam()), type);
    model.initialize(1);
    // A document that begins in mid-segment, one that is a single token, and one that goes on over many segments.
    const TokenBatch batch = testing::random_batch(lanes, tokens, vocabulary, {4, 11, 12});
    return gradients(model, pool_, batch, model.empty_state(pool_, lanes), {schedule, Recompute::none, 0.1});
  }

  void expect_close(const Gradients& actual, const Gradients& expected, double tolerance) {
    EXPECT_NEAR(actual.loss, expected.loss, tolerance * expected.loss);
    ASSERT_EQ(actual.parameters.size(), expected.parameters.size());
    const LanguageModel model(pool_, config_of(GetParam()), DataType::float32);
    for (std::size_t i = 0; i < expected.parameters.size(); ++i) {
      const Parameter& parameter = model.parameters().all()[i];
      // The gradient of a gate is one number a head, a sum over all tokens in which much cancels.
      const double allowed = parameter.role == ParameterRole::memory_gate ? 3 * tolerance : tolerance;
      compare(parameter.name, actual.parameters[i], expected.parameters[i], allowed);
    }
    for (std::size_t layer = 0; layer < expected.memory.layers.size(); ++layer) {
      const auto &mine = actual.memory.layers[layer], &theirs = expected.memory.layers[layer];
      compare(fmt::format("memory {}", layer), mine[0].tensor, theirs[0].tensor, tolerance);
      compare(fmt::format("norm {}", layer), mine[1].tensor, theirs[1].tensor, tolerance);
    }
  }

 private:
  static void compare(const std::string& what, const Tensor& actual, const Tensor& expected, double tolerance) {
    EXPECT_LE(relative_difference(actual.to_doubles(), expected.to_doubles()), tolerance) << what;
  }

  MemoryPool pool_;
};

TEST_P(ModelShapes, EveryPrecisionAndScheduleAgreesWithFloat64) {
  const Gradients exact = pass(DataType::float64, Schedule::sequential);
  for (const auto& [type, tolerance] :
       {std::pair{DataType::float64, 1e-12}, std::pair{DataType::float32, 5e-5}, std::pair{DataType::bfloat16, 0.1}}) {
    for (const Schedule schedule : {Schedule::sequential, Schedule::parallel}) {
      if (type == DataType::float64 && schedule == Schedule::sequential) continue;
      SCOPED_TRACE(fmt::format("{} {}", name_of(type), name_of(schedule)));
      expect_close(pass(type, schedule), exact, tolerance);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Odd, ModelShapes, ::testing::ValuesIn(shapes()), name_of_shape);

}  // namespace
}  // namespace palimpsest
