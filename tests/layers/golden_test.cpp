// The model against the golden vectors: logits, loss, memory and every gradient, in each schedule.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "layers/training_pass.h"
#include "tests/layers/golden_vectors.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

struct Case {
  std::string name;
  DataType type;
  Schedule schedule;
  Recompute recompute;
};

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  return fmt::format("{}_{}_{}{}", info.param.name, name_of(info.param.type),
                     info.param.schedule == Schedule::sequential ? "sequential" : "parallel",
                     info.param.recompute == Recompute::none ? "" : fmt::format("_{}", name_of(info.param.recompute)));
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const std::string& name : golden_files()) {
    for (const DataType type : {DataType::float64, DataType::float32}) {
      all.push_back({name, type, Schedule::sequential, Recompute::none});
      all.push_back({name, type, Schedule::sequential, Recompute::segment});
      all.push_back({name, type, Schedule::parallel, Recompute::none});
      all.push_back({name, type, Schedule::parallel, Recompute::cheap});
      all.push_back({name, type, Schedule::parallel, Recompute::block});
    }
  }
  return all;
}

class GoldenTest : public ::testing::TestWithParam<Case> {};

TEST_P(GoldenTest, LossLogitsMemoryAndGradients) {
  const Case& param = GetParam();
  Golden golden(param.name);
  const double tolerance = param.type == DataType::float64 ? 1e-9 : 2e-4;
  MemoryPool pool;
  LanguageModel model(pool, golden.config, param.type);
  golden.load(model, pool);

  double maximum = 0;
  const auto compare = [&](const std::string& what, const Tensor& tensor) {
    ASSERT_TRUE(tensor.defined()) << what;
    const double error = testing::relative_difference(tensor.to_doubles(),
                                                      golden.reals(what, static_cast<std::size_t>(tensor.elements())));
    EXPECT_LE(error, tolerance) << what;
    maximum = std::max(maximum, error);
  };

  const auto compare_memory = [&](const SequenceState& state) {
    for (std::size_t layer = 0; layer < state.layers.size(); ++layer) {
      for (const auto& [name, tensor] : state.layers[layer]) {
        compare(fmt::format("expected/memory/{}/{}", layer, name), tensor);
      }
    }
  };

  SequenceState memory = model.empty_state(pool, golden.batch.lanes);
  compare("expected/logits", logits(model, pool, golden.batch, memory));
  compare_memory(memory);

  memory = model.empty_state(pool, golden.batch.lanes);
  const double sum = accumulate_gradients(model, pool, golden.batch, memory,
                                          {param.schedule, param.recompute, 1.0 / golden.total_weight});
  const double loss = golden.reals("expected/loss", 1).front();
  EXPECT_LE(std::abs(sum / golden.total_weight - loss) / loss, tolerance);
  compare_memory(memory);
  for (const Parameter& parameter : model.parameters()) {
    compare("expected/gradients/" + parameter.name, parameter.variable.gradient());
  }
  RecordProperty("largest_relative_difference", fmt::format("{:.3g}", maximum));
}

INSTANTIATE_TEST_SUITE_P(Files, GoldenTest, ::testing::ValuesIn(cases()), case_name);

}  // namespace
}  // namespace palimpsest
