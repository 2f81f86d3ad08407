#include "core/kernels/norm.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "core/parallel.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

constexpr double epsilon = 1e-5;

/// Inputs of every kind, and the results of forward and backward.
struct NormPass {
  Tensor x, weight, dy, y, inverse_rms, dx, dw;

  NormPass(MemoryPool& pool, DataType type, std::int64_t rows, std::int64_t columns, bool accumulate = false)
      : x(testing::normal_tensor(pool, {rows, columns}, type, 1)),
        weight(testing::normal_tensor(pool, {columns}, accumulate_type(type), 2)),
        dy(testing::normal_tensor(pool, {rows, columns}, type, 3)),
        y(pool, {rows, columns}, type),
        inverse_rms(pool, {rows}, accumulate_type(type)),
        dx(testing::normal_tensor(pool, {rows, columns}, type, 4)),
        dw(testing::normal_tensor(pool, {columns}, accumulate_type(type), 5)) {
    Tensor scratch(pool, {rms_norm_blocks(rows), columns}, accumulate_type(type));
    dispatch(type, [&]<class T>() {
      using A = accumulate_t<T>;
      const RmsNormInputs<T> in{
          .x = std::as_const(x).data<T>(), .weight = std::as_const(weight).data<A>(), .rows = rows, .columns = columns};
      rms_norm_forward<T>(in, epsilon, {.y = y.data<T>(), .inverse_rms = inverse_rms.data<A>()});
      rms_norm_backward<T>(in, {.inverse_rms = std::as_const(inverse_rms).data<A>(),
                                .dy = std::as_const(dy).data<T>(),
                                .dx = {dx.data<T>(), accumulate},
                                .dweight = {dw.data<A>(), accumulate},
                                .scratch = scratch.data<A>()});
    });
  }
};

struct Expected {
  std::vector<double> y, inverse_rms, dx, dw;

  Expected(const NormPass& pass, std::vector<double> dx_before, std::vector<double> dw_before)
      : dx(std::move(dx_before)), dw(std::move(dw_before)) {
    const auto x = pass.x.to_doubles(), w = pass.weight.to_doubles(), dy = pass.dy.to_doubles();
    const std::size_t columns = w.size();
    for (std::size_t row = 0; row * columns < x.size(); ++row) {
      double mean = 0.0;
      for (std::size_t j = 0; j < columns; ++j) mean += x[row * columns + j] * x[row * columns + j] / columns;
      const double r = 1.0 / std::sqrt(mean + epsilon);
      inverse_rms.push_back(r);
      for (std::size_t j = 0; j < columns; ++j) {
        y.push_back(x[row * columns + j] * r * w[j]);
        dw[j] += dy[row * columns + j] * x[row * columns + j] * r;
        // dy_k / dx_j = w_k (r [j = k] - r^3 x_j x_k / columns), entry by entry
        for (std::size_t k = 0; k < columns; ++k) {
          const double derivative =
              w[k] * ((j == k ? r : 0.0) - r * r * r * x[row * columns + j] * x[row * columns + k] / columns);
          dx[row * columns + j] += dy[row * columns + k] * derivative;
        }
      }
    }
  }
};

TEST(RmsNormKernel, AgreesWithTheFormulaInEveryType) {
  MemoryPool pool;
  for (const DataType type : testing::all_types) {
    for (const auto& [rows, columns] : {std::pair{1, 5}, {37, 24}, {70, 33}, {3, 2}}) {
      SCOPED_TRACE(::testing::Message() << name_of(type) << " " << rows << "x" << columns);
      const NormPass pass(pool, type, rows, columns);
      const Expected expected(pass, std::vector<double>(static_cast<std::size_t>(rows * columns)),
                              std::vector<double>(static_cast<std::size_t>(columns)));
      testing::expect_close(pass.y.to_doubles(), expected.y, testing::tolerance_of(type));
      testing::expect_close(pass.inverse_rms.to_doubles(), expected.inverse_rms, 1e-6);
      testing::expect_close(pass.dx.to_doubles(), expected.dx, testing::tolerance_of(type));
      testing::expect_close(pass.dw.to_doubles(), expected.dw, type == DataType::float64 ? 1e-13 : 1e-5);
    }
  }
}

TEST(RmsNormKernel, AddsToEarlierGradients) {
  MemoryPool pool;
  for (const DataType type : testing::all_types) {
    const NormPass pass(pool, type, 37, 24, true);
    const Expected expected(pass, testing::normal_tensor(pool, {37, 24}, type, 4).to_doubles(),
                            testing::normal_values(24, 5));
    testing::expect_close(pass.dx.to_doubles(), expected.dx, testing::tolerance_of(type));
    testing::expect_close(pass.dw.to_doubles(), expected.dw, type == DataType::float64 ? 1e-13 : 1e-5);
  }
}

TEST(RmsNormKernel, DoesNotDependOnTheThreadCount) {
  MemoryPool pool;
  const auto run_with = [&](int threads) {
    const ThreadCount scope(threads);
    return NormPass(pool, DataType::float32, 333, 96);
  };
  const NormPass one = run_with(1);
  for (const int threads : {2, 3, 5}) {
    const NormPass several = run_with(threads);
    EXPECT_EQ(several.y.to_doubles(), one.y.to_doubles());
    EXPECT_EQ(several.dx.to_doubles(), one.dx.to_doubles());
    EXPECT_EQ(several.dw.to_doubles(), one.dw.to_doubles());
  }
}

TEST(RmsNormKernel, NoRowsLeaveNoGradient) {
  MemoryPool pool;
  const NormPass overwritten(pool, DataType::float32, 0, 8), kept(pool, DataType::float32, 0, 8, true);
  EXPECT_EQ(overwritten.dw.to_doubles(), std::vector<double>(8, 0.0));
  EXPECT_EQ(kept.dw.to_doubles(), testing::normal_tensor(pool, {8}, DataType::float32, 5).to_doubles());
}

TEST(RmsNormKernel, ARowOfZerosIsFinite) {
  const float x[4] = {}, weight[4] = {1, 1, 1, 1}, dy[4] = {1, 2, 3, 4};
  float y[4], inverse_rms[1], dx[4];
  const RmsNormInputs<float> in{.x = x, .weight = weight, .rows = 1, .columns = 4};
  rms_norm_forward<float>(in, epsilon, {.y = y, .inverse_rms = inverse_rms});
  rms_norm_backward<float>(in, {.inverse_rms = inverse_rms, .dy = dy, .dx = {dx, false}});
  for (int j = 0; j < 4; ++j) {
    EXPECT_EQ(y[j], 0.0f);
    EXPECT_NEAR(dx[j], dy[j] / std::sqrt(epsilon), 1e-3 * dx[j]);
  }
}

}  // namespace
}  // namespace palimpsest
