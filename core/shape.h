// The extents of a tensor, at most five of them, slowest-varying first.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace palimpsest {

class Shape {
 public:
  static constexpr int max_rank = 5;

  Shape() = default;
  /// Throws ShapeError on a negative extent, more than five of them, or a product beyond 2^59 (2^62 bytes).
  Shape(std::initializer_list<std::int64_t> extents);
  explicit Shape(std::span<const std::int64_t> extents);

  int rank() const { return rank_; }
  /// Extent of one axis; negative indices count from the last axis.
  std::int64_t operator[](int axis) const;
  /// Product of all extents; 1 for rank 0.
  std::int64_t elements() const { return elements_; }
  /// Product of all extents but the last: the number of rows when seen as a matrix.
  std::int64_t rows() const;
  std::span<const std::int64_t> extents() const { return {extents_.data(), static_cast<std::size_t>(rank_)}; }

  bool operator==(const Shape& other) const;
  /// "(4, 128, 512)"
  std::string to_string() const;

 private:
  std::array<std::int64_t, max_rank> extents_{};
  int rank_ = 0;
  std::int64_t elements_ = 1;
};

}  // namespace palimpsest
