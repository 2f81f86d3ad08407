// The float32 product of a few rows with a transposed matrix, as decoding some texts side by side needs it: each weight
// is used so seldom that copying it into panels, as our other products do, would take as long as the arithmetic.
#pragma once

#include "core/matrix.h"
#include "core/storage.h"

namespace palimpsest::products {

/// Whether the left operand has tens of rows of float32, and the right one is stored transposed and much larger, as in
/// a linear layer of a few tokens. Of fewer rows oneDNN is as fast, and of bfloat16 faster.
bool few_rows_suit(const ConstMatrix& a, const ConstMatrix& b);

/// c <- a b, or c <- c + a b, of float32 with a.column_stride and b.row_stride 1 and no extent zero. On `threads`
/// OpenMP threads, or on the calling one inside a parallel region. Each element is summed in the order of the inner
/// dimension, whatever the number of threads or rows.
void few_rows_product(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output,
                      int threads);

/// Bytes of scratch memory that it takes from the pool.
std::int64_t few_rows_product_bytes(const ConstMatrix& a);

}  // namespace palimpsest::products
