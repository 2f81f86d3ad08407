// Loops over rows of elements, a vector of them at a time, computed in the accumulate type. What the compiler makes of
// a plain loop over bfloat16 rounds each element in eight instructions; a vector takes one where the target has it.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <type_traits>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "core/kernels/vector_math.h"
#include "core/products/vectors.h"

namespace palimpsest::vector_loops {

using products::Vector;

/// Elements of T that are computed at a time, and a vector of them.
template <class T>
inline constexpr std::int64_t lanes = products::vector_lanes<T>;
template <class T>
using Lanes = Vector<accumulate_t<T>>;

/// A vector's elements of a row, all of them there.
struct Whole {
  template <class T>
  static Lanes<T> load(const T* source) {
    return products::load_sums(source);
  }
  template <class T>
  static void store(T* target, const Lanes<T>& values) {
    products::store_sums(target, values);
  }
};

/// The last `count` elements of a row, fewer than a vector's: the others are loaded as zeros and not stored.
struct Part {
  std::int64_t count;

  template <class T>
  Lanes<T> load(const T* source) const {
    T all[lanes<T>] = {};
    std::copy_n(source, count, all);
    return products::load_sums(all);
  }
  template <class T>
  void store(T* target, const Lanes<T>& values) const {
    T all[lanes<T>];
    products::store_sums(all, values);
    std::copy_n(all, count, target);
  }
};

/// Calls function(j, elements) for all vectors of a row of `count` elements of T, j being the first of each vector and
/// `elements` Whole or Part.
template <class T, class Function>
[[gnu::always_inline]] inline void for_each_vector(std::int64_t count, Function function) {
  std::int64_t j = 0;
  for (; j + lanes<T> <= count; j += lanes<T>) function(j, Whole());
  if (j < count) function(j, Part{count - j});
}

/// target <- factor * source, which may be target
template <class To, class A>
inline void scale(To* target, A factor, const A* source, std::int64_t count) {
  if constexpr (std::is_same_v<To, A>) {
#pragma omp simd
    for (std::int64_t j = 0; j < count; ++j) target[j] = factor * source[j];
  } else {
    for_each_vector<To>(
        count, [&](std::int64_t j, auto elements) { elements.store(target + j, factor * elements.load(source + j)); });
  }
}

/// Rows that are read or written this far ahead are asked for: heads' rows lie apart, which no hardware foresees.
inline constexpr std::int64_t rows_ahead = 16;

/// Asks for the lines of `count` elements, to be written if they are not constant. They need not be there.
template <class T>
inline void prefetch_row(T* row, std::int64_t count) {
  constexpr auto line = static_cast<std::int64_t>(64 / sizeof(T));
  for (std::int64_t j = 0; j < count; j += line) __builtin_prefetch(row + j, std::is_const_v<T> ? 0 : 1);
}

/// The sum of a vector of T's sums.
template <class T>
inline accumulate_t<T> sum_of(const Lanes<T>& values) {
  accumulate_t<T> all[lanes<T>], sum = 0;
  products::store(all, values);
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < lanes<T>; ++i) sum += all[i];
  return sum;
}

/// e^x as exactly as elements of T are kept. Of float and double it is vector_exp. For bfloat16, which keeps eight
/// bits, within 3e-6 of it, where the result is between 1.2e-38 and 1e38, else 0 or more than 1e38: x log2(e) = n + f,
/// |f| <= 1/2, and a polynomial of the least relative error gives 2^f.
template <class T>
inline Lanes<T> exponential(const Lanes<T>& x) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    constexpr float round_shift = 0x1.8p23f, log2_e = 1.44269504f, lowest = -126.0f, highest = 127.0f;
    constexpr Vector<float> none{};
    const Vector<float> wanted = x * log2_e;
    const Vector<float> below = wanted > highest ? none + highest : wanted;
    const Vector<float> power = below < lowest ? none + lowest : below;
    const Vector<float> shifted = power + round_shift, f = power - (shifted - round_shift);
    Vector<float> series = f * 0.00957010191f + 0.0559178603f;
    series = series * f + 0.240247448f;
    series = series * f + 0.693121815f;
    series = series * f + 0.999999261f;
    const auto exponent = (reinterpret_cast<Vector<std::uint32_t>>(shifted) + 127u) << 23;
    const Vector<float> result = series * reinterpret_cast<Vector<float>>(exponent);
    return below < lowest ? none : result;
  } else {
    accumulate_t<T> all[lanes<T>];
    products::store(all, x);
#pragma omp simd
    for (std::int64_t i = 0; i < lanes<T>; ++i) all[i] = vector_exp(all[i]);
    return products::load<Lanes<T>>(all);
  }
}

/// 1 / x as exactly as elements of T are kept: for bfloat16 within 2^-14 of it where the target has an estimate.
template <class T>
inline Lanes<T> reciprocal(const Lanes<T>& x) {
#ifdef __AVX512F__
  if constexpr (std::is_same_v<T, bfloat16>) {
    return reinterpret_cast<Vector<float>>(
        _mm512_maskz_rcp14_ps(0xffff, reinterpret_cast<__m512>(x)));  // else GCC warns
  }
#endif
  return 1 / x;
}

/// 1 / (1 + e^-x)
template <class T>
inline Lanes<T> sigmoid(const Lanes<T>& x) {
  return reciprocal<T>(1 + exponential<T>(-x));
}

/// elu(x) + 1
template <class T>
inline Lanes<T> sigma(const Lanes<T>& x) {
  const Lanes<T> exponentials = exponential<T>(x);
  return x > 0 ? x + 1 : exponentials;
}

}  // namespace palimpsest::vector_loops
