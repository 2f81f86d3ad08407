#include "core/matmul.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/parallel.h"
#include "core/products/onednn.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

/// A matrix in a buffer of its own, with room between the rows.
struct Operand {
  Tensor storage;
  std::int64_t rows, columns, stride;

  Operand(MemoryPool& pool, DataType type, std::int64_t rows, std::int64_t columns, std::int64_t gap,
          std::uint64_t seed)
      : storage(testing::normal_tensor(pool, {rows, columns + gap}, type, seed)),
        rows(rows),
        columns(columns),
        stride(columns + gap) {}

  Matrix view() { return {storage.raw().data(), storage.data_type(), rows, columns, stride}; }
  std::vector<double> values() const { return storage.to_doubles(); }
};

double at(const ConstMatrix& m, const std::vector<double>& values, std::int64_t i, std::int64_t j) {
  return values[static_cast<std::size_t>(i * m.row_stride + j * m.column_stride)];
}

/// Whole storage of c after c <- [c +] a b, one element at a time.
std::vector<double> reference(const ConstMatrix& a, const std::vector<double>& a_values, const ConstMatrix& b,
                              const std::vector<double>& b_values, const Matrix& c, std::vector<double> c_values,
                              Output output) {
  for (std::int64_t i = 0; i < c.rows; ++i) {
    for (std::int64_t j = 0; j < c.columns; ++j) {
      double& element = c_values[static_cast<std::size_t>(i * c.row_stride + j)];
      if (output == Output::overwrite) element = 0.0;
      for (std::int64_t k = 0; k < a.columns; ++k) element += at(a, a_values, i, k) * at(b, b_values, k, j);
    }
  }
  return c_values;
}

struct Case {
  std::int64_t rows, inner, columns;
};

void check_case(DataType type, DataType result_type, const Case& size, bool transpose_a, bool transpose_b,
                std::int64_t gap, Output output) {
  SCOPED_TRACE(::testing::Message() << name_of(type) << " to " << name_of(result_type) << " " << size.rows << "x"
                                    << size.inner << "x" << size.columns << " transposed " << transpose_a << transpose_b
                                    << " gap " << gap << " accumulate " << (output == Output::accumulate));
  MemoryPool pool;
  Operand a(pool, type, transpose_a ? size.inner : size.rows, transpose_a ? size.rows : size.inner, gap, 1);
  Operand b(pool, type, transpose_b ? size.columns : size.inner, transpose_b ? size.inner : size.columns, gap, 2);
  Operand c(pool, result_type, size.rows, size.columns, gap, 3);
  const ConstMatrix left = transpose_a ? a.view().transposed() : ConstMatrix(a.view());
  const ConstMatrix right = transpose_b ? b.view().transposed() : ConstMatrix(b.view());
  const auto expected = reference(left, a.values(), right, b.values(), c.view(), c.values(), output);
  matmul(pool, left, right, c.view(), output);
  testing::expect_close(c.values(), expected, testing::tolerance_of(result_type));
}

TEST(Matmul, AgreesWithAPlainLoop) {
  const std::pair<DataType, DataType> types[] = {{DataType::float32, DataType::float32},
                                                 {DataType::bfloat16, DataType::bfloat16},
                                                 {DataType::bfloat16, DataType::float32},
                                                 {DataType::float64, DataType::float64}};
  for (const auto& [type, result_type] : types) {
    for (const Case& size : {Case{7, 5, 3}, Case{64, 48, 80}, Case{1, 33, 17}, Case{19, 1, 1}}) {
      for (const bool transpose_a : {false, true}) {
        for (const bool transpose_b : {false, true}) {
          for (const std::int64_t gap : {0, 3}) {
            for (const Output output : {Output::overwrite, Output::accumulate}) {
              check_case(type, result_type, size, transpose_a, transpose_b, gap, output);
            }
          }
        }
      }
    }
  }
}

TEST(Matmul, EmptyExtentsAreNothingOrZero) {
  MemoryPool pool;
  for (const DataType type : testing::all_types) {
    for (const Case& size : {Case{0, 4, 5}, Case{4, 0, 5}, Case{4, 5, 0}, Case{0, 0, 0}}) {
      for (const std::int64_t gap : {0, 2}) {
        check_case(type, type, size, false, true, gap, Output::overwrite);
        check_case(type, type, size, true, false, gap, Output::accumulate);
      }
    }
  }
}

TEST(Matmul, AddsToAnotherMatrixAsToACopyOfIt) {
  MemoryPool pool;
  const std::pair<DataType, DataType> types[] = {{DataType::float32, DataType::float32},
                                                 {DataType::bfloat16, DataType::bfloat16},
                                                 {DataType::bfloat16, DataType::float32},
                                                 {DataType::float64, DataType::float64}};
  // The fourth takes several steps of the inner dimension, the last is over 4 MB in bfloat16.
  for (const Case& size :
       {Case{1, 20, 33}, Case{70, 0, 33}, Case{70, 300, 33}, Case{33, 6000, 40}, Case{2049, 20, 1056}}) {
    for (const auto& [type, result_type] : types) {
      if (type == DataType::float64 && size.rows > 1000) continue;  // one element at a time
      for (const std::int64_t gap : {0, 5}) {
        SCOPED_TRACE(::testing::Message() << name_of(type) << " " << size.rows << "x" << size.inner << " gap " << gap);
        Operand a(pool, type, size.rows, size.inner, gap, 1), b(pool, type, size.inner, size.columns, gap, 2);
        Operand addend(pool, result_type, size.rows, size.columns, gap, 3);
        Operand copied(pool, result_type, size.rows, size.columns, 2 * gap, 4);
        Operand added(pool, result_type, size.rows, size.columns, 2 * gap, 4);
        const auto bytes = [width = size_of(result_type)](std::int64_t elements) {
          return static_cast<std::size_t>(elements) * width;
        };
        for (std::int64_t i = 0; i < size.rows; ++i) {
          std::memcpy(copied.storage.raw().data() + bytes(i * copied.stride),
                      addend.storage.raw().data() + bytes(i * addend.stride), bytes(size.columns));
        }
        matmul(pool, a.view(), b.view(), copied.view(), Output::accumulate);
        matmul_added(pool, a.view(), b.view(), addend.view(), added.view());
        EXPECT_TRUE(std::ranges::equal(added.storage.raw(), copied.storage.raw()));
      }
    }
  }
  Operand a(pool, DataType::float32, 2, 3, 0, 1), b(pool, DataType::float32, 3, 4, 0, 2);
  Operand c(pool, DataType::float32, 2, 4, 0, 3), other(pool, DataType::float32, 2, 5, 0, 4);
  EXPECT_THROW(matmul_added(pool, a.view(), b.view(), other.view(), c.view()), ShapeError);
}

TEST(Matmul, RepeatsTheSameBits) {
  MemoryPool pool;
  for (const DataType type : testing::all_types) {
    Operand a(pool, type, 96, 200, 0, 1), b(pool, type, 200, 130, 0, 2), c(pool, type, 96, 130, 0, 3);
    matmul(pool, a.view(), b.view(), c.view());
    const auto first = c.values();
    for (int i = 0; i < 3; ++i) {
      fill(c.storage, 0.0);
      matmul(pool, a.view(), b.view(), c.view());
      EXPECT_EQ(c.values(), first);
    }
  }
}

TEST(Matmul, WorksInsideParallelRegions) {
  MemoryPool pool;
  for (const DataType type : testing::all_types) {
    constexpr int products = 12;
    Operand a(pool, type, 32, 24, 0, 1), b(pool, type, 24, 40, 0, 2);
    std::vector<Operand> results;
    results.reserve(products);
    for (int i = 0; i < products; ++i) results.emplace_back(pool, type, 32, 40, 0, 4);
#pragma omp parallel for schedule(static) num_threads(3)
    for (int i = 0; i < products; ++i) {
      matmul(pool, a.view(), b.view(), results[static_cast<std::size_t>(i)].view());
    }
    const auto expected = reference(a.view(), a.values(), b.view(), b.values(), results[0].view(), results[0].values(),
                                    Output::overwrite);
    for (const Operand& result : results) testing::expect_close(result.values(), expected, testing::tolerance_of(type));
    for (const Operand& result : results) EXPECT_EQ(result.values(), results[0].values());
  }
}

TEST(Matmul, FollowsTheThreadCount) {
  for (const int threads : {1, 2, 3}) {
    const ThreadCount scope(threads);
    check_case(DataType::float32, DataType::float32, {70, 60, 50}, true, false, 0, Output::accumulate);
    check_case(DataType::float64, DataType::float64, {70, 60, 50}, true, false, 0, Output::accumulate);
  }
}

TEST(Matmul, SaysWhatScratchMemoryItTakes) {
  for (const auto& [type, result_type] : {std::pair{DataType::float32, DataType::float32},
                                          {DataType::bfloat16, DataType::bfloat16},
                                          {DataType::bfloat16, DataType::float32}}) {
    for (const Case& size : {Case{7, 5, 3}, Case{1, 33, 17}, Case{300, 1300, 129}, Case{1100, 64, 96}}) {
      MemoryPool pool;
      Operand a(pool, type, size.rows, size.inner, 0, 1), b(pool, type, size.columns, size.inner, 0, 2);
      Operand c(pool, result_type, size.rows, size.columns, 0, 3);
      const std::size_t before = pool.statistics().bytes_in_use;
      matmul(pool, a.view(), b.view().transposed(), c.view());
      const auto taken = static_cast<std::int64_t>(pool.statistics().peak_bytes_in_use - before);
      const std::int64_t said = matmul_scratch_bytes(a.view(), b.view().transposed(), c.view());
      EXPECT_GE(taken, said);
      EXPECT_LE(taken, said + 4096 + 3 * 64) << size.rows;  // rounded up
    }
  }
}

TEST(Matmul, NamesWhatDoesNotFit) {
  MemoryPool pool;
  Operand a(pool, DataType::float32, 2, 3, 0, 1), b(pool, DataType::float32, 4, 5, 0, 2),
      c(pool, DataType::float32, 2, 5, 0, 3);
  try {
    matmul(pool, a.view(), b.view(), c.view());
    FAIL() << "no error";
  } catch (const ShapeError& error) {
    EXPECT_NE(std::string(error.what()).find("float32 (2 x 3) times float32 (4 x 5)"), std::string::npos)
        << error.what();
  }
  Operand wide(pool, DataType::float64, 3, 5, 0, 4);
  EXPECT_THROW(matmul(pool, a.view(), wide.view(), c.view()), ShapeError);
  Operand narrow(pool, DataType::bfloat16, 2, 5, 0, 4), right(pool, DataType::float32, 3, 5, 0, 5);
  EXPECT_THROW(matmul(pool, a.view(), right.view(), narrow.view()), ShapeError);
}

TEST(Matmul, SeesATensorAsAMatrix) {
  MemoryPool pool;
  Tensor tensor(pool, {2, 3, 4}, DataType::float32);
  const Matrix m = matrix_of(tensor);
  EXPECT_EQ(m.rows, 6);
  EXPECT_EQ(m.columns, 4);
  EXPECT_EQ(m.row_stride, 4);
  EXPECT_EQ(m.data, tensor.raw().data());
}

TEST(Matmul, AFewRowsOfFloat32HaveAProductOfTheirOwnWhereVectorsMultiply) {
  const auto kind = [](DataType type, std::int64_t rows, bool transposed) {
    constexpr std::int64_t inner = 512, columns = 1024;
    return product_kind({nullptr, type, rows, inner, inner, 1},
                        {nullptr, type, inner, columns, transposed ? 1 : columns, transposed ? inner : 1});
  };
#if defined(__AVX512F__)
  const bool own = true;
#elif defined(__AVX2__) && defined(__FMA__)
  const bool own = products::onednn_vector_bytes() <= 32;
#else
  const bool own = false;
#endif
  for (const std::int64_t rows : {24, 40, 64}) {
    EXPECT_EQ(kind(DataType::float32, rows, true) == ProductKind::few_rows, own) << rows;
    EXPECT_NE(kind(DataType::bfloat16, rows, true), ProductKind::few_rows) << rows;
    EXPECT_NE(kind(DataType::float32, rows, false), ProductKind::few_rows) << rows;
  }
  for (const std::int64_t rows : {23, 65}) EXPECT_NE(kind(DataType::float32, rows, true), ProductKind::few_rows);
}

TEST(NativeBfloat16, WasCheckedWithEveryProductThatTrainingMayUse) {
  const auto checked = bfloat16_kinds();
  for (const int threads : {1, 2, 3, 8}) {
    for (const Case& size :
         {Case{1, 64, 64}, Case{16, 64, 64}, Case{64, 64, 64}, Case{192, 512, 8}, Case{512, 512, 512}}) {
      for (const bool transpose_b : {false, true}) {
        const ConstMatrix a{nullptr, DataType::bfloat16, size.rows, size.inner, size.inner, 1};
        const ConstMatrix b{nullptr,
                            DataType::bfloat16,
                            size.inner,
                            size.columns,
                            transpose_b ? 1 : size.columns,
                            transpose_b ? size.inner : 1};
        EXPECT_TRUE(std::ranges::count(checked, product_kind(a, b))) << size.rows << " rows " << threads;
      }
    }
    const ThreadCount scope(threads);
    EXPECT_EQ(has_native_bfloat16(), products::onednn_has_bfloat16());
  }
}

TEST(InstructionSet, NamesThoseOfTheMachineAndOfTheBuild) {
#ifdef __AVX512F__
  const std::string built_for = "(built for avx512";
#else
  const std::string built_for = "(built for avx2)";
#endif
  EXPECT_NE(instruction_set().find(built_for), std::string::npos) << instruction_set();
  EXPECT_NE(instruction_set().front(), '(');
}

}  // namespace
}  // namespace palimpsest
