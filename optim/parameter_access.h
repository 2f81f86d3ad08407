// How an optimiser's loop reads a parameter's gradient and writes its new value.
#pragma once

#include <cstdint>
#include <utility>

#include "autograd/parameter.h"

namespace palimpsest {

/// Calls function(gradient, store) with two callables to be inlined into an element loop:
/// gradient(i) is the gradient times `scale`, or 0 where the parameter has none; store(i, value)
/// writes the master and, where the model computes with one, its bfloat16 copy. T is the master's
/// type. Throws ShapeError when the gradient or the copy is of another type than that.
template <class T, class Function>
void access_parameter(Parameter& parameter, T scale, Function&& function) {
  T* const master = parameter.master.data<T>();
  const auto with_gradient = [&](auto gradient) {
    Tensor& working = parameter.variable.value();
    if (working.raw().data() == parameter.master.raw().data()) {
      function(gradient, [=](std::int64_t i, T value) { master[i] = value; });
    } else {
      bfloat16* const copy = working.data<bfloat16>();
      function(gradient, [=](std::int64_t i, T value) {
        master[i] = value;
        copy[i] = static_cast<bfloat16>(static_cast<float>(value));
      });
    }
  };
  if (parameter.variable.has_gradient()) {
    const T* const values = std::as_const(parameter.variable).gradient().template data<T>();
    with_gradient([=](std::int64_t i) { return values[i] * scale; });
  } else {
    with_gradient([](std::int64_t) { return T(0); });
  }
}

}  // namespace palimpsest
