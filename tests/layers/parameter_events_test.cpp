// What a pass tells whoever moves parameters and gradients between ranks: before a parameter is needed, and once a
// gradient is final.
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "layers/training_pass.h"
#include "tests/layers/random_batch.h"
#include "tests/small_config.h"

namespace palimpsest {
namespace {

using testing::random_batch;
using testing::small_config;

class ParameterEventsTest : public ::testing::TestWithParam<MemoryUpdate> {
 protected:
  MemoryPool pool;
};

// Forward says which parameters it needs before it uses them, wherever they are used first.
TEST_P(ParameterEventsTest, TellsWhichParametersItNeeds) {
  LanguageModel model(pool, small_config(GetParam()), DataType::float64);
  const TokenBatch batch = random_batch(2, 17, 23, {7});
  for (const Schedule schedule : {Schedule::parallel, Schedule::sequential}) {
    for (const Recompute recompute : {Recompute::none, Recompute::block, Recompute::segment}) {
      model.initialize(3);
      SequenceState memory = model.empty_state(pool, 2);
      PassOptions options{.schedule = schedule, .recompute = recompute};
      const double expected = accumulate_gradients(model, pool, batch, memory, options);
      // Parameters that come only when they are asked for.
      std::vector<Tensor> values;
      for (Parameter& parameter : model.parameters()) {
        values.push_back(converted(pool, parameter.master, DataType::float64));
        fill(parameter.master, std::numeric_limits<double>::quiet_NaN());
      }
      options.events.needed = [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) copy(values[i], model.parameters().all()[i].master);
      };
      memory = model.empty_state(pool, 2);
      EXPECT_EQ(accumulate_gradients(model, pool, batch, memory, options), expected)
          << name_of(schedule) << " " << name_of(recompute);
    }
  }
}

// Backward says when a parameter's gradient is final: nothing may change it afterwards, in any way to compute it.
TEST_P(ParameterEventsTest, TellsWhichGradientsAreFinal) {
  for (const bool tied : {false, true}) {
    ModelConfig config = small_config(GetParam());
    config.tie_embeddings = tied;
    LanguageModel model(pool, config, DataType::float64);
    model.initialize(3);
    const TokenBatch batch = random_batch(2, 17, 23, {7});
    TokenBatch masked = batch;
    masked.loss_weights.assign(batch.loss_weights.size(), 0.0f);
    std::vector<std::size_t> masked_firsts;
    for (const Schedule schedule : {Schedule::parallel, Schedule::sequential}) {
      for (const Recompute recompute : {Recompute::none, Recompute::cheap, Recompute::block, Recompute::segment}) {
        model.parameters().clear_gradients();
        PassOptions options{.schedule = schedule, .recompute = recompute};
        SequenceState memory = model.empty_state(pool, 2);
        accumulate_gradients(model, pool, batch, memory, options);
        std::vector<std::vector<double>> untold;
        for (const Parameter& parameter : model.parameters()) {
          untold.push_back(parameter.variable.gradient().to_doubles());
        }
        model.parameters().clear_gradients();
        std::vector<std::vector<double>> announced(model.parameters().size());
        std::vector<std::size_t> firsts;
        options.events.gradients_final = [&](std::size_t begin, std::size_t end) {
          for (std::size_t i = begin; i < end; ++i) {
            EXPECT_TRUE(announced[i].empty()) << "told of twice: " << i;
            announced[i] = model.parameters().all()[i].variable.gradient().to_doubles();
          }
          firsts.push_back(begin);
        };
        memory = model.empty_state(pool, 2);
        accumulate_gradients(model, pool, batch, memory, options);
        // The head of its own, the norm, the second layer's feed-forward and attention, the embedding, the first
        // layer's.
        EXPECT_EQ(firsts, tied ? (std::vector<std::size_t>{21, 17, 11, 0, 7, 1})
                               : (std::vector<std::size_t>{22, 21, 17, 11, 0, 7, 1}));
        // Other ranks may have targets when this one has none: it has to tell of the same in the same order.
        options.events.gradients_final = [order = &masked_firsts](std::size_t begin, std::size_t) {
          order->push_back(begin);
        };
        masked_firsts.clear();
        memory = model.empty_state(pool, 2);
        accumulate_gradients(model, pool, masked, memory, options);
        EXPECT_EQ(masked_firsts, firsts) << name_of(schedule) << " " << name_of(recompute);
        EXPECT_EQ(announced, untold) << "whoever listens changes no bit";
        for (std::size_t i = 0; i < announced.size(); ++i) {
          EXPECT_EQ(announced[i], model.parameters().all()[i].variable.gradient().to_doubles())
              << model.parameters().all()[i].name << " " << name_of(schedule) << " " << name_of(recompute);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, ParameterEventsTest, ::testing::Values(MemoryUpdate::linear, MemoryUpdate::delta),
                         [](const auto& info) { return info.param == MemoryUpdate::delta ? "delta" : "linear"; });

}  // namespace
}  // namespace palimpsest
