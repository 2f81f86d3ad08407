// What memory_read.cpp, memory_write*.cpp and memory_scan.cpp share: tiles of tokens of one head, brought into
// scratch memory, with rows of zeros up to a multiple of sixteen so that matrix products see few different shapes.
//
// Operands of products have the type of activations: of bfloat16 sigma(K), sigma(Q) and what is made of values and
// gradients are rounded to it, and so is the memory where it is multiplied. Sums, and the memory from segment to
// segment, have the accumulate type.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include <omp.h>

#include "core/gradient.h"
#include "core/kernels/head_rows.h"
#include "core/kernels/memory.h"
#include "core/kernels/vector_loops.h"
#include "core/matmul.h"
#include "core/parallel.h"
#include "core/sequence_layout.h"
#include "core/tensor.h"

namespace palimpsest::memory_tiles {

using vector_loops::for_each_vector, vector_loops::Lanes, vector_loops::prefetch_row, vector_loops::rows_ahead,
    vector_loops::scale;

inline constexpr std::int64_t tile_rows = 256;

inline std::int64_t padded(std::int64_t rows) { return (rows + 15) / 16 * 16; }

/// Rows of the tiles that write: as many as the longest segment needs, at most tile_rows.
inline std::int64_t tile_for(const SequenceLayout& layout) {
  std::int64_t longest = 1;
  for (const Segment& segment : layout.segments) longest = std::max(longest, segment.length - segment.kept);
  return std::min(tile_rows, padded(longest));
}

/// The same of the tiles that read, with whole segments.
inline std::int64_t tile_for_reads(const SequenceLayout& layout) {
  std::int64_t longest = 0;
  for (const Segment& segment : layout.segments) longest = std::max(longest, segment.length);
  return std::min(tile_rows, padded(longest));
}

/// Calls function(lane, head) for each in parallel.
template <class Function>
void for_each_head(const SequenceLayout& layout, std::int64_t heads, Function function) {
  FirstError error;
#pragma omp parallel for schedule(static)
  for (std::int64_t task = 0; task < layout.lanes * heads; ++task) {
    error.keep([&] { function(task / heads, task % heads); });
  }
  error.rethrow();
}

/// sigma(x) = elu(x) + 1
template <class A>
inline A sigma(A x) {
  return x > A(0) ? x + A(1) : vector_exp(x);
}
/// d sigma / dx, from the value of sigma
template <class A>
inline A sigma_slope(A value) {
  return std::min(value, A(1));
}

/// `count` buffers of a tile by head_size for every thread.
template <class A>
class Scratch {
 public:
  Scratch(MemoryPool& pool, int count, std::int64_t rows, std::int64_t columns)
      : size_(rows * columns),
        count_(count),
        tensor_(pool, Shape{omp_get_max_threads(), count, rows, columns}, data_type_of<A>) {}
  A* get(int index) { return tensor_.template data<A>() + (omp_get_thread_num() * count_ + index) * size_; }

 private:
  std::int64_t size_;
  std::int64_t count_;
  Tensor tensor_;
};

/// destination (padded(rows), d) <- function(vectors of source), rows beyond `rows` zero.
template <class T, class To, class Function>
void load_through(const T* source, std::int64_t stride, std::int64_t rows, std::int64_t d, To* destination,
                  Function function) {
  for (std::int64_t i = 0; i < rows; ++i) {
    prefetch_row(source + (i + rows_ahead) * stride, d);
    for_each_vector<T>(d, [&](std::int64_t j, auto elements) {
      elements.store(destination + i * d + j, function(elements.load(source + i * stride + j)));
    });
  }
  std::fill(destination + rows * d, destination + padded(rows) * d, To(0));
}

/// destination (padded(rows), d) <- source, rows beyond `rows` zero.
template <class T, class To>
void load(const T* source, std::int64_t stride, std::int64_t rows, std::int64_t d, To* destination) {
  load_through(source, stride, rows, d, destination, [](const Lanes<T>& x) { return x; });
}

/// destination (padded(rows), d) <- sigma(source) = elu(source) + 1, rows beyond `rows` zero.
template <class T, class To>
void load_sigma(const T* source, std::int64_t stride, std::int64_t rows, std::int64_t d, To* destination) {
  load_through(source, stride, rows, d, destination, [](const Lanes<T>& x) { return vector_loops::sigma<T>(x); });
}

/// destination (padded(rows), d) <- phi(source), rows beyond `rows` zero.
template <class T, class To>
void load_features(MemoryFeatures features, const T* source, std::int64_t stride, std::int64_t rows, std::int64_t d,
                   To* destination) {
  if (features == MemoryFeatures::identity) {
    load(source, stride, rows, d, destination);
  } else {
    load_sigma(source, stride, rows, d, destination);
  }
}

/// The `count` values at `source` as T: themselves, or rounded into `rounded`.
template <class T, class A>
const T* as_operand(const A* source, std::int64_t count, T* rounded) {
  if constexpr (std::is_same_v<T, A>) {
    return source;
  } else {
    for_each_vector<T>(count,
                       [&](std::int64_t j, auto elements) { elements.store(rounded + j, elements.load(source + j)); });
    return rounded;
  }
}

template <class T, class A>
inline A dot(const T* a, const A* b, std::int64_t d) {
  if constexpr (std::is_same_v<T, A>) {
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t j = 0; j < d; ++j) sum += a[j] * b[j];
    return sum;
  } else {
    Lanes<T> sums{};
    for_each_vector<T>(d, [&](std::int64_t j, auto elements) { sums += elements.load(a + j) * elements.load(b + j); });
    return vector_loops::sum_of<T>(sums);
  }
}

/// target <- target + factor * source, one of which may be of another type than `factor`
template <class To, class A, class T>
inline void add_scaled(To* target, A factor, const T* source, std::int64_t d) {
  if constexpr (std::is_same_v<T, A> && std::is_same_v<To, A>) {
#pragma omp simd
    for (std::int64_t j = 0; j < d; ++j) target[j] += factor * source[j];
  } else {
    using Narrow = std::conditional_t<std::is_same_v<T, A>, To, T>;
    for_each_vector<Narrow>(d, [&](std::int64_t j, auto elements) {
      elements.store(target + j, elements.load(target + j) + factor * elements.load(source + j));
    });
  }
}

/// target (d) gets values (d), added or written.
template <class T, class A>
void store_row(const A* values, std::int64_t d, T* target, bool accumulate) {
  for_each_vector<T>(d, [&](std::int64_t j, auto elements) {
    const Lanes<T> value = elements.load(values + j);
    elements.store(target + j, accumulate ? elements.load(target + j) + value : value);
  });
}

/// target (rows, stride) gets source (rows, d) times sigma's slope, added or written.
template <class T, class A>
void store_through_sigma(const A* source, const T* sigma_values, std::int64_t rows, std::int64_t d, T* target,
                         std::int64_t stride, bool accumulate) {
  const Lanes<T> one = Lanes<T>{} + A(1);
  for (std::int64_t i = 0; i < rows; ++i) {
    prefetch_row(target + (i + rows_ahead) * stride, d);
    for_each_vector<T>(d, [&](std::int64_t j, auto elements) {
      const Lanes<T> sigma = elements.load(sigma_values + i * d + j), slope = sigma < one ? sigma : one;
      const Lanes<T> value = elements.load(source + i * d + j) * slope;
      T* const to = target + i * stride + j;
      elements.store(to, accumulate ? elements.load(to) + value : value);
    });
  }
}

/// target (rows, stride) gets source (rows, d) times the slope of phi, whose values are given, added or written.
template <class T, class A>
void store_through_features(MemoryFeatures features, const A* source, const T* values, std::int64_t rows,
                            std::int64_t d, T* target, std::int64_t stride, bool accumulate) {
  if (features == MemoryFeatures::elu) {
    store_through_sigma(source, values, rows, d, target, stride, accumulate);
    return;
  }
  for (std::int64_t i = 0; i < rows; ++i) store_row(source + i * d, d, target + i * stride, accumulate);
}

/// The share of a head's memory that goes on through a segment: all of it without a decay, or where no token of the
/// segment stays, as in the segment that stands in for those of an idle rank.
template <class A>
A share_going_on(const A* decay, const Segment& segment, std::int64_t head) {
  return decay != nullptr && segment.kept < segment.length ? decay[head] : A(1);
}

/// Values found lane by lane for each head, summed in the order of the lanes.
template <class A>
class SumOverLanes {
 public:
  /// Keeps nothing for a gradient that nobody wants.
  SumOverLanes(MemoryPool& pool, const Gradient<A*>& gradient, std::int64_t lanes, std::int64_t heads)
      : gradient_(gradient), lanes_(lanes), heads_(heads) {
    if (gradient.wanted()) parts_ = Tensor::zeros(pool, Shape{lanes, heads}, data_type_of<A>);
  }
  bool wanted() const { return gradient_.wanted(); }
  void add(std::int64_t lane, std::int64_t head, A value) { parts_.template data<A>()[lane * heads_ + head] += value; }
  void store() {
    for (std::int64_t head = 0; wanted() && head < heads_; ++head) {
      A sum = gradient_.accumulate ? gradient_.view[head] : A(0);
      for (std::int64_t lane = 0; lane < lanes_; ++lane) sum += parts_.template data<A>()[lane * heads_ + head];
      gradient_.view[head] = sum;
    }
  }

 private:
  Gradient<A*> gradient_;
  std::int64_t lanes_, heads_;
  Tensor parts_;
};

/// How much the token of a row writes: so many repetitions of it.
template <class A>
A write_weight(const SequenceLayout& layout, std::int64_t row) {
  return layout.write_weights.empty() ? A(1) : static_cast<A>(layout.write_weights[static_cast<std::size_t>(row)]);
}

/// By how much the token of a row writes more than once.
template <class A>
A excess_weight(const SequenceLayout& layout, std::int64_t row) {
  return std::max(write_weight<A>(layout, row) - A(1), A(0));
}

/// Whether a token that the segment leaves in the memory writes more than once.
inline bool has_excess(const SequenceLayout& layout, const Segment& segment) {
  if (layout.write_weights.empty()) return false;
  const auto end = layout.write_weights.begin() + segment.begin + segment.length;
  return std::any_of(end - segment.length + segment.kept, end, [](float weight) { return weight > 1.0f; });
}

/// The norm that the delta rule's predictions of a segment are divided by: z or, where there is an excess e, z + e, put
/// into `sum` (d).
template <class T, class A>
const A* norm_with_excess(const SequenceLayout& layout, const Segment& segment, HeadRows<const T> key,
                          std::int64_t head, const A* z, A* sum) {
  if (!has_excess(layout, segment)) return z;
  std::copy_n(z, key.head_size, sum);
  for (std::int64_t row = segment.begin + segment.kept; row < segment.begin + segment.length; ++row) {
    const A excess = excess_weight<A>(layout, row);
    const T* const k = key.at(row, head);
#pragma omp simd
    for (std::int64_t j = 0; j < key.head_size; ++j) sum[j] += excess * sigma(static_cast<A>(k[j]));
  }
  return sum;
}

/// target gets `factor(row)` times what `d_norm` says of sigma(K), for every token that the segment leaves in the
/// memory.
template <class T, class A, class Factor>
void add_norm_gradient(const Segment& segment, HeadRows<const T> key, std::int64_t head, const A* d_norm, Factor factor,
                       HeadRows<T> target) {
  for (std::int64_t row = segment.begin + segment.kept; row < segment.begin + segment.length; ++row) {
    const A weight = factor(row);
    const T* const k = key.at(row, head);
    T* const to = target.at(row, head);
#pragma omp simd
    for (std::int64_t j = 0; j < key.head_size; ++j) {
      const A slope = sigma_slope(sigma(static_cast<A>(k[j])));
      to[j] = static_cast<T>(static_cast<A>(to[j]) + weight * d_norm[j] * slope);
    }
  }
}

template <class T>
void zero_rows(T* target, std::int64_t stride, std::int64_t rows, std::int64_t d) {
  for (std::int64_t i = 0; i < rows; ++i) std::fill(target + i * stride, target + i * stride + d, T(0));
}

}  // namespace palimpsest::memory_tiles
