#include "core/kernels/embedding.h"

#include <vector>

#include <gtest/gtest.h>

#include "core/parallel.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

std::vector<std::int32_t> random_tokens(std::size_t count, std::uint64_t vocab) {
  const Random random(9, RandomPurpose::test);
  std::vector<std::int32_t> tokens(count);
  for (std::size_t i = 0; i < count; ++i) tokens[i] = static_cast<std::int32_t>(random.below(i, vocab));
  return tokens;
}

TEST(EmbeddingKernel, GathersRowsAndScattersTheirGradients) {
  MemoryPool pool;
  for (const DataType type : testing::all_types) {
    for (const std::int64_t columns : {1, 5, 50, 131}) {
      const auto tokens = random_tokens(1500, 11);
      const auto rows = static_cast<std::int64_t>(tokens.size());
      const Tensor weight = testing::normal_tensor(pool, {12, columns}, type, 1);
      const Tensor dy = testing::normal_tensor(pool, {rows, columns}, type, 2);
      Tensor y(pool, {rows, columns}, type);
      Tensor dweight = testing::normal_tensor(pool, {12, columns}, accumulate_type(type), 3);
      auto expected_dweight = dweight.to_doubles();
      dispatch(type, [&]<class T>() {
        embedding_forward(weight.data<T>(), tokens, columns, y.data<T>());
        embedding_backward(dy.data<T>(), tokens, columns, dweight.data<accumulate_t<T>>());
      });
      const auto w = weight.to_doubles(), d = dy.to_doubles();
      std::vector<double> expected(d.size());
      for (std::size_t i = 0; i < d.size(); ++i) {
        const auto width = static_cast<std::size_t>(columns);
        const std::size_t source = static_cast<std::size_t>(tokens[i / width]) * width + i % width;
        expected[i] = w[source];
        expected_dweight[source] += d[i];
      }
      EXPECT_EQ(y.to_doubles(), expected);
      testing::expect_close(dweight.to_doubles(), expected_dweight, type == DataType::float64 ? 1e-13 : 1e-5);
    }
  }
}

TEST(EmbeddingKernel, DoesNotDependOnTheThreadCount) {
  MemoryPool pool;
  const auto tokens = random_tokens(2000, 17);
  const Tensor dy = testing::normal_tensor(pool, {2000, 77}, DataType::float32, 2);
  const auto run_with = [&](int threads) {
    const ThreadCount scope(threads);
    Tensor dweight = Tensor::zeros(pool, {17, 77}, DataType::float32);
    embedding_backward(dy.data<float>(), tokens, 77, dweight.data<float>());
    return dweight.to_doubles();
  };
  for (const int threads : {2, 3, 7, 12}) EXPECT_EQ(run_with(threads), run_with(1)) << threads;  // 5 lines of a cache
}

}  // namespace
}  // namespace palimpsest
