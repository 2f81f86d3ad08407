// Products of our own: by vectors (vector_product) and, where the machine has them, by matrix units (unit_product).
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "core/products/few_rows.h"
#include "core/products/matrix_units.h"
#include "core/products/onednn.h"
#include "core/products/unit_product.h"
#include "core/products/vector_product.h"
#include "tests/tensors.h"

namespace palimpsest::products {
namespace {

using Kernel = void(MemoryPool&, const ConstMatrix&, const ConstMatrix&, const Matrix&, Output, int);

template <auto product>
void added_to_c(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output,
                int threads) {
  product(pool, a, b, output == Output::accumulate ? ConstMatrix(c) : ConstMatrix(), c, threads);
}
constexpr Kernel* by_vectors = added_to_c<vector_product>;
constexpr Kernel* by_units = added_to_c<unit_product>;

struct Case {
  std::int64_t rows, inner, columns;
};

/// The whole storage of c after the product, and what float64 makes of the same operands.
struct Outcome {
  std::vector<double> actual, expected;
};

Outcome product_of(Kernel* product, DataType type, DataType result_type, const Case& size, bool transpose_a,
                   bool transpose_b, std::int64_t gap, Output output, int threads) {
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
  product(pool, left, right, {c.raw().data(), result_type, size.rows, size.columns, c.shape()[1]}, output, threads);
  outcome.actual = c.to_doubles();
  return outcome;
}

constexpr std::pair<DataType, DataType> types[] = {{DataType::float32, DataType::float32},
                                                   {DataType::bfloat16, DataType::bfloat16},
                                                   {DataType::bfloat16, DataType::float32}};

void check(Kernel* product, const Case& size, std::int64_t gap, int threads) {
  for (const auto& [type, result_type] : types) {
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) {
        for (const Output output : {Output::overwrite, Output::accumulate}) {
          SCOPED_TRACE(::testing::Message()
                       << name_of(type) << " to " << name_of(result_type) << " " << size.rows << "x" << size.inner
                       << "x" << size.columns << " transposed " << transpose_a << transpose_b << " gap " << gap
                       << " accumulate " << (output == Output::accumulate) << " threads " << threads);
          const Outcome outcome =
              product_of(product, type, result_type, size, transpose_a, transpose_b, gap, output, threads);
          testing::expect_close(outcome.actual, outcome.expected, testing::tolerance_of(result_type));
        }
      }
    }
  }
}

struct Named {
  const char* name;
  Kernel* product;
};

class OwnProduct : public ::testing::TestWithParam<Named> {
 protected:
  void SetUp() override {
    if (product == by_units && !has_matrix_units()) GTEST_SKIP() << "no matrix units here";
  }
  Kernel* const product = GetParam().product;
};

INSTANTIATE_TEST_SUITE_P(Kinds, OwnProduct, ::testing::Values(Named{"Vectors", by_vectors}, Named{"Units", by_units}),
                         [](const auto& info) { return info.param.name; });

TEST_P(OwnProduct, AgreesWithFloat64OverOddShapes) {
  for (const Case& size : {Case{1, 1, 1}, Case{7, 5, 3}, Case{13, 24, 24}, Case{12, 80, 80}, Case{100, 33, 47},
                           Case{256, 64, 64}, Case{97, 96, 65}}) {
    check(product, size, 0, 2);
    check(product, size, 3, 1);
  }
}

TEST_P(OwnProduct, AgreesWithFloat64OverSeveralChunksOfTheInnerDimension) {
  check(product, {25, 2501, 40}, 0, 2);   // chunks that differ in length
  check(product, {110, 1600, 30}, 5, 1);  // blocks of rows that share their partial sums' memory
}

TEST_P(OwnProduct, SumsALongInnerDimensionIntoASmallResult) {
  constexpr Case size{32, 17000, 32};  // a weight's gradient over a long sequence: in steps, by matrix units
  for (const DataType type : {DataType::float32, DataType::bfloat16}) {
    for (const Output output : {Output::overwrite, Output::accumulate}) {
      SCOPED_TRACE(::testing::Message() << name_of(type) << " accumulate " << (output == Output::accumulate));
      const auto with = [&](int threads) {
        return product_of(product, type, DataType::float32, size, true, false, 0, output, threads);
      };
      const Outcome one = with(1), two = with(2);
      EXPECT_EQ(one.actual, two.actual);
      for (std::size_t i = 0; i < one.actual.size(); ++i) {
        ASSERT_NEAR(one.actual[i], one.expected[i], 1e-3) << i;  // of sums of 17,000 products, near 130
      }
    }
  }
}

TEST_P(OwnProduct, PacksARightOperandThatIsTooLargePieceByPiece) {
  // Of 5,000 columns neither packs all at once.
  const Case size{2, 2048, 5000};
  for (const auto& [type, result_type] : types) {
    const Outcome outcome = product_of(product, type, result_type, size, false, false, 0, Output::overwrite, 2);
    testing::expect_close(outcome.actual, outcome.expected, testing::tolerance_of(result_type));
  }
}

TEST_P(OwnProduct, HasTheSameBitsForEveryNumberOfThreads) {
  // The second in several groups of panels, whose extent follows from the number of threads.
  for (const Case& size : {Case{131, 1300, 72}, Case{131, 300, 1100}}) {
    for (const auto& [type, result_type] : types) {
      const auto with = [&, type = type, result_type = result_type](int threads) {
        return product_of(product, type, result_type, size, true, false, 0, Output::accumulate, threads);
      };
      const Outcome one = with(1);
      testing::expect_close(one.actual, one.expected, testing::tolerance_of(result_type));
      for (const int threads : {2, 3, 5, 64}) EXPECT_EQ(with(threads).actual, one.actual) << threads;
    }
  }
}

TEST(OneDnnProduct, HasTheSameBitsForEveryNumberOfThreads) {
  for (const Case& size : {Case{260, 900, 310}, Case{30, 5000, 70}, Case{5, 1300, 3000}}) {
    for (const auto& [type, result_type] : types) {
      if (type == DataType::bfloat16 && !onednn_has_bfloat16()) continue;
      const auto with = [&, type = type, result_type = result_type](int threads) {
        return product_of(onednn_product, type, result_type, size, true, false, 0, Output::accumulate, threads);
      };
      const Outcome one = with(1);
      testing::expect_close(one.actual, one.expected, testing::tolerance_of(result_type));
      for (const int threads : {2, 3, 5, 64}) EXPECT_EQ(with(threads).actual, one.actual) << threads;
    }
  }
}

TEST_P(OwnProduct, SpreadsNoNumbersThatAreNotFinite) {
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
        product(pool, transpose_a ? left.transposed() : left, transpose_b ? right.transposed() : right,
                {c.raw().data(), DataType::float32, 3, 3, 4}, Output::overwrite, 1);
        for (int i = 0; i < 3; ++i) {
          for (int j = 0; j < 3; ++j) EXPECT_EQ(c.data<float>()[i * 4 + j], 3.0f);
        }
      }
    }
  }
}

TEST(UnitProduct, WritesAResultThatNoCacheKeeps) {
  if (!has_matrix_units()) GTEST_SKIP() << "no matrix units here";
  constexpr Case size{2049, 4, 1056};  // over 4 MB; a gap of 3 leaves no line whole
  for (const auto& [result_type, gap] :
       {std::pair{DataType::bfloat16, 0}, {DataType::bfloat16, 3}, {DataType::float32, 0}}) {
    SCOPED_TRACE(::testing::Message() << name_of(result_type) << " gap " << gap);
    const Outcome outcome =
        product_of(by_units, DataType::bfloat16, result_type, size, false, true, gap, Output::overwrite, 1);
    testing::expect_close(outcome.actual, outcome.expected, testing::tolerance_of(result_type));
  }
}

TEST(UnitProduct, Float32IsAsExactAsByVectors) {
  if (!has_matrix_units()) GTEST_SKIP() << "no matrix units here";
  const auto error = [](Kernel* product, const Case& size) {
    const Outcome outcome =
        product_of(product, DataType::float32, DataType::float32, size, false, true, 0, Output::overwrite, 1);
    double squares = 0;
    for (std::size_t i = 0; i < outcome.actual.size(); ++i) {
      squares += std::pow(outcome.actual[i] - outcome.expected[i], 2);
    }
    return std::sqrt(squares / static_cast<double>(outcome.actual.size()));
  };
  for (const Case& size : {Case{64, 64, 64}, Case{64, 512, 64}, Case{64, 4096, 64}}) {
    EXPECT_LT(error(by_units, size), 1.5 * error(by_vectors, size)) << size.inner;
  }
}

TEST(UnitProduct, Float32KeepsNumbersThatAreTooLargeForBfloat16NotFinite) {
  if (!has_matrix_units()) GTEST_SKIP() << "no matrix units here";
  MemoryPool pool;
  for (const float value : {INFINITY, -INFINITY, NAN, 3.4e38f}) {
    Tensor a(pool, {32, 32}, DataType::float32), c(pool, {32, 32}, DataType::float32);
    fill(a, 0.0);
    a.data<float>()[5] = value;
    const ConstMatrix left{a.raw().data(), DataType::float32, 32, 32, 32, 1};
    Tensor b(pool, {32, 32}, DataType::float32);
    fill(b, 1.0);
    by_units(pool, left, {b.raw().data(), DataType::float32, 32, 32, 32, 1}, matrix_of(c), Output::overwrite, 1);
    EXPECT_FALSE(std::isfinite(c.data<float>()[0])) << value;
    EXPECT_EQ(c.data<float>()[32], 0.0f);
  }
}

TEST(FewRows, AgreeWithFloat64AndHaveTheSameBitsForEveryNumberOfThreads) {
  for (const Case& size : {Case{2, 5, 3}, Case{16, 33, 20}, Case{17, 300, 257}, Case{35, 64, 31}, Case{64, 513, 30}}) {
    for (const Output output : {Output::overwrite, Output::accumulate}) {
      SCOPED_TRACE(::testing::Message() << size.rows << " rows, accumulate " << (output == Output::accumulate));
      const auto with = [&](int threads, std::int64_t gap) {
        return product_of(few_rows_product, DataType::float32, DataType::float32, size, false, true, gap, output,
                          threads);
      };
      const Outcome one = with(1, 3), dense = with(2, 0);
      testing::expect_close(one.actual, one.expected, testing::tolerance_of(DataType::float32));
      testing::expect_close(dense.actual, dense.expected, testing::tolerance_of(DataType::float32));
      for (const int threads : {2, 3}) EXPECT_EQ(with(threads, 3).actual, one.actual);
    }
  }
}

TEST(FewRows, HaveTheSameBitsWhateverStandsBesideThem) {
  MemoryPool pool;
  const Tensor a = testing::normal_tensor(pool, {64, 300}, DataType::float32, 1);
  const Tensor b = testing::normal_tensor(pool, {70, 300}, DataType::float32, 2);
  const auto first_of = [&](std::int64_t rows) {
    Tensor c(pool, {rows, 70}, DataType::float32);
    ConstMatrix left = matrix_of(a);
    left.rows = rows;
    few_rows_product(pool, left, matrix_of(b).transposed(), matrix_of(c), Output::overwrite, 2);
    return c.rows(0, 2).to_doubles();
  };
  const std::vector<double> two = first_of(2);
  for (const std::int64_t rows : {16, 17, 40, 64}) EXPECT_EQ(first_of(rows), two) << rows;
}

}  // namespace
}  // namespace palimpsest::products
