#include "layers/product_scratch.h"

#include <algorithm>

#include <omp.h>

#include "autograd/ops/cross_entropy.h"
#include "core/kernels/memory_tiles.h"
#include "core/matmul.h"
#include "core/parallel.h"

namespace palimpsest {

namespace {

/// A matrix without data: scratch memory is a matter of extents.
Matrix extents(std::int64_t rows, std::int64_t columns, DataType type) {
  return {nullptr, type, rows, columns, columns};
}

/// Of y = x W^T and, backward, dW = dy^T x and dx = dy W.
std::int64_t linear_bytes(std::int64_t rows, std::int64_t inputs, std::int64_t outputs, DataType type,
                          DataType result_type, Products products) {
  const Matrix x = extents(rows, inputs, type), w = extents(outputs, inputs, type), dy = extents(rows, outputs, type);
  const std::int64_t forward = matmul_scratch_bytes(x, w.transposed(), extents(rows, outputs, result_type));
  if (products == Products::forward) return forward;
  return std::max({forward, matmul_scratch_bytes(dy.transposed(), x, extents(outputs, inputs, accumulate_type(type))),
                   matmul_scratch_bytes(dy, w, extents(rows, inputs, type))});
}

/// Of those that every thread takes by itself: tokens of a head and its memory, in `type`.
std::int64_t memory_bytes(const ModelConfig& c, DataType type) {
  if (c.attention.kind != AttentionKind::infini) return 0;
  const ThreadCount alone(1);
  const std::int64_t d = c.head_size,
                     tokens = std::min(memory_tiles::tile_rows, memory_tiles::padded(c.segment_length));
  const Matrix rows = extents(tokens, d, type), memory = extents(d, d, type);
  const Matrix of_rows = extents(tokens, d, accumulate_type(type)), sums = extents(d, d, accumulate_type(type));
  return std::max({matmul_scratch_bytes(rows, memory, of_rows),
                   matmul_scratch_bytes(rows, memory.transposed(), of_rows),
                   matmul_scratch_bytes(rows.transposed(), rows, sums)});
}

}  // namespace

std::int64_t product_scratch_bytes(const ModelConfig& c, std::int64_t rows, DataType type, Products products) {
  const std::int64_t queries = c.num_heads * c.head_size, keys = c.num_kv_heads * c.head_size;
  const std::int64_t head_rows = std::min(rows, head_block_rows(c.vocab_size));
  const std::int64_t together =
      std::max({linear_bytes(rows, c.hidden_size, queries, type, type, products),
                linear_bytes(rows, c.hidden_size, keys, type, type, products),
                linear_bytes(rows, queries, c.hidden_size, type, type, products),
                linear_bytes(rows, c.hidden_size, c.ffn_size, type, type, products),
                linear_bytes(rows, c.ffn_size, c.hidden_size, type, type, products),
                linear_bytes(head_rows, c.hidden_size, c.vocab_size, type, accumulate_type(type), products)});
  // The first thread's is the same stretch of memory.
  // Ranks that share a sequence, and gradients of some reads, multiply in the accumulate type.
  const std::int64_t by_itself = std::max(memory_bytes(c, type), memory_bytes(c, accumulate_type(type)));
  return std::max(together, by_itself) + (omp_get_max_threads() - 1) * by_itself;
}

}  // namespace palimpsest
