// AdamW and Adafactor against numbers computed elsewhere (Python, float64) and against plain
// references in double; what roles mean; thread counts; saving and restoring.
#include "optim/optimizer.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <map>

#include "tests/optim/optimizer_checks.h"
#include "tests/optim/test_parameters.h"

namespace palimpsest {
namespace {

using Values = std::vector<double>;

TEST(AdamW, LiteralNumbers) {
  MemoryPool pool;
  ParameterList parameters;
  add_parameter(parameters, pool, "w", ParameterRole::matrix, {1, 3}, {1, -2, 0.5});
  const auto optimizer = make_optimizer(config_of(OptimizerKind::adamw), parameters, pool);
  Parameter& w = parameters.find("w");
  set_gradient(w, pool, {0.1, -0.2, 0.3});
  optimizer->update(parameters, {.model = 0.01});
  expect_near({0.9890000009999999, -1.9880000005, 0.4895000003333333}, w.master.to_doubles());
  set_gradient(w, pool, {0.05, 0.4, -0.1});
  optimizer->update(parameters, {.model = 0.01});
  expect_near({0.978618071513434, -1.9896457398902383, 0.4849674334972932}, w.master.to_doubles());
  EXPECT_EQ(optimizer->step(), 2);
}

TEST(Adafactor, LiteralNumbers) {
  MemoryPool pool;
  ParameterList parameters;
  add_parameter(parameters, pool, "w", ParameterRole::matrix, {2, 3}, {1, -2, 0.5, 0.25, 1.5, -1});
  OptimizerConfig config = config_of(OptimizerKind::adafactor);
  config.weight_decay = 0;
  const auto optimizer = make_optimizer(config, parameters, pool);
  Parameter& w = parameters.find("w");
  set_gradient(w, pool, {0.1, -0.2, 0.3, 0.05, 0.4, -0.1});  // RMS(U) = 1.019: clipped
  optimizer->update(parameters, {.model = 0.01});
  expect_near({0.9843386579876627, -1.9921693289938314, 0.48338863829089185, 0.24294546412666515, 1.4858909282533304,
               -0.9950116898458412},
              w.master.to_doubles());
  set_gradient(w, pool, {0.3, 0.1, -0.2, -0.4, 0.05, 0.15});  // RMS(U) = 0.936: not clipped
  optimizer->update(parameters, {.model = 0.01});
  expect_near({0.9704151336006218, -1.998064054272729, 0.4961761901215938, 0.2593325916196106, 1.4832892805312092,
               -1.0034774037301548},
              w.master.to_doubles());
}

// Adam's and Adafactor's equations for one parameter, written as they stand in the papers.
struct Reference {
  OptimizerConfig config;
  std::int64_t rows, columns;  // columns 0: not a matrix
  double weight_decay;
  bool scaled;
  Values p;
  Values m = Values(p.size()), v = Values(p.size());
  Values row_sums = Values(static_cast<std::size_t>(rows)), column_sums = Values(static_cast<std::size_t>(columns));

  static double rms(const Values& values) {
    double sum = 0;
    for (double value : values) sum += value * value;
    return std::sqrt(sum / static_cast<double>(values.size()));
  }

  void adamw(const Values& g, int t, double rate) {
    for (std::size_t i = 0; i < p.size(); ++i) {
      m[i] = config.beta1 * m[i] + (1 - config.beta1) * g[i];
      v[i] = config.beta2 * v[i] + (1 - config.beta2) * g[i] * g[i];
      const double m_hat = m[i] / (1 - std::pow(config.beta1, t)), v_hat = v[i] / (1 - std::pow(config.beta2, t));
      p[i] -= rate * (m_hat / (std::sqrt(v_hat) + config.epsilon) + weight_decay * p[i]);
    }
  }

  void adafactor(const Values& g, int t, double rate) {
    const double beta = 1 - std::pow(t, -config.adafactor_decay_rate);
    const auto at = [&](std::int64_t row, std::int64_t column) {
      return static_cast<std::size_t>(row * columns + column);
    };
    if (columns == 0) {
      for (std::size_t i = 0; i < p.size(); ++i)
        v[i] = beta * v[i] + (1 - beta) * (g[i] * g[i] + config.adafactor_epsilon1);
    } else {
      // Sums, as in the paper; the optimiser keeps means, which give the same V.
      for (double& sum : row_sums) sum *= beta;
      for (double& sum : column_sums) sum *= beta;
      for (std::int64_t row = 0; row < rows; ++row) {
        for (std::int64_t column = 0; column < columns; ++column) {
          const double square = g[at(row, column)] * g[at(row, column)] + config.adafactor_epsilon1;
          row_sums[static_cast<std::size_t>(row)] += (1 - beta) * square;
          column_sums[static_cast<std::size_t>(column)] += (1 - beta) * square;
        }
      }
      double total = 0;
      for (double sum : row_sums) total += sum;
      for (std::int64_t row = 0; row < rows; ++row) {
        for (std::int64_t column = 0; column < columns; ++column) {
          v[at(row, column)] =
              row_sums[static_cast<std::size_t>(row)] * column_sums[static_cast<std::size_t>(column)] / total;
        }
      }
    }
    Values u(p.size());
    for (std::size_t i = 0; i < p.size(); ++i) u[i] = g[i] / std::sqrt(v[i]);
    const double clip = std::max(1.0, rms(u) / config.adafactor_clip_threshold);
    const double scale = scaled ? std::max(config.adafactor_epsilon2, rms(p)) : 1.0;
    for (std::size_t i = 0; i < p.size(); ++i) p[i] -= rate * (scale * u[i] / clip + weight_decay * p[i]);
  }
};

class EveryOptimizer : public testing::TestWithParam<OptimizerKind> {};

TEST_P(EveryOptimizer, FollowsThePaperForEveryRole) {
  MemoryPool pool;
  ParameterList parameters;
  add_every_role(parameters, pool, DataType::float64, DataType::float64);
  OptimizerConfig config = config_of(GetParam());
  config.adafactor_clip_threshold = 0.9;
  config.memory_gate_weight_decay = 0.3;
  const auto optimizer = make_optimizer(config, parameters, pool);
  std::vector<Reference> references;
  for (const Parameter& parameter : parameters) {
    const Shape& shape = parameter.master.shape();
    const bool matrix = parameter.role == ParameterRole::matrix || parameter.role == ParameterRole::embedding;
    const bool gate = parameter.role == ParameterRole::memory_gate;
    references.push_back({.config = config,
                          .rows = shape[0],
                          .columns = shape.rank() == 2 ? shape[1] : 0,
                          .weight_decay = matrix ? config.weight_decay
                                          : gate ? config.memory_gate_weight_decay
                                                 : 0.0,
                          .scaled = parameter.role != ParameterRole::memory_gate,
                          .p = parameter.master.to_doubles()});
  }
  const LearningRates rates{.model = 0.003, .memory_gate = 0.02};
  constexpr double scale = 0.7;
  for (int step = 1; step <= 4; ++step) {
    set_random_gradients(parameters, pool, static_cast<std::uint64_t>(step));
    if (step == 3) {  // nothing reached these in this step
      parameters.find("embed_tokens.weight").variable.clear_gradient();
      parameters.find("layers.0.self_attn.memory_gate").variable.clear_gradient();
    }
    optimizer->update(parameters, rates, scale);
    for (std::size_t i = 0; i < references.size(); ++i) {
      const Parameter& parameter = parameters.all()[i];
      Values g(references[i].p.size());
      if (parameter.variable.has_gradient()) g = parameter.variable.gradient().to_doubles();
      for (double& value : g) value *= scale;
      const double rate = parameter.role == ParameterRole::memory_gate ? rates.memory_gate : rates.model;
      if (GetParam() == OptimizerKind::adamw) {
        references[i].adamw(g, step, rate);
      } else {
        references[i].adafactor(g, step, rate);
      }
      SCOPED_TRACE(parameter.name);
      expect_near(references[i].p, parameter.master.to_doubles());
    }
  }
}

TEST_P(EveryOptimizer, Float32FollowsFloat64AndWorkingCopiesFollowMasters) {
  MemoryPool pool;
  ParameterList exact, mixed;
  add_every_role(exact, pool, DataType::float64, DataType::float64);
  add_every_role(mixed, pool, DataType::float32, DataType::bfloat16);
  const auto exact_optimizer = make_optimizer(config_of(GetParam()), exact, pool);
  const auto mixed_optimizer = make_optimizer(config_of(GetParam()), mixed, pool);
  for (std::uint64_t step = 1; step <= 3; ++step) {
    set_random_gradients(exact, pool, step);
    set_random_gradients(mixed, pool, step);
    exact_optimizer->update(exact, {0.01, 0.1});
    mixed_optimizer->update(mixed, {0.01, 0.1});
  }
  for (Parameter& parameter : mixed) {
    SCOPED_TRACE(parameter.name);
    expect_near(exact.find(parameter.name).master.to_doubles(), parameter.master.to_doubles(), 1e-5);
    Tensor expected_copy = converted(pool, parameter.master, parameter.variable.data_type());
    EXPECT_EQ(expected_copy.to_doubles(), parameter.variable.value().to_doubles());
  }
  EXPECT_EQ(mixed.find("embed_tokens.weight").variable.data_type(), DataType::bfloat16);
}

TEST_P(EveryOptimizer, BitsDoNotDependOnThreads) {
  const int threads_before = omp_get_max_threads();
  std::string first;
  for (const int threads : {1, 2, 3}) {
    omp_set_num_threads(threads);
    MemoryPool pool;
    ParameterList parameters;
    add_every_role(parameters, pool, DataType::float32, DataType::bfloat16);
    const auto optimizer = make_optimizer(config_of(GetParam()), parameters, pool);
    for (std::uint64_t step = 1; step <= 3; ++step) {
      set_random_gradients(parameters, pool, step);
      optimizer->update(parameters, {0.01, 0.1}, 0.3);
    }
    if (threads == 1) first = bytes_of(parameters);
    EXPECT_TRUE(bytes_of(parameters) == first) << threads << " threads";
  }
  omp_set_num_threads(threads_before);
}

TEST_P(EveryOptimizer, RestoredStateContinuesBitForBit) {
  MemoryPool pool;
  ParameterList original, restored;
  add_every_role(original, pool, DataType::float32, DataType::float32);
  const auto optimizer = make_optimizer(config_of(GetParam()), original, pool);
  const auto train = [&](Optimizer& trained, ParameterList& parameters, std::uint64_t first, std::uint64_t last) {
    for (std::uint64_t step = first; step <= last; ++step) {
      set_random_gradients(parameters, pool, step);
      trained.update(parameters, {0.01, 0.1});
    }
  };
  train(*optimizer, original, 1, 3);

  std::map<std::string, Tensor> saved;
  optimizer->visit_state([&](const std::string& name, Tensor& state, const Optimizer::StatePlace&) {
    EXPECT_TRUE(saved.emplace(name, converted(pool, state, state.data_type())).second) << name << " visited twice";
  });
  for (const Parameter& parameter : original) {
    restored.add(pool, parameter.name, parameter.role, converted(pool, parameter.master, DataType::float32),
                 DataType::float32);
  }
  const auto continued = make_optimizer(config_of(GetParam()), restored, pool);
  continued->visit_state(
      [&](const std::string& name, Tensor& state, const Optimizer::StatePlace&) { copy(saved.at(name), state); });
  continued->set_step(optimizer->step());

  train(*optimizer, original, 4, 6);
  train(*continued, restored, 4, 6);
  EXPECT_TRUE(bytes_of(original) == bytes_of(restored));
}

TEST_P(EveryOptimizer, RefusesOtherParameters) {
  MemoryPool pool;
  ParameterList parameters, others, fewer;
  add_parameter(parameters, pool, "w", ParameterRole::matrix, {1, 2}, {1, 2});
  add_parameter(others, pool, "x", ParameterRole::matrix, {1, 2}, {1, 2});
  const auto optimizer = make_optimizer(config_of(GetParam()), parameters, pool);
  EXPECT_THROW(optimizer->update(others, {}), ShapeError);
  EXPECT_THROW(optimizer->update(fewer, {}), ShapeError);
  EXPECT_EQ(optimizer->step(), 0);
}

INSTANTIATE_TEST_SUITE_P(Kinds, EveryOptimizer, testing::Values(OptimizerKind::adamw, OptimizerKind::adafactor),
                         [](const auto& kind) { return kind.param == OptimizerKind::adamw ? "AdamW" : "Adafactor"; });

TEST(Adafactor, ParameterScaleIsAnOption) {
  MemoryPool pool;
  ParameterList parameters;
  add_parameter(parameters, pool, "w", ParameterRole::norm, {2}, {100, -100});
  OptimizerConfig config = config_of(OptimizerKind::adafactor);
  config.adafactor_scale_parameter = false;
  const auto optimizer = make_optimizer(config, parameters, pool);
  set_gradient(parameters.find("w"), pool, {3, -4});
  optimizer->update(parameters, {.model = 0.5});
  expect_near({99.5, -99.5}, parameters.find("w").master.to_doubles());  // U = sign(g) in the first step
}

TEST(Adafactor, LeastScaleLetsAParameterLeaveZero) {
  MemoryPool pool;
  ParameterList parameters;
  add_parameter(parameters, pool, "w", ParameterRole::norm, {2}, {0, 0});
  OptimizerConfig config = config_of(OptimizerKind::adafactor);
  config.adafactor_epsilon2 = 0.25;
  const auto optimizer = make_optimizer(config, parameters, pool);
  set_gradient(parameters.find("w"), pool, {3, -4});
  optimizer->update(parameters, {.model = 0.5});
  expect_near({-0.125, 0.125}, parameters.find("w").master.to_doubles());
}

TEST(Adafactor, StateOfAMatrixIsFactored) {
  MemoryPool pool;
  ParameterList parameters;
  add_every_role(parameters, pool, DataType::float32, DataType::float32);
  std::map<std::string, Shape> shapes;
  make_optimizer(config_of(OptimizerKind::adafactor), parameters, pool)
      ->visit_state(
          [&](const std::string& name, Tensor& state, const Optimizer::StatePlace&) { shapes[name] = state.shape(); });
  EXPECT_EQ(shapes.size(), 6u);
  EXPECT_EQ(shapes["optimizer/embed_tokens.weight/exp_avg_sq_row"], Shape({301}));
  EXPECT_EQ(shapes["optimizer/embed_tokens.weight/exp_avg_sq_col"], Shape({127}));
  EXPECT_EQ(shapes["optimizer/layers.0.self_attn.memory_gate/exp_avg_sq"], Shape({5}));
}

TEST(Adafactor, AllGradientsZeroChangeNothing) {
  MemoryPool pool;
  ParameterList parameters;
  add_every_role(parameters, pool, DataType::float32, DataType::float32);
  OptimizerConfig config = config_of(OptimizerKind::adafactor);
  config.weight_decay = 0;
  const auto optimizer = make_optimizer(config, parameters, pool);
  const std::string before = bytes_of(parameters);
  for (int step = 0; step < 3; ++step) optimizer->update(parameters, {0.01, 0.1});
  EXPECT_TRUE(bytes_of(parameters) == before);
}

}  // namespace
}  // namespace palimpsest
