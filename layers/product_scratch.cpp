#include "layers/product_scratch.h"

#include <algorithm>

#include "autograd/ops/cross_entropy.h"
#include "core/matmul.h"

namespace palimpsest {

namespace {

/// A matrix without data: scratch memory is a matter of extents.
Matrix extents(std::int64_t rows, std::int64_t columns, DataType type) {
  return {nullptr, type, rows, columns, columns};
}

/// Of y = x W^T, dW = dy^T x and dx = dy W.
std::int64_t linear_bytes(std::int64_t rows, std::int64_t inputs, std::int64_t outputs, DataType type,
                          DataType result_type) {
  const Matrix x = extents(rows, inputs, type), w = extents(outputs, inputs, type), dy = extents(rows, outputs, type);
  return std::max({matmul_scratch_bytes(x, w.transposed(), extents(rows, outputs, result_type)),
                   matmul_scratch_bytes(dy.transposed(), x, extents(outputs, inputs, accumulate_type(type))),
                   matmul_scratch_bytes(dy, w, extents(rows, inputs, type))});
}

}  // namespace

std::int64_t product_scratch_bytes(const ModelConfig& c, std::int64_t rows, DataType type) {
  const std::int64_t queries = c.num_heads * c.head_size, keys = c.num_kv_heads * c.head_size;
  const std::int64_t head_rows = std::min(rows, head_block_rows(c.vocab_size));
  return std::max({linear_bytes(rows, c.hidden_size, queries, type, type),
                   linear_bytes(rows, c.hidden_size, keys, type, type),
                   linear_bytes(rows, queries, c.hidden_size, type, type),
                   linear_bytes(rows, c.hidden_size, c.ffn_size, type, type),
                   linear_bytes(rows, c.ffn_size, c.hidden_size, type, type),
                   linear_bytes(head_rows, c.hidden_size, c.vocab_size, type, accumulate_type(type))});
}

}  // namespace palimpsest
