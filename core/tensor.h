// A dense row-major array with a run-time element type. Copies share their storage; `rows` and
// `reshaped` are views of it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/data_type.h"
#include "core/shape.h"
#include "core/storage.h"

namespace palimpsest {

class Tensor {
 public:
  /// An undefined tensor: no storage, `defined()` is false.
  Tensor() = default;
  /// Contents are unspecified.
  Tensor(MemoryPool& pool, Shape shape, DataType type);

  static Tensor zeros(MemoryPool& pool, Shape shape, DataType type);
  /// Throws ShapeError unless there is one value per element.
  static Tensor from_values(MemoryPool& pool, Shape shape, DataType type, std::span<const double> values);

  bool defined() const { return storage_ != nullptr; }
  explicit operator bool() const { return defined(); }
  const Shape& shape() const { return shape_; }
  DataType data_type() const { return type_; }
  std::int64_t elements() const { return shape_.elements(); }
  std::size_t bytes() const { return static_cast<std::size_t>(elements()) * size_of(type_); }
  /// True while no other tensor shares the storage.
  bool unique() const { return storage_.use_count() == 1; }

  /// First element. Throws ShapeError when T is not the element type.
  template <class T>
  T* data() {
    require_type(data_type_of<T>);
    return reinterpret_cast<T*>(storage_.get());
  }
  template <class T>
  const T* data() const {
    require_type(data_type_of<T>);
    return reinterpret_cast<const T*>(storage_.get());
  }
  template <class T>
  std::span<T> values() {
    return {data<T>(), static_cast<std::size_t>(elements())};
  }
  template <class T>
  std::span<const T> values() const {
    return {data<T>(), static_cast<std::size_t>(elements())};
  }
  std::span<std::byte> raw() { return {storage_.get(), bytes()}; }
  std::span<const std::byte> raw() const { return {storage_.get(), bytes()}; }

  /// The view [begin, end) of the first axis.
  Tensor rows(std::int64_t begin, std::int64_t end) const;
  /// The same elements under another shape of as many elements.
  Tensor reshaped(Shape shape) const;

  /// Every element as a double: for tests, reports and small tensors.
  std::vector<double> to_doubles() const;

 private:
  void require_type(DataType type) const;

  std::shared_ptr<std::byte> storage_;
  Shape shape_;
  DataType type_ = DataType::float32;
};

/// Writes `value` to every element.
void fill(Tensor& target, double value);
/// target <- source, converting the element type. Throws ShapeError unless shapes agree.
void copy(const Tensor& source, Tensor& target);
/// target <- target + source, in the target's type. Throws ShapeError unless shapes agree.
void add_into(Tensor& target, const Tensor& source);
/// A tensor of its own with the same elements, converted to `type`.
Tensor converted(MemoryPool& pool, const Tensor& source, DataType type);

}  // namespace palimpsest
