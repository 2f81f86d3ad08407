#include "core/kernels/swiglu.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "tests/tensors.h"

namespace palimpsest {
namespace {

TEST(SwigluKernel, AgreesWithTheFormulaInEveryType) {
  MemoryPool pool;
  for (const DataType type : testing::all_types) {
    for (const std::int64_t count : {0, 1, 19, 20003}) {
      const Tensor gate = testing::normal_tensor(pool, {count}, type, 1, 3.0);
      const Tensor up = testing::normal_tensor(pool, {count}, type, 2);
      const Tensor dy = testing::normal_tensor(pool, {count}, type, 3);
      Tensor y(pool, {count}, type), dgate(pool, {count}, type), dup(pool, {count}, type);
      dispatch(type, [&]<class T>() {
        swiglu_forward(gate.data<T>(), up.data<T>(), count, y.data<T>());
        swiglu_backward(gate.data<T>(), up.data<T>(), dy.data<T>(), count, dgate.data<T>(), dup.data<T>());
      });
      const auto g = gate.to_doubles(), u = up.to_doubles(), d = dy.to_doubles();
      std::vector<double> expected(g.size()), expected_dgate(g.size()), expected_dup(g.size());
      for (std::size_t i = 0; i < g.size(); ++i) {
        const double e = std::exp(-g[i]);
        expected[i] = g[i] / (1 + e) * u[i];
        expected_dup[i] = d[i] * g[i] / (1 + e);
        expected_dgate[i] = d[i] * u[i] * (1 + e + g[i] * e) / ((1 + e) * (1 + e));  // quotient rule
      }
      testing::expect_close(y.to_doubles(), expected, testing::tolerance_of(type));
      testing::expect_close(dgate.to_doubles(), expected_dgate, testing::tolerance_of(type));
      testing::expect_close(dup.to_doubles(), expected_dup, testing::tolerance_of(type));
    }
  }
}

TEST(SwigluKernel, StaysFiniteFarFromZero) {
  const float gate[] = {-500.0f, 500.0f}, up[] = {2.0f, 2.0f}, dy[] = {1.0f, 1.0f};
  float y[2], dgate[2], dup[2];
  swiglu_forward(gate, up, 2, y);
  swiglu_backward(gate, up, dy, 2, dgate, dup);
  EXPECT_EQ(y[0], 0.0f);
  EXPECT_EQ(y[1], 1000.0f);
  EXPECT_EQ(dgate[0], 0.0f);
  EXPECT_EQ(dgate[1], 2.0f);
  EXPECT_EQ(dup[0], 0.0f);
  EXPECT_EQ(dup[1], 500.0f);
}

}  // namespace
}  // namespace palimpsest
