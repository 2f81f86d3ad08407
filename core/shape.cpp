#include "core/shape.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"

namespace palimpsest {

Shape::Shape(std::initializer_list<std::int64_t> extents) : Shape(std::span(extents.begin(), extents.size())) {}

Shape::Shape(std::span<const std::int64_t> extents) {
  if (extents.size() > max_rank) {
    throw ShapeError(fmt::format("shape ({}) has {} axes; at most {} are supported", fmt::join(extents, ", "),
                                 extents.size(), max_rank));
  }
  for (const std::int64_t extent : extents) {
    if (extent < 0) throw ShapeError(fmt::format("shape ({}) has a negative extent", fmt::join(extents, ", ")));
    if (__builtin_mul_overflow(elements_, extent, &elements_) || elements_ > (std::int64_t{1} << 59)) {
      throw ShapeError(fmt::format("shape ({}) has more elements than memory can address", fmt::join(extents, ", ")));
    }
    extents_[static_cast<std::size_t>(rank_++)] = extent;
  }
}

std::int64_t Shape::operator[](int axis) const {
  const int index = axis < 0 ? axis + rank_ : axis;
  if (index < 0 || index >= rank_) throw ShapeError(fmt::format("shape {} has no axis {}", to_string(), axis));
  return extents_[static_cast<std::size_t>(index)];
}

std::int64_t Shape::rows() const {
  std::int64_t rows = 1;
  for (int axis = 0; axis + 1 < rank_; ++axis) rows *= extents_[static_cast<std::size_t>(axis)];
  return rows;
}

bool Shape::operator==(const Shape& other) const { return std::ranges::equal(extents(), other.extents()); }

std::string Shape::to_string() const { return fmt::format("({})", fmt::join(extents(), ", ")); }

}  // namespace palimpsest
