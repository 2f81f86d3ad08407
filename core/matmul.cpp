#include "core/matmul.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include <fmt/format.h>
#include <omp.h>

#include "core/error.h"
#include "core/matmul_shares.h"
#include "core/products/few_rows.h"
#include "core/products/matrix_units.h"
#include "core/products/onednn.h"
#include "core/products/reference.h"
#include "core/products/row.h"
#include "core/products/self_check.h"
#include "core/products/unit_product.h"
#include "core/products/vector_product.h"
#include "core/products/vectors.h"
#include "core/products/widened.h"

namespace palimpsest {

namespace {

int threads_of_product() { return omp_in_parallel() ? 1 : omp_get_max_threads(); }

/// What a product is added to.
ConstMatrix addend_of(const Matrix& c, Output output) {
  return output == Output::accumulate ? ConstMatrix(c) : ConstMatrix();
}

void run(ProductKind kind, MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output,
         int threads) {
  switch (kind) {
    case ProductKind::reference: return products::reference_product(a, b, c, output);
    case ProductKind::row: return products::row_product(a, b, c, output);
    case ProductKind::few_rows: return products::few_rows_product(pool, a, b, c, output, threads);
    case ProductKind::widened: return products::widened_product(pool, a, b, c, output, threads);
    case ProductKind::vectors: return products::vector_product(pool, a, b, addend_of(c, output), c, threads);
    case ProductKind::matrix_units: return products::unit_product(pool, a, b, addend_of(c, output), c, threads);
    case ProductKind::onednn: return products::onednn_product(pool, a, b, c, output, threads);
  }
}

void check(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c) {
  const bool types =
      a.type == b.type && (c.type == a.type || (a.type == DataType::bfloat16 && c.type == DataType::float32));
  if (a.columns != b.rows || c.rows != a.rows || c.columns != b.columns || !types) {
    throw ShapeError(fmt::format("matmul: {} ({} x {}) times {} ({} x {}) into {} ({} x {})", name_of(a.type), a.rows,
                                 a.columns, name_of(b.type), b.rows, b.columns, name_of(c.type), c.rows, c.columns));
  }
}

void zero_rows(const Matrix& c) {
  for (std::int64_t i = 0; i < c.rows; ++i) {
    std::memset(static_cast<std::byte*>(c.data) + static_cast<std::size_t>(i * c.row_stride) * size_of(c.type), 0,
                static_cast<std::size_t>(c.columns) * size_of(c.type));
  }
}

/// Whether products of this type are our own vectors': those of a build for AVX2 leave to oneDNN a machine with wider
/// ones.
bool vectors_multiply(DataType type) {
  static const bool widest = products::vector_bytes >= products::onednn_vector_bytes();
  return products::vectors_have_instructions(type) && widest &&
         !(type == DataType::bfloat16 && matmul_uses_matrix_units());
}

}  // namespace

ProductKind product_kind(const ConstMatrix& a, const ConstMatrix& b) {
  if (a.type == DataType::float64) return ProductKind::reference;
  if (products::row_suits(a, b)) return ProductKind::row;
  if (vectors_multiply(a.type) && products::few_rows_suit(a, b)) return ProductKind::few_rows;
  if (a.type == DataType::bfloat16 && !products::onednn_has_bfloat16()) return ProductKind::widened;
  if (matmul_uses_matrix_units() && products::units_suit(a, b)) return ProductKind::matrix_units;
  if (vectors_multiply(a.type) && products::vectors_suit(a, b)) return ProductKind::vectors;
  return ProductKind::onednn;
}

void matmul(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output) {
  check(a, b, c);
  if (c.rows == 0 || c.columns == 0) return;
  if (a.columns == 0) {  // oneDNN dies on empty extents
    if (output == Output::overwrite) zero_rows(c);
    return;
  }
  assert(is_well_formed(a) && is_well_formed(b) && is_well_formed(c) && !overlap(a, c) && !overlap(b, c));
  const int threads = threads_of_product();
  run(product_kind(a, b), pool, a, b, c, output, threads);
}

void matmul_added(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const ConstMatrix& addend,
                  const Matrix& c) {
  check(a, b, c);
  if (addend.rows != c.rows || addend.columns != c.columns || addend.type != c.type) {
    throw ShapeError(fmt::format("matmul: {} ({} x {}) added to a product into {} ({} x {})", name_of(addend.type),
                                 addend.rows, addend.columns, name_of(c.type), c.rows, c.columns));
  }
  if (c.rows == 0 || c.columns == 0) return;
  assert(is_well_formed(addend) && addend.column_stride == 1 && !overlap(addend, c));
  const ProductKind kind = a.columns > 0 ? product_kind(a, b) : ProductKind::reference;
  if (kind == ProductKind::matrix_units || kind == ProductKind::vectors) {
    assert(is_well_formed(a) && is_well_formed(b) && is_well_formed(c) && !overlap(a, c) && !overlap(b, c));
    const auto product = kind == ProductKind::vectors ? products::vector_product : products::unit_product;
    return product(pool, a, b, addend, c, threads_of_product());
  }
  const auto bytes = [&](std::int64_t elements) { return static_cast<std::size_t>(elements) * size_of(c.type); };
#pragma omp parallel for schedule(static) if (c.rows * c.columns > 16384)
  for (std::int64_t i = 0; i < c.rows; ++i) {
    std::memcpy(static_cast<std::byte*>(c.data) + bytes(i * c.row_stride),
                static_cast<const std::byte*>(addend.data) + bytes(i * addend.row_stride), bytes(c.columns));
  }
  matmul(pool, a, b, c, Output::accumulate);
}

std::int64_t matmul_scratch_bytes(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c) {
  if (c.rows == 0 || c.columns == 0 || a.columns == 0) return 0;
  const int threads = threads_of_product();
  switch (product_kind(a, b)) {
    case ProductKind::few_rows: return products::few_rows_product_bytes(a);
    case ProductKind::vectors: return products::vector_product_bytes(a, b, c, threads);
    case ProductKind::matrix_units: return products::unit_product_bytes(a, b, c, threads);
    case ProductKind::onednn: return products::onednn_product_bytes(a, b, c, threads);
    case ProductKind::widened: return products::widened_product_bytes(a, b, c, threads);
    default: return 0;
  }
}

ProductShares matmul_shares(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads) {
  switch (product_kind(a, b)) {
    case ProductKind::vectors: return products::vector_product_shares(a, b, c, threads);
    case ProductKind::matrix_units: return products::unit_product_shares(a, b, c, threads);
    default: return {};
  }
}

bool matmul_uses_matrix_units() {
  // oneDNN can be told to leave matrix units alone, and so are we.
  static const bool allowed = products::onednn_uses_matrix_units() && products::has_matrix_units();
  return allowed;
}

std::vector<ProductKind> bfloat16_kinds() {
  if (!products::onednn_has_bfloat16()) return {ProductKind::row, ProductKind::widened};
  std::vector<ProductKind> kinds{ProductKind::row, ProductKind::onednn};
  if (matmul_uses_matrix_units()) kinds.push_back(ProductKind::matrix_units);
  if (vectors_multiply(DataType::bfloat16)) kinds.push_back(ProductKind::vectors);
  return kinds;
}

bool has_native_bfloat16() {
  if (!products::onednn_has_bfloat16()) return false;
  MemoryPool pool;
  for (const int threads : {1, omp_get_max_threads()}) {
    for (const ProductKind kind : bfloat16_kinds()) {
      const auto product = [&](const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output) {
        run(kind, pool, a, b, c, output, threads);
      };
      const bool exact = kind == ProductKind::row ? products::row_is_exact(product) : products::is_exact(product);
      if (!exact) return false;
    }
  }
  return true;
}

std::string instruction_set() {
  return fmt::format("{} (built for {})", products::onednn_instructions(), products::built_for);
}

}  // namespace palimpsest
