#include "core/products/self_check.h"

#include <gtest/gtest.h>

namespace palimpsest::products {
namespace {

/// A plain product, whose result `spoil` may change.
template <class Spoil>
Product plain_product(Spoil spoil) {
  return [spoil](const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output) {
    const auto* const left = static_cast<const bfloat16*>(a.data);
    const auto* const right = static_cast<const bfloat16*>(b.data);
    for (std::int64_t i = 0; i < c.rows; ++i) {
      for (std::int64_t j = 0; j < c.columns; ++j) {
        float sum = 0;
        for (std::int64_t k = 0; k < a.columns; ++k) {
          sum += static_cast<float>(left[i * a.row_stride + k * a.column_stride]) *
                 static_cast<float>(right[k * b.row_stride + j * b.column_stride]);
        }
        const auto write = [&](auto& target) {
          const float before = output == Output::accumulate ? static_cast<float>(target) : 0.0f;
          target = before + spoil(a, c, i, j, sum);
        };
        if (c.type == DataType::bfloat16) {
          write(static_cast<bfloat16*>(c.data)[i * c.row_stride + j]);
        } else {
          write(static_cast<float*>(c.data)[i * c.row_stride + j]);
        }
      }
    }
  };
}

TEST(SelfCheck, AcceptsAProductThatIsRight) {
  const Product right = plain_product([](const auto&, const auto&, auto, auto, float sum) { return sum; });
  EXPECT_TRUE(is_exact(right));
  EXPECT_TRUE(row_is_exact(right));
}

TEST(SelfCheck, FindsOneWrongElement) {
  const Product last = plain_product([](const auto&, const Matrix& c, std::int64_t i, std::int64_t j, float sum) {
    return i + 1 == c.rows && j + 1 == c.columns ? sum + 64 : sum;
  });
  EXPECT_FALSE(is_exact(last));
  EXPECT_FALSE(row_is_exact(last));
}

TEST(SelfCheck, FindsWhatIsWrongWithOneLayoutOrType) {
  const auto spoiled_if = [](auto condition) {
    return plain_product([condition](const ConstMatrix& a, const Matrix& c, auto, auto, float sum) {
      return condition(a, c) ? sum + 64 : sum;
    });
  };
  EXPECT_FALSE(is_exact(spoiled_if([](const ConstMatrix& a, const Matrix&) { return a.column_stride != 1; })));
  EXPECT_FALSE(is_exact(spoiled_if([](const ConstMatrix&, const Matrix& c) { return c.type == DataType::bfloat16; })));
  EXPECT_FALSE(is_exact(spoiled_if([](const ConstMatrix&, const Matrix& c) { return c.type == DataType::float32; })));
}

}  // namespace
}  // namespace palimpsest::products
