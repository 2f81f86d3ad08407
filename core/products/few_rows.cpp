// The rows of a stand transposed in a small buffer, an element of each row side by side in vectors; every weight is
// read once, where it lies, and multiplies them all.
#include "core/products/few_rows.h"

#include <algorithm>

#include <omp.h>

#include "core/products/least_rows.h"
#include "core/products/vectors.h"
#include "core/round_up.h"

namespace palimpsest::products {

namespace {

constexpr std::int64_t lanes = vector_lanes<float>;
/// Rows that a register tile holds, in vectors, and the sums that it keeps: 24 of 32 vectors, or 12 of 16.
constexpr std::int64_t most_vectors = vector_bytes == 64 ? 4 : 2;
constexpr std::int64_t most_sums = vector_bytes == 64 ? 24 : 12;
/// Weights of a tile: as many as there are sums for, but no more streams from memory than the hardware foresees.
constexpr std::int64_t weights_of(std::int64_t vectors) { return std::min<std::int64_t>(most_sums / vectors, 12); }

/// Of a, transposed: (inner, vectors, lanes).
struct Rows {
  const float* data;
  std::int64_t vectors;
};

/// Outputs [first, first + a tile's), or those of them that there are, of `vectors` vectors of rows from `row` on.
template <std::int64_t vectors>
void tile(const ConstMatrix& b, const Rows& rows, std::int64_t first, std::int64_t row, const Matrix& c,
          Output output) {
  constexpr std::int64_t count = weights_of(vectors);
  const float* weights[count];
  for (std::int64_t n = 0; n < count; ++n) {
    weights[n] = static_cast<const float*>(b.data) + std::min(first + n, b.columns - 1) * b.column_stride;
  }
  Vector<float> sums[count][vectors] = {};
  const float* right_at = rows.data + row;
  for (std::int64_t k = 0; k < b.rows; ++k, right_at += rows.vectors * lanes) {
    Vector<float> right[vectors];
#pragma GCC unroll 4
    for (std::int64_t v = 0; v < vectors; ++v) right[v] = load<Vector<float>>(right_at + v * lanes);
#pragma GCC unroll 12
    for (std::int64_t n = 0; n < count; ++n) {
#pragma GCC unroll 4
      for (std::int64_t v = 0; v < vectors; ++v) multiply_add(sums[n][v], weights[n][k], right[v]);
    }
  }
  for (std::int64_t i = row; i < std::min(row + vectors * lanes, c.rows); ++i) {
    float* const target = static_cast<float*>(c.data) + i * c.row_stride + first;
    for (std::int64_t n = 0; n < std::min(count, b.columns - first); ++n) {
      const float sum = sums[n][(i - row) / lanes][(i - row) % lanes];
      target[n] = output == Output::accumulate ? target[n] + sum : sum;
    }
  }
}

/// All outputs of `vectors` vectors of rows from `row` on; called by every thread of a team.
template <std::int64_t vectors>
void tiles(const ConstMatrix& b, const Rows& rows, std::int64_t row, const Matrix& c, Output output) {
  constexpr std::int64_t count = weights_of(vectors);
#pragma omp for schedule(static) nowait
  for (std::int64_t first = 0; first < b.columns; first += count) tile<vectors>(b, rows, first, row, c, output);
}

}  // namespace

bool few_rows_suit(const ConstMatrix& a, const ConstMatrix& b) {
  constexpr std::int64_t most_rows = 64, least_outputs = 256;
  return a.type == DataType::float32 && a.rows >= least_rows && a.rows <= most_rows && a.column_stride == 1 &&
         b.row_stride == 1 && b.columns >= least_outputs;
}

void few_rows_product(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output,
                      int threads) {
  const std::int64_t padded = round_up(a.rows, lanes), inner = a.columns;
  const MemoryPool::Scratch scratch = pool.scratch(few_rows_product_bytes(a), omp_get_thread_num());
  auto* const transposed = reinterpret_cast<float*>(scratch.data());
  const Rows rows{transposed, padded / lanes};
#pragma omp parallel num_threads(threads)
  {
#pragma omp for schedule(static)
    for (std::int64_t k = 0; k < inner; ++k) {
      const float* const column = static_cast<const float*>(a.data) + k;
      for (std::int64_t i = 0; i < padded; ++i) {
        transposed[k * padded + i] = i < a.rows ? column[i * a.row_stride] : 0.0f;
      }
    }
    for (std::int64_t row = 0; row < padded; row += most_vectors * lanes) {
      switch (std::min(most_vectors, (padded - row) / lanes)) {
        case 1: tiles<1>(b, rows, row, c, output); break;
        case 2: tiles<2>(b, rows, row, c, output); break;
        case 3: tiles<std::min<std::int64_t>(3, most_vectors)>(b, rows, row, c, output); break;
        default: tiles<most_vectors>(b, rows, row, c, output); break;
      }
    }
  }
}

std::int64_t few_rows_product_bytes(const ConstMatrix& a) {
  return round_up(a.rows, lanes) * a.columns * static_cast<std::int64_t>(sizeof(float));
}

}  // namespace palimpsest::products
