#include "core/tensor.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

namespace palimpsest {

namespace {

void require_same_shape(const char* operation, const Tensor& source, const Tensor& target) {
  if (!(source.shape() == target.shape())) {
    throw ShapeError(fmt::format("{}: source has shape {}, target has shape {}", operation, source.shape().to_string(),
                                 target.shape().to_string()));
  }
}

}  // namespace

Tensor::Tensor(MemoryPool& pool, Shape shape, DataType type)
    : storage_(pool.allocate(static_cast<std::size_t>(shape.elements()) * size_of(type))), shape_(shape), type_(type) {}

Tensor Tensor::zeros(MemoryPool& pool, Shape shape, DataType type) {
  Tensor result(pool, shape, type);
  fill(result, 0.0);
  return result;
}

Tensor Tensor::from_values(MemoryPool& pool, Shape shape, DataType type, std::span<const double> values) {
  Tensor result(pool, shape, type);
  if (static_cast<std::int64_t>(values.size()) != result.elements()) {
    throw ShapeError(fmt::format("{} values for a tensor of shape {}", values.size(), shape.to_string()));
  }
  dispatch(type, [&]<class T>() {
    std::ranges::transform(values, result.data<T>(), [](double v) { return static_cast<T>(v); });
  });
  return result;
}

Tensor Tensor::rows(std::int64_t begin, std::int64_t end) const {
  if (shape_.rank() == 0 || begin < 0 || end < begin || end > shape_[0]) {
    throw ShapeError(fmt::format("rows [{}, {}) of a tensor of shape {}", begin, end, shape_.to_string()));
  }
  std::vector<std::int64_t> extents(shape_.extents().begin(), shape_.extents().end());
  const std::int64_t row_elements = shape_[0] == 0 ? 0 : shape_.elements() / shape_[0];
  extents[0] = end - begin;
  Tensor view = *this;
  view.shape_ = Shape(extents);
  view.storage_ = {storage_, storage_.get() + static_cast<std::size_t>(begin * row_elements) * size_of(type_)};
  return view;
}

Tensor Tensor::reshaped(Shape shape) const {
  if (shape.elements() != elements()) {
    throw ShapeError(fmt::format("shape {} seen as {}", shape_.to_string(), shape.to_string()));
  }
  Tensor view = *this;
  view.shape_ = shape;
  return view;
}

std::vector<double> Tensor::to_doubles() const {
  return dispatch(type_, [&]<class T>() {
    const auto elements = values<T>();
    std::vector<double> result(elements.size());
    std::ranges::transform(elements, result.begin(), [](T v) { return static_cast<double>(v); });
    return result;
  });
}

void Tensor::require_type(DataType type) const {
  if (!defined()) throw ShapeError("an undefined tensor was used");
  if (type != type_) throw ShapeError(fmt::format("a {} tensor was used as {}", name_of(type_), name_of(type)));
}

void fill(Tensor& target, double value) {
  dispatch(target.data_type(), [&]<class T>() {
    T* const out = target.data<T>();
    const T converted_value = static_cast<T>(value);
    const std::int64_t count = target.elements();
#pragma omp parallel for simd schedule(static) if (count > 65536)
    for (std::int64_t i = 0; i < count; ++i) out[i] = converted_value;
  });
}

void copy(const Tensor& source, Tensor& target) {
  require_same_shape("copy", source, target);
  dispatch(source.data_type(), [&]<class S>() {
    dispatch(target.data_type(), [&]<class T>() {
      const S* const in = source.data<S>();
      T* const out = target.data<T>();
      const std::int64_t count = target.elements();
#pragma omp parallel for simd schedule(static) if (count > 65536)
      for (std::int64_t i = 0; i < count; ++i) out[i] = static_cast<T>(in[i]);
    });
  });
}

void add_into(Tensor& target, const Tensor& source) {
  require_same_shape("add_into", source, target);
  dispatch(source.data_type(), [&]<class S>() {
    dispatch(target.data_type(), [&]<class T>() {
      using Sum = accumulate_t<T>;
      const S* const in = source.data<S>();
      T* const out = target.data<T>();
      const std::int64_t count = target.elements();
#pragma omp parallel for simd schedule(static) if (count > 65536)
      for (std::int64_t i = 0; i < count; ++i)
        out[i] = static_cast<T>(static_cast<Sum>(out[i]) + static_cast<Sum>(in[i]));
    });
  });
}

Tensor converted(MemoryPool& pool, const Tensor& source, DataType type) {
  Tensor result(pool, source.shape(), type);
  copy(source, result);
  return result;
}

}  // namespace palimpsest
