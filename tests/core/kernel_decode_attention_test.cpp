#include "core/kernels/decode_attention.h"

#include <cmath>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "core/parallel.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

struct Case {
  std::int64_t heads, kv_heads, head_size, position;
  bool reads, gated;
  bool root_mean_square = false, adds = false;
};

double sigma(double x) { return x > 0 ? x + 1 : std::exp(x); }

/// The definition in doubles, from operands already rounded to the type.
std::vector<double> expected(const Case& c, const std::vector<double>& query, const std::vector<double>& rotated_query,
                             const std::vector<double>& keys, const std::vector<double>& values,
                             const std::vector<double>& matrix, const std::vector<double>& norm,
                             const std::vector<double>& beta, const std::vector<double>& gain) {
  const std::int64_t d = c.head_size, stride = c.kv_heads * d;
  const auto at = [](const std::vector<double>& all, std::int64_t i) { return all[static_cast<std::size_t>(i)]; };
  std::vector<double> output;
  for (std::int64_t head = 0; head < c.heads; ++head) {
    const std::int64_t kv = head / (c.heads / c.kv_heads);
    std::vector<double> weights;
    double total = 0, denominator = 1e-6;
    for (std::int64_t t = 0; t <= c.position; ++t) {
      double score = 0;
      for (std::int64_t j = 0; j < d; ++j) score += at(rotated_query, head * d + j) * at(keys, t * stride + kv * d + j);
      weights.push_back(std::exp(score / std::sqrt(static_cast<double>(d))));
      total += weights.back();
    }
    for (std::int64_t i = 0; i < d; ++i) denominator += sigma(at(query, head * d + i)) * at(norm, kv * d + i);
    const double g = c.reads || c.gated ? 1 / (1 + std::exp(-at(beta, head))) : 0;
    std::vector<double> recalled(static_cast<std::size_t>(d), 0.0);
    double square = 1e-6;
    for (std::int64_t j = 0; j < d; ++j) {
      double& of_channel = recalled[static_cast<std::size_t>(j)];
      for (std::int64_t i = 0; i < d && c.reads; ++i) {
        of_channel += sigma(at(query, head * d + i)) * at(matrix, (kv * d + i) * d + j);
      }
      square += of_channel * of_channel / static_cast<double>(d);
    }
    for (std::int64_t j = 0; j < d; ++j) {
      double local = 0;
      for (std::int64_t t = 0; t <= c.position; ++t) local += at(weights, t) * at(values, t * stride + kv * d + j);
      const double read =
          at(recalled, j) * (c.root_mean_square ? at(gain, head * d + j) / std::sqrt(square) : 1 / denominator);
      output.push_back(g * read + (c.adds ? 1 : 1 - g) * local / total);
    }
  }
  return output;
}

/// Positions on both sides of the blocks that the kernel works in, head sizes and groups that fill no vector.
TEST(DecodeAttention, IsItsDefinitionForAnyShapeAndTheSameBitsForAnyNumberOfThreads) {
  const std::vector<Case> cases = {
      {1, 1, 2, 0, true, false},
      {2, 2, 24, 2, true, false},
      {4, 2, 80, 63, false, true},
      {6, 1, 24, 64, true, true},
      {8, 8, 128, 65, true, false},
      {64, 8, 8, 200, true, false},
      {3, 3, 10, 130, false, false},
      {5, 5, 64, 190, true, false},
      {4, 2, 24, 70, true, false, true},
      {4, 2, 24, 70, true, false, true, true},
      {4, 2, 24, 70, false, true, true, true},
  };
  for (const DataType type : {DataType::float32, DataType::bfloat16, DataType::float64}) {
    for (const Case& c : cases) {
      SCOPED_TRACE(::testing::Message() << name_of(type) << ", " << c.heads << " heads over " << c.kv_heads << " of "
                                        << c.head_size << ", position " << c.position);
      MemoryPool pool;
      const DataType wide = accumulate_type(type);
      const std::int64_t d = c.head_size, width = c.kv_heads * d;
      const Tensor query = testing::normal_tensor(pool, {1, c.heads * d}, type, 1);
      const Tensor keys = testing::normal_tensor(pool, {c.position + 1, width}, type, 2);
      const Tensor values = testing::normal_tensor(pool, {c.position + 1, width}, type, 3);
      const Tensor matrix = testing::normal_tensor(pool, {c.kv_heads, d, d}, wide, 4);
      Tensor norm(pool, {c.kv_heads, d}, wide);
      fill(norm, 3.0);
      const Tensor beta = testing::normal_tensor(pool, {c.heads}, wide, 5);
      const Tensor gain = testing::normal_tensor(pool, {c.heads, d}, wide, 6);
      const RotaryTable rotary(pool, c.position + 1, d, 1e4, wide);
      Tensor rotated(pool, query.shape(), type), output(pool, query.shape(), type), alone(pool, query.shape(), type);
      dispatch(type, [&]<class T>() {
        using A = accumulate_t<T>;
        for (std::int64_t head = 0; head < c.heads; ++head) {
          rotate(query.data<T>() + head * d, d, rotated.data<T>() + head * d, d, 1, c.position, rotary, false);
        }
        const DecodeAttention<T> inputs{{query.data<T>(), c.heads, d},
                                        {keys.data<T>(), c.kv_heads, d},
                                        {values.data<T>(), c.kv_heads, d},
                                        {matrix.data<A>(), std::as_const(norm).data<A>(), 1, c.kv_heads, d},
                                        beta.data<A>(),
                                        1e-6,
                                        c.reads,
                                        c.gated,
                                        c.root_mean_square ? gain.data<A>() : nullptr,
                                        c.adds};
        const ThreadCount several(3);
        decode_attention(pool, inputs, c.position, rotary, {output.data<T>(), c.heads, d});
        const ThreadCount one(1);
        decode_attention(pool, inputs, c.position, rotary, {alone.data<T>(), c.heads, d});
      });
      testing::expect_close(
          output.to_doubles(),
          expected(c, query.to_doubles(), rotated.to_doubles(), keys.to_doubles(), values.to_doubles(),
                   matrix.to_doubles(), norm.to_doubles(), beta.to_doubles(), gain.to_doubles()),
          testing::tolerance_of(type));
      EXPECT_EQ(output.to_doubles(), alone.to_doubles());
    }
  }
}

}  // namespace
}  // namespace palimpsest
