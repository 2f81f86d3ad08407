// Softmax attention of each query over those of the stored keys that are nearest to it, by their product with it and
// without position (Wu et al. 2022, "Memorizing Transformers", section 3.2). The search is exact.
//
//   S = Q K^T / sqrt(d) where K is among the top_k of its query,  P = softmax(S),  A = P V
//   dS = P (dO V^T - rowsum(dO O)),  dQ = dS K / sqrt(d)
//
// What is stored gets no gradient.
#pragma once

#include <cstdint>
#include <span>

#include "core/gradient.h"
#include "core/kernels/head_rows.h"
#include "core/tensor.h"

namespace palimpsest {

/// Queries that search the same stored keys, of which there is at least one.
struct StoredKeys {
  std::int64_t first_query = 0, queries = 0;  // rows
  std::int64_t first_key = 0, keys = 0;       // rows
};

/// Query head h searches the keys of key/value head h / (heads / kv_heads).
template <class T>
struct NearestAttentionInputs {
  std::span<const StoredKeys> runs{};
  std::int64_t top_k = 0;
  HeadRows<const T> query{};         // (rows, heads, d)
  HeadRows<const T> key{}, value{};  // (stored rows, kv_heads, d)
};

/// What was found for each query and head, for backward: (rows, heads, top_k) rows of keys, -1 where there are fewer,
/// and their weights P.
template <class T>
struct Nearest {
  std::int32_t* rows = nullptr;
  accumulate_t<T>* weights = nullptr;
};

/// output (rows, heads, d): queries of no run get zeros, and nothing found. `nearest` may be empty. Scores of some
/// queries against all stored keys stand in memory of the pool.
template <class T>
void nearest_attention_forward(MemoryPool& pool, const NearestAttentionInputs<T>& in, HeadRows<T> output,
                               std::int64_t rows, const Nearest<T>& nearest);

template <class T>
void nearest_attention_backward(MemoryPool& pool, const NearestAttentionInputs<T>& in, std::int64_t rows,
                                const Nearest<T>& nearest, HeadRows<const T> d_output,
                                const Gradient<HeadRows<T>>& d_query);

}  // namespace palimpsest
