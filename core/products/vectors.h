// Vectors as wide as the build's target has them, and what matrix products step over in the inner dimension:
// one float or double, or a pair of bfloat16, which share 32 bits and are summed in float.
//
// Written in the compiler's vector extensions, so that every target is right; only the products of bfloat16
// pairs need an intrinsic, where the target has the instruction.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "core/data_type.h"
#include "core/round_up.h"

namespace palimpsest::products {

#if defined(__AVX512F__)
inline constexpr int vector_bytes = 64;
#elif defined(__AVX__)
inline constexpr int vector_bytes = 32;
#else
inline constexpr int vector_bytes = 16;
#endif

/// The instructions of the build's target by which results differ.
#if defined(__AVX512BF16__)
inline constexpr std::string_view built_for = "avx512_bf16";
#elif defined(__AVX512F__)
inline constexpr std::string_view built_for = "avx512";
#elif defined(__AVX2__) && defined(__FMA__)
inline constexpr std::string_view built_for = "avx2";
#elif defined(__AVX__)
inline constexpr std::string_view built_for = "avx";
#else
inline constexpr std::string_view built_for = "sse2";
#endif

template <class Element>
struct VectorOf {
  using type __attribute__((vector_size(vector_bytes))) = Element;
};
template <class Element>
using Vector = typename VectorOf<Element>::type;

template <class T>
struct UnitOf {
  using type = T;
};
template <>
struct UnitOf<bfloat16> {
  using type = std::uint32_t;
};
/// What lies side by side in the inner dimension and is multiplied in one step.
template <class T>
using Unit = typename UnitOf<T>::type;

/// Elements of the inner dimension in a unit.
template <class T>
inline constexpr std::int64_t group = static_cast<std::int64_t>(sizeof(Unit<T>) / sizeof(T));
/// Vector lanes: units, and sums, in a vector. (A lane by itself is one of the sequences of a batch.)
template <class T>
inline constexpr std::int64_t vector_lanes = vector_bytes / static_cast<std::int64_t>(sizeof(Unit<T>));

/// The sums that a product keeps in registers, MR rows of NR columns: 24 of 32 vectors, or 12 of 16.
inline constexpr int tile_rows = vector_bytes == 64 ? 12 : 6;
inline constexpr int tile_vectors = 2;
template <class T>
inline constexpr std::int64_t tile_columns = tile_vectors* vector_lanes<T>;

/// A value at any alignment, whatever type its memory has otherwise. A copy of its bytes would go through memory once
/// more, in halves: the compiler copies bytes in pieces of half a vector.
template <class Value>
struct [[gnu::packed, gnu::may_alias]] Unaligned {
  Value value;
};
template <class Value>
inline Value load(const void* source) {
  return static_cast<const Unaligned<Value>*>(source)->value;
}
template <class Value>
inline void store(void* target, const Value& value) {
  static_cast<Unaligned<Value>*>(target)->value = value;
}

/// sum <- sum + left * right, lane by lane.
inline void multiply_add(Vector<float>& sum, float left, const Vector<float>& right) { sum += left * right; }
inline void multiply_add(Vector<double>& sum, double left, const Vector<double>& right) { sum += left * right; }
/// Both products of each pair.
inline void multiply_add(Vector<float>& sum, std::uint32_t left, const Vector<std::uint32_t>& right) {
#ifdef __AVX512BF16__
  sum = reinterpret_cast<Vector<float>>(_mm512_dpbf16_ps(
      reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(left))),
      reinterpret_cast<__m512bh>(right)));
#else
  const Vector<std::uint32_t> low = right << 16, high = right & 0xffff0000u;
  sum += std::bit_cast<float>(left << 16) * reinterpret_cast<Vector<float>>(low);
  sum += std::bit_cast<float>(left & 0xffff0000u) * reinterpret_cast<Vector<float>>(high);
#endif
}

/// Stores a vector of sums as elements of T, bfloat16 rounded to nearest.
inline void store_sums(float* target, const Vector<float>& sums) { store(target, sums); }
inline void store_sums(double* target, const Vector<double>& sums) { store(target, sums); }
inline void store_sums(bfloat16* target, const Vector<float>& sums) {
#ifdef __AVX512BF16__
  store(target, _mm512_cvtneps_pbh(reinterpret_cast<__m512>(sums)));
#else
  for (std::int64_t i = 0; i < vector_lanes<float>; ++i) target[i] = bfloat16(sums[i]);
#endif
}
/// Loads elements of T as sums.
inline Vector<float> load_sums(const float* source) { return load<Vector<float>>(source); }
inline Vector<double> load_sums(const double* source) { return load<Vector<double>>(source); }
inline Vector<float> load_sums(const bfloat16* source) {
#ifdef __AVX512F__
  // The compiler widens halves by themselves and joins them in memory, and calls a plain conversion uninitialised.
  const __m512i wide = _mm512_maskz_cvtepu16_epi32(0xffff, load<__m256i>(source));
  return reinterpret_cast<Vector<float>>(reinterpret_cast<Vector<std::uint32_t>>(wide) << 16);
#else
  using Halves __attribute__((vector_size(vector_bytes / 2))) = std::uint16_t;
  const auto wide = __builtin_convertvector(load<Halves>(source), Vector<std::uint32_t>) << 16;
  return reinterpret_cast<Vector<float>>(wide);
#endif
}

/// Alternate elements of the first halves of two vectors, or of the `second` ones.
template <bool second, class V, int... i>
inline V alternate(const V& a, const V& b, std::integer_sequence<int, i...>) {
  constexpr int n = sizeof...(i), begin = second ? n / 2 : 0;
  return __builtin_shufflevector(a, b, (begin + i / 2 + i % 2 * n)...);
}

/// Transposes a square of vector_lanes x vector_lanes units; strides in units' bytes.
template <class U>
inline void transpose_square(const void* source, std::int64_t source_stride, void* target, std::int64_t target_stride) {
  constexpr int n = vector_bytes / static_cast<int>(sizeof(U));
  constexpr std::make_integer_sequence<int, n> lanes;
  Vector<U> rows[n], next[n];
  const auto* const from = static_cast<const std::byte*>(source);
  auto* const to = static_cast<std::byte*>(target);
#pragma GCC unroll 16
  for (int i = 0; i < n; ++i) rows[i] = load<Vector<U>>(from + i * source_stride);
#pragma GCC unroll 4
  for (int round = 1; round < n; round *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < n / 2; ++i) {
      next[2 * i] = alternate<false>(rows[i], rows[i + n / 2], lanes);
      next[2 * i + 1] = alternate<true>(rows[i], rows[i + n / 2], lanes);
    }
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) rows[i] = next[i];
  }
#pragma GCC unroll 16
  for (int i = 0; i < n; ++i) store(to + i * target_stride, rows[i]);
}

}  // namespace palimpsest::products
