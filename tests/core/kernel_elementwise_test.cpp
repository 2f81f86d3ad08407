#include "core/kernels/elementwise.h"

#include <vector>

#include <gtest/gtest.h>

#include "tests/tensors.h"

namespace palimpsest {
namespace {

TEST(AddKernel, AddsLongAndShortArraysOfEveryType) {
  MemoryPool pool;
  for (const DataType type : testing::all_types) {
    for (const std::int64_t count : {0, 1, 7, 70001}) {
      const Tensor a = testing::normal_tensor(pool, {count}, type, 1),
                   b = testing::normal_tensor(pool, {count}, type, 2);
      Tensor sum(pool, {count}, type);
      dispatch(type, [&]<class T>() { add_forward(a.data<T>(), b.data<T>(), count, sum.data<T>()); });
      const auto a_values = a.to_doubles(), b_values = b.to_doubles();
      std::vector<double> expected(a_values.size());
      for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = a_values[i] + b_values[i];
      testing::expect_close(sum.to_doubles(), expected, testing::tolerance_of(type));
    }
  }
}

}  // namespace
}  // namespace palimpsest
