// What both directions of writing the memory share (memory_write.cpp, memory_write_backward.cpp).
#pragma once

#include <algorithm>
#include <cassert>
#include <cstdint>

#include "core/kernels/memory.h"
#include "core/kernels/memory_parts.h"
#include "core/kernels/memory_tiles.h"

namespace palimpsest::memory_tiles {

/// values (rows, d) <- values - N / D with N = sigma(K) M into `prediction`, D into `denominator`.
template <class T, class A>
void subtract_prediction(MemoryPool& pool, const T* sk, const T* m, const A* z, double epsilon, std::int64_t rows,
                         std::int64_t d, T* values, A* prediction, A* denominator) {
  matmul(pool, matrix(sk, padded(rows), d, d), matrix(m, d, d, d), matrix(prediction, padded(rows), d, d));
  for (std::int64_t i = 0; i < rows; ++i) {
    denominator[i] = dot(sk + i * d, z, d) + static_cast<A>(epsilon);
    add_scaled(values + i * d, A(-1) / denominator[i], prediction + i * d, d);
  }
}

/// Each row times how much its token writes.
template <class T>
void weigh(const SequenceLayout& layout, std::int64_t first_row, std::int64_t rows, std::int64_t d, T* values) {
  if (layout.write_weights.empty()) return;
  for (std::int64_t i = 0; i < rows; ++i) {
    const auto weight = write_weight<accumulate_t<T>>(layout, first_row + i);
    for_each_vector<T>(d, [&](std::int64_t j, auto elements) {
      T* const at = values + i * d + j;
      elements.store(at, elements.load(at) * weight);
    });
  }
}

template <class T>
void check([[maybe_unused]] const MemoryWriteInputs<T>& in,
           [[maybe_unused]] const MemoryStates<const accumulate_t<T>>& states) {
  assert(in.key.heads == in.value.heads && in.key.head_size == in.value.head_size);
  assert(states.kv_heads == in.key.heads && states.head_size == in.key.head_size && states.lanes == in.layout.lanes);
  assert(in.rule.features == MemoryFeatures::elu || !in.rule.delta);
  assert(in.layout.write_weights.empty() ||
         in.layout.write_weights.size() == static_cast<std::size_t>(in.layout.rows()));
}

/// (M, z) <- the share of the memory that goes on into the segment's result, or nothing.
template <class A>
void start_from(bool kept, A share, const A* from, A* to, std::int64_t size) {
  if (kept) {
    scale(to, share, from, size);
  } else {
    std::fill_n(to, size, A(0));
  }
}

/// A block of a head's (d, d) matrix, of rows `down` and columns `across`.
struct Block {
  Range down, across;
  std::int64_t d;

  Block(const MatrixBlocks& blocks, std::int64_t index)
      : down(blocks.rows(index)), across(blocks.columns(index)), d(blocks.d) {}

  template <class A, class Function>
  void for_each_row(const A* from, A* to, Function function) const {
    for (std::int64_t i = down.begin; i < down.end; ++i) {
      function(from + i * d + across.begin, to + i * d + across.begin, across.count());
    }
  }

  /// target += left^T right, of so many tokens.
  template <class T>
  void add_sums(MemoryPool& pool, const T* left, const T* right, std::int64_t tokens, accumulate_t<T>* target) const {
    matmul(pool, matrix(left + down.begin, padded(tokens), down.count(), d).transposed(),
           matrix(right + across.begin, padded(tokens), across.count(), d),
           matrix(target + down.begin * d + across.begin, down.count(), across.count(), d), Output::accumulate);
  }
};

/// What is kept of each token from where it is computed to where it is summed up (WriteParts), (tokens, columns): of
/// each head where these go together, else of a thread's tile.
template <class A>
class KeptRows {
 public:
  KeptRows(MemoryPool& pool, const WriteParts& parts, std::int64_t columns)
      : parts_(parts),
        columns_(columns),
        tensor_(pool, Shape{parts.places(), parts.kept_rows(), columns}, data_type_of<A>) {}

  /// Those of the tile that begins with token `begin`.
  A* at(const WrittenHead& head, std::int64_t begin) {
    const std::int64_t row = parts_.together() ? begin : 0;
    return tensor_.template data<A>() + (parts_.place(head) * parts_.kept_rows() + row) * columns_;
  }

 private:
  const WriteParts& parts_;
  std::int64_t columns_;
  Tensor tensor_;
};

}  // namespace palimpsest::memory_tiles
