// The operator of attention over the nearest of stored keys.
#include <vector>

#include <gtest/gtest.h>

#include "autograd/ops/nearest_attention.h"
#include "core/error.h"
#include "tests/autograd/operator_test.h"

namespace palimpsest {
namespace {

const HeadCounts counts{4, 2, 4};
const std::vector<StoredKeys> runs{{1, 4, 0, 9}, {7, 2, 5, 3}};

TEST(NearestAttentionOperator, HasTheGradientOfQueriesAlone) {
  MemoryPool pool;
  const Tensor query = testing::exact_tensor(pool, {2, 5, 16}, 1), key = testing::exact_tensor(pool, {3, 4, 8}, 2),
               value = testing::exact_tensor(pool, {3, 4, 8}, 3);
  // In bfloat16, too, all keys are found, so that rounding cannot choose others.
  testing::check_operator({.function =
                               [&](Tape& tape, auto in) {
                                 const DataType type = in[0].data_type();
                                 return nearest_attention(tape, in[0], converted(tape.pool(), key, type),
                                                          converted(tape.pool(), value, type), runs, 9, counts);
                               },
                           .inputs = {query}});
  std::vector<Variable> leaves{Variable::leaf(converted(pool, query, DataType::float64))};
  const GradientCheck check = check_gradients(
      pool, [&](Tape& tape) { return std::vector{nearest_attention(tape, leaves[0], key, value, runs, 2, counts)}; },
      leaves);
  EXPECT_LT(check.relative_error, 1e-6) << check.to_string();
}

TEST(NearestAttentionOperator, RefusesWhatDoesNotFit) {
  MemoryPool pool;
  Tape tape(pool);
  const Variable query(Tensor::zeros(pool, {2, 5, 16}, DataType::float64));
  const Tensor stored = Tensor::zeros(pool, {3, 4, 8}, DataType::float64);
  const auto attend = [&](const Tensor& key, const Tensor& value, const StoredKeys& run, std::int64_t top_k) {
    nearest_attention(tape, query, key, value, {run}, top_k, counts);
  };
  EXPECT_NO_THROW(attend(stored, stored, {0, 10, 0, 12}, 1));
  EXPECT_THROW(attend(stored, stored, {0, 10, 0, 12}, 0), ShapeError);
  EXPECT_THROW(attend(stored, stored, {0, 11, 0, 12}, 1), ShapeError);
  EXPECT_THROW(attend(stored, stored, {0, 10, 1, 12}, 1), ShapeError);
  EXPECT_THROW(attend(stored, stored, {0, 10, 0, 0}, 1), ShapeError);
  EXPECT_THROW(attend(stored, Tensor::zeros(pool, {3, 3, 8}, DataType::float64), {0, 1, 0, 1}, 1), ShapeError);
  EXPECT_THROW(attend(Tensor::zeros(pool, {3, 4, 6}, DataType::float64), stored, {0, 1, 0, 1}, 1), ShapeError);
  EXPECT_THROW(attend(Tensor::zeros(pool, {3, 4, 8}, DataType::float32), stored, {0, 1, 0, 1}, 1), ShapeError);
}

}  // namespace
}  // namespace palimpsest
