// The gradient norm and clipping, in one process; tests/mpi has several ranks.
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>

#include "optim/gradient_norm.h"
#include "optim/optimizer.h"
#include "tests/optim/test_parameters.h"

namespace palimpsest {
namespace {

double norm_of(const ParameterList& parameters) { return global_gradient_norm(parameters, *single_process()); }

TEST(GradientNorm, IsTheNormOfAllGradientsTogether) {
  MemoryPool pool;
  ParameterList parameters;
  add_parameter(parameters, pool, "a", ParameterRole::matrix, {1, 2}, {0, 0});
  add_parameter(parameters, pool, "b", ParameterRole::norm, {1}, {0});
  add_parameter(parameters, pool, "c", ParameterRole::norm, {1}, {0});  // without gradient
  set_gradient(parameters.find("a"), pool, {3, 4});
  set_gradient(parameters.find("b"), pool, {-12});
  EXPECT_DOUBLE_EQ(norm_of(parameters), 13.0);
  set_gradient(parameters.find("c"), pool, {std::nan("")});
  EXPECT_FALSE(std::isfinite(norm_of(parameters)));
}

TEST(GradientNorm, DoesNotOverflowFloat32) {
  MemoryPool pool;
  ParameterList parameters;
  add_parameter(parameters, pool, "a", ParameterRole::norm, {2}, {0, 0}, DataType::float32, DataType::float32);
  set_gradient(parameters.find("a"), pool, {3e30, 4e30});
  EXPECT_NEAR(norm_of(parameters) / 5e30, 1.0, 1e-6);
}

TEST(GradientNorm, BitsDoNotDependOnThreads) {
  MemoryPool pool;
  ParameterList parameters;
  add_every_role(parameters, pool, DataType::float32, DataType::float32);
  set_random_gradients(parameters, pool, 1);
  const int threads_before = omp_get_max_threads();
  omp_set_num_threads(1);
  const double expected = norm_of(parameters);
  for (const int threads : {2, 3}) {
    omp_set_num_threads(threads);
    EXPECT_EQ(norm_of(parameters), expected) << threads << " threads";
  }
  omp_set_num_threads(threads_before);
}

TEST(Clipping, ScalesLargeGradientsOnly) {
  EXPECT_EQ(clip_factor(4.0, 1.0), 0.25);
  EXPECT_EQ(clip_factor(0.5, 1.0), 1.0);
  EXPECT_EQ(clip_factor(0.0, 1.0), 1.0);
  EXPECT_EQ(clip_factor(4.0, 0.0), 1.0) << "a clip norm of 0 means no clipping";
}

TEST(Clipping, InTheUpdateEqualsClippingTheGradients) {
  MemoryPool pool;
  OptimizerConfig config;
  config.epsilon = 1;  // else AdamW's first step would not see the size of a gradient
  const auto updated = [&](double clip, double gradient_factor) {
    ParameterList parameters;
    add_parameter(parameters, pool, "a", ParameterRole::matrix, {1, 2}, {1, 1});
    set_gradient(parameters.find("a"), pool, {3 * gradient_factor, 4 * gradient_factor});
    const double scale = clip_factor(norm_of(parameters), clip);
    make_optimizer(config, parameters, pool)->update(parameters, {.model = 0.1}, scale);
    return parameters.find("a").master.to_doubles();
  };
  EXPECT_EQ(updated(2.5, 1.0), updated(0.0, 0.5));
  EXPECT_NE(updated(2.5, 1.0), updated(0.0, 1.0));
}

}  // namespace
}  // namespace palimpsest
