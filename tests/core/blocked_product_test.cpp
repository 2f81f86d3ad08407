#include "core/products/blocked_product.h"

#include <vector>

#include <gtest/gtest.h>

#include "tests/tensors.h"

namespace palimpsest::products {
namespace {

struct Case {
  std::int64_t rows, inner, columns;
};

/// The whole storage of c after the product, and what float64 makes of the same operands.
struct Outcome {
  std::vector<double> actual, expected;
};

Outcome product_of(DataType type, DataType result_type, const Case& size, bool transpose_a, bool transpose_b,
                   std::int64_t gap, Output output, int threads) {
  MemoryPool pool;
  const auto operand = [&](std::int64_t rows, std::int64_t columns, bool transposed, std::uint64_t seed) {
    return testing::normal_tensor(pool, {transposed ? columns : rows, (transposed ? rows : columns) + gap}, type, seed);
  };
  const Tensor a = operand(size.rows, size.inner, transpose_a, 1);
  const Tensor b = operand(size.inner, size.columns, transpose_b, 2);
  Tensor c = testing::normal_tensor(pool, {size.rows, size.columns + gap}, result_type, 3);
  const auto view = [&](const Tensor& tensor, std::int64_t rows, std::int64_t columns, bool transposed) {
    const ConstMatrix plain{tensor.raw().data(), type, transposed ? columns : rows, transposed ? rows : columns,
                            tensor.shape()[1],   1};
    return transposed ? plain.transposed() : plain;
  };
  const ConstMatrix left = view(a, size.rows, size.inner, transpose_a);
  const ConstMatrix right = view(b, size.inner, size.columns, transpose_b);
  const auto a_values = a.to_doubles(), b_values = b.to_doubles();
  Outcome outcome{{}, c.to_doubles()};
  for (std::int64_t i = 0; i < size.rows; ++i) {
    double* const row = outcome.expected.data() + i * c.shape()[1];
    if (output == Output::overwrite) std::fill(row, row + size.columns, 0.0);
    for (std::int64_t k = 0; k < size.inner; ++k) {
      const double factor = a_values[static_cast<std::size_t>(i * left.row_stride + k * left.column_stride)];
      for (std::int64_t j = 0; j < size.columns; ++j) {
        row[j] += factor * b_values[static_cast<std::size_t>(k * right.row_stride + j * right.column_stride)];
      }
    }
  }
  blocked_product(left, right, {c.raw().data(), result_type, size.rows, size.columns, c.shape()[1]}, output, threads);
  outcome.actual = c.to_doubles();
  return outcome;
}

constexpr std::pair<DataType, DataType> types[] = {{DataType::float32, DataType::float32},
                                                   {DataType::bfloat16, DataType::bfloat16},
                                                   {DataType::bfloat16, DataType::float32}};

void check(const Case& size, std::int64_t gap, int threads) {
  for (const auto& [type, result_type] : types) {
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) {
        for (const Output output : {Output::overwrite, Output::accumulate}) {
          SCOPED_TRACE(::testing::Message()
                       << name_of(type) << " to " << name_of(result_type) << " " << size.rows << "x" << size.inner
                       << "x" << size.columns << " transposed " << transpose_a << transpose_b << " gap " << gap
                       << " accumulate " << (output == Output::accumulate) << " threads " << threads);
          const Outcome outcome = product_of(type, result_type, size, transpose_a, transpose_b, gap, output, threads);
          testing::expect_close(outcome.actual, outcome.expected, testing::tolerance_of(result_type));
        }
      }
    }
  }
}

TEST(BlockedProduct, AgreesWithFloat64OverOddShapes) {
  for (const Case& size : {Case{1, 1, 1}, Case{7, 5, 3}, Case{13, 24, 24}, Case{12, 80, 80}, Case{100, 33, 47},
                           Case{256, 64, 64}, Case{97, 96, 65}}) {
    for (const std::int64_t gap : {0, 3}) {
      for (const int threads : {1, 2}) check(size, gap, threads);
    }
  }
}

TEST(BlockedProduct, AgreesWithFloat64OverSeveralChunksOfTheInnerDimension) {
  check({25, 2501, 40}, 0, 2);   // chunks that differ in length
  check({110, 1600, 30}, 5, 1);  // blocks of rows that share their partial sums' memory
}

TEST(BlockedProduct, PacksARightOperandThatIsTooLargePieceByPiece) {
  // Sixteen megabytes are packed at a time; this one has more, in either type.
  const Case size{2, 2048, 5000};
  for (const auto& [type, result_type] : types) {
    const Outcome outcome = product_of(type, result_type, size, false, false, 0, Output::overwrite, 2);
    testing::expect_close(outcome.actual, outcome.expected, testing::tolerance_of(result_type));
  }
}

TEST(BlockedProduct, HasTheSameBitsForEveryNumberOfThreads) {
  for (const auto& [type, result_type] : types) {
    const Case size{131, 1300, 72};
    const auto one = product_of(type, result_type, size, true, false, 0, Output::accumulate, 1).actual;
    for (const int threads : {2, 3, 5}) {
      EXPECT_EQ(product_of(type, result_type, size, true, false, 0, Output::accumulate, threads).actual, one);
    }
  }
}

TEST(BlockedProduct, SpreadsNoNumbersThatAreNotFinite) {
  // What fills up the last unit and the last panel is zero, not what stands behind the operand.
  MemoryPool pool;
  for (const DataType type : {DataType::float32, DataType::bfloat16}) {
    Tensor a(pool, {5, 4}, type), b(pool, {5, 4}, type), c(pool, {4, 4}, DataType::float32);
    fill(a, INFINITY);
    fill(b, INFINITY);
    for (const Tensor& tensor : {a, b}) {  // 3 x 3 ones in front
      Tensor inside = tensor;
      dispatch(type, [&]<class T>() {
        for (int i = 0; i < 3; ++i) std::fill_n(inside.data<T>() + i * 4, 3, T(1));
      });
    }
    const ConstMatrix left{a.raw().data(), type, 3, 3, 4, 1}, right{b.raw().data(), type, 3, 3, 4, 1};
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) {
        blocked_product(transpose_a ? left.transposed() : left, transpose_b ? right.transposed() : right,
                        {c.raw().data(), DataType::float32, 3, 3, 4}, Output::overwrite, 1);
        for (int i = 0; i < 3; ++i) {
          for (int j = 0; j < 3; ++j) EXPECT_EQ(c.data<float>()[i * 4 + j], 3.0f);
        }
      }
    }
  }
}

}  // namespace
}  // namespace palimpsest::products
