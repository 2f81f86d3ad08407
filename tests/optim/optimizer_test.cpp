// AdamW and Adafactor against numbers computed elsewhere (Python, float64) and against plain
// references in double; what roles mean; thread counts; saving and restoring.
#include "optim/optimizer.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <map>

#include "tests/optim/test_parameters.h"

namespace palimpsest {
namespace {

using Values = std::vector<double>;

constexpr double tolerance = 1e-12;

OptimizerConfig config_of(OptimizerKind kind) {
  OptimizerConfig config;
  config.kind = kind;
  return config;
}

void expect_near(const Values& expected, const Values& actual, double allowed = tolerance) {
  ASSERT_EQ(expected.size(), actual.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(expected[i], actual[i], allowed * std::max(1.0, std::abs(expected[i]))) << "element " << i;
  }
}

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
  const auto optimizer = make_optimizer(config, parameters, pool);
  std::vector<Reference> references;
  for (const Parameter& parameter : parameters) {
    const Shape& shape = parameter.master.shape();
    const bool matrix = parameter.role == ParameterRole::matrix || parameter.role == ParameterRole::embedding;
    references.push_back({.config = config,
                          .rows = shape[0],
                          .columns = shape.rank() == 2 ? shape[1] : 0,
                          .weight_decay = matrix ? config.weight_decay : 0.0,
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

TEST_P(EveryOptimizer, LeavesFrozenParametersAloneAndKeepsNothingOfThem) {
  MemoryPool pool;
  ParameterList whole, some;
  for (ParameterList* parameters : {&whole, &some}) {
    add_every_role(*parameters, pool, DataType::float32, DataType::bfloat16);
  }
  const std::vector<std::string> frozen = {"embed_tokens.weight", "layers.0.input_layernorm.weight"};
  for (const std::string& name : frozen) some.find(name).variable.set_requires_gradient(false);
  EXPECT_EQ(some.trained_elements(), 517 * 129 + 5);
  const auto of_whole = make_optimizer(config_of(GetParam()), whole, pool);
  const auto of_some = make_optimizer(config_of(GetParam()), some, pool);
  of_some->visit_state([&](const std::string& name, Tensor&, const Optimizer::StatePlace&) {
    for (const std::string& other : frozen) EXPECT_EQ(name.find(other), std::string::npos) << name;
  });
  std::map<std::string, Values> before;
  for (const Parameter& parameter : some) before[parameter.name] = parameter.master.to_doubles();
  for (std::uint64_t step = 1; step <= 2; ++step) {
    set_random_gradients(whole, pool, step);
    set_random_gradients(some, pool, step);
    of_whole->update(whole, {.model = 0.01, .memory_gate = 0.1});
    std::vector<std::size_t> updated;
    of_some->update(some, {.model = 0.01, .memory_gate = 0.1}, 1.0,
                    [&](std::size_t index) { updated.push_back(index); });
    EXPECT_EQ(updated, (std::vector<std::size_t>{2, 3}));
  }
  for (const Parameter& parameter : some) {
    const Values expected =
        parameter.trained() ? whole.find(parameter.name).master.to_doubles() : before[parameter.name];
    EXPECT_EQ(parameter.master.to_doubles(), expected) << parameter.name;
  }
  some.find(frozen[0]).variable.set_requires_gradient(true);
  EXPECT_THROW(of_some->update(some, {}), ShapeError);
}

TEST_P(EveryOptimizer, MultipliesLearningRatesByPattern) {
  MemoryPool pool;
  OptimizerConfig config = config_of(GetParam());
  config.learning_rate_multipliers = {{"layers.*", 9}, {"*_proj.weight", 0.5}, {"memory", 0}};
  ParameterList multiplied;
  add_every_role(multiplied, pool, DataType::float64, DataType::float64);
  const auto optimizer = make_optimizer(config, multiplied, pool);
  const Values gate = multiplied.find("layers.0.self_attn.memory_gate").master.to_doubles();
  set_random_gradients(multiplied, pool, 1);
  optimizer->update(multiplied, {.model = 0.01, .memory_gate = 0.1});
  EXPECT_EQ(multiplied.find("layers.0.self_attn.memory_gate").master.to_doubles(), gate);
  for (const auto& [name, rate] : std::map<std::string, double>{{"embed_tokens.weight", 0.01},
                                                                {"layers.0.input_layernorm.weight", 0.09},
                                                                {"layers.0.self_attn.q_proj.weight", 0.005}}) {
    ParameterList plain;
    add_every_role(plain, pool, DataType::float64, DataType::float64);
    set_random_gradients(plain, pool, 1);
    make_optimizer(config_of(GetParam()), plain, pool)->update(plain, {.model = rate, .memory_gate = 0.1});
    expect_near(plain.find(name).master.to_doubles(), multiplied.find(name).master.to_doubles());
  }
}

// Without gradients nothing but the decays is left of a step.
TEST_P(EveryOptimizer, DecaysTowardTheInitialWeights) {
  MemoryPool pool;
  ParameterList parameters;
  add_every_role(parameters, pool, DataType::float64, DataType::float64);
  OptimizerConfig config = config_of(GetParam());
  config.weight_decay = 0.5;
  config.decay_toward_initial = 2;
  const auto optimizer = make_optimizer(config, parameters, pool);
  std::map<std::string, Values> initial, expected;
  for (Parameter& parameter : parameters) {
    fill(parameter.master, 3.0);  // these are the ones that count
    initial[parameter.name] = parameter.master.to_doubles();
  }
  optimizer->remember_initial(parameters);
  for (Parameter& parameter : parameters) {
    copy(Tensor::from_values(pool, parameter.master.shape(), DataType::float64,
                             random_values(parameter.master.elements(), 5)),
         parameter.master);
    expected[parameter.name] = parameter.master.to_doubles();
  }
  for (int step = 1; step <= 2; ++step) {
    optimizer->update(parameters, {.model = 0.1, .memory_gate = 0.2});
    for (const Parameter& parameter : parameters) {
      const bool gate = parameter.role == ParameterRole::memory_gate, norm = parameter.role == ParameterRole::norm;
      Values& p = expected[parameter.name];
      for (std::size_t i = 0; i < p.size(); ++i) {
        if (!gate) p[i] -= 0.1 * 2 * (p[i] - initial[parameter.name][i]);
        if (!gate && !norm) p[i] -= 0.1 * 0.5 * p[i];
      }
      expect_near(p, parameter.master.to_doubles());
    }
  }
}

TEST_P(EveryOptimizer, KeepsTheInitialWeightsInItsState) {
  MemoryPool pool;
  OptimizerConfig config = config_of(GetParam());
  config.decay_toward_initial = 0.3;
  ParameterList original, restored;
  for (ParameterList* parameters : {&original, &restored}) {
    add_every_role(*parameters, pool, DataType::float32, DataType::bfloat16);
    parameters->find("embed_tokens.weight").variable.set_requires_gradient(false);
  }
  const auto optimizer = make_optimizer(config, original, pool);
  const auto train = [&](Optimizer& of, ParameterList& parameters, std::uint64_t step) {
    set_random_gradients(parameters, pool, step);
    parameters.find("embed_tokens.weight").variable.clear_gradient();
    of.update(parameters, {.model = 0.01, .memory_gate = 0.1});
  };
  train(*optimizer, original, 1);
  std::map<std::string, Tensor> state;
  std::vector<std::string> pulled;
  optimizer->visit_state([&](const std::string& name, Tensor& tensor, const Optimizer::StatePlace&) {
    state[name] = converted(pool, tensor, tensor.data_type());
    if (name.ends_with("/initial")) pulled.push_back(name);
  });
  EXPECT_EQ(pulled, (std::vector<std::string>{"optimizer/layers.0.input_layernorm.weight/initial",
                                              "optimizer/layers.0.self_attn.q_proj.weight/initial"}));
  for (Parameter& parameter : restored) {
    copy(original.find(parameter.name).master, parameter.master);
    parameter.refresh();
  }
  const auto continued = make_optimizer(config, restored, pool);  // whose own initial weights are those of step 1
  continued->visit_state(
      [&](const std::string& name, Tensor& tensor, const Optimizer::StatePlace&) { copy(state.at(name), tensor); });
  continued->set_step(1);
  train(*optimizer, original, 2);
  train(*continued, restored, 2);
  EXPECT_TRUE(bytes_of(original) == bytes_of(restored));
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
