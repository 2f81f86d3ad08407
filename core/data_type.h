// Element types of tensors: precision is a property of a tensor at run time, kernels are templates
// over the element type, and `dispatch` leads from the one to the other.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/error.h"

namespace palimpsest {

/// Upper half of a float32: 8 bits of exponent, 7 of mantissa. Arithmetic happens in float.
struct bfloat16 {
  std::uint16_t bits = 0;

  bfloat16() = default;
  // Member-wise by hand: GCC vectorises the copy of an integer, but not that of a struct.
  bfloat16(const bfloat16& other) : bits(other.bits) {}
  bfloat16& operator=(const bfloat16& other) {
    bits = other.bits;
    return *this;
  }
  /// Rounds to nearest, ties to even. A NaN stays a NaN.
  bfloat16(float value) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t rounded = (word + 0x7fffu + ((word >> 16) & 1u)) >> 16;
    bits = static_cast<std::uint16_t>(value != value ? (word >> 16) | 0x40u : rounded);
  }
  operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};

enum class DataType { float32, bfloat16, float64 };

constexpr std::size_t size_of(DataType type) {
  return type == DataType::float64 ? 8 : type == DataType::float32 ? 4 : 2;
}

constexpr std::string_view name_of(DataType type) {
  return type == DataType::float64 ? "float64" : type == DataType::float32 ? "float32" : "bfloat16";
}

template <class T>
struct DataTypeOf;
template <>
struct DataTypeOf<float> {
  static constexpr DataType value = DataType::float32;
};
template <>
struct DataTypeOf<bfloat16> {
  static constexpr DataType value = DataType::bfloat16;
};
template <>
struct DataTypeOf<double> {
  static constexpr DataType value = DataType::float64;
};
template <class T>
inline constexpr DataType data_type_of = DataTypeOf<T>::value;

/// The type in which values of T are summed and in which states, statistics and parameter
/// gradients are kept: float for float32 and bfloat16, double for float64.
template <class T>
struct AccumulateOf {
  using type = T;
};
template <>
struct AccumulateOf<bfloat16> {
  using type = float;
};
template <class T>
using accumulate_t = typename AccumulateOf<T>::type;

constexpr DataType accumulate_type(DataType type) {
  return type == DataType::float64 ? DataType::float64 : DataType::float32;
}

/// Calls `function.template operator()<T>()` with the C++ type of `type`.
template <class Function>
decltype(auto) dispatch(DataType type, Function&& function) {
  switch (type) {
    case DataType::float32: return function.template operator()<float>();
    case DataType::bfloat16: return function.template operator()<bfloat16>();
    case DataType::float64: return function.template operator()<double>();
  }
  throw ShapeError("unknown data type");
}

}  // namespace palimpsest
