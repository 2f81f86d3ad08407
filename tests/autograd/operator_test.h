// The proof every operator passes: gradients against central differences in float64, float32 and
// bfloat16 against float64, gradients added to earlier ones, inputs that want none.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/grad_check.h"
#include "autograd/tape.h"
#include "tests/tensors.h"

namespace palimpsest::testing {

/// Normal values that every type represents exactly, in float64.
inline Tensor exact_tensor(MemoryPool& pool, Shape shape, std::uint64_t seed, double scale = 1.0) {
  return converted(pool, normal_tensor(pool, shape, DataType::bfloat16, seed, scale), DataType::float64);
}

/// An operator of some inputs, given in float64; `type_of` says in which type input i is computed
/// when the operator runs in `type`.
struct OperatorCase {
  std::function<Variable(Tape&, std::span<const Variable>)> function;
  std::vector<Tensor> inputs;
  std::function<DataType(std::size_t, DataType)> type_of = [](std::size_t, DataType type) { return type; };
  /// Parameters keep float32 gradients of bfloat16 values.
  std::function<bool(std::size_t)> is_parameter = [](std::size_t) { return false; };
};

/// Leaves NaN where the pool's next blocks will lie, so that what an operator forgets to write shows.
inline void soil(MemoryPool& pool) {
  auto block = pool.allocate(std::size_t{1} << 20);
  std::fill(block.get(), block.get() + (std::size_t{1} << 20), std::byte{0xff});
}

struct OperatorResult {
  std::vector<double> value;
  std::vector<std::vector<double>> gradients;
};

/// Runs forward and backward in `type` from a fixed gradient of the result. With `earlier`, inputs
/// hold a gradient of that value already.
inline OperatorResult run_operator(const OperatorCase& test, DataType type, double earlier = 0.0,
                                   const std::vector<bool>& wanted = {}) {
  MemoryPool pool;
  soil(pool);
  Tape tape(pool);
  std::vector<Variable> inputs;
  for (std::size_t i = 0; i < test.inputs.size(); ++i) {
    const DataType input_type = test.type_of(i, type);
    Tensor value = converted(pool, test.inputs[i], input_type);
    const bool wants = wanted.empty() || wanted[i];
    inputs.push_back(!wants ? Variable(value)
                            : Variable::leaf(value, test.is_parameter(i) ? accumulate_type(input_type) : input_type));
    if (wants && earlier != 0.0) {
      auto [gradient, accumulate] = inputs[i].gradient_target(pool);
      fill(gradient, earlier);
    }
  }
  Variable y = test.function(tape, inputs);
  // A fixed upstream gradient with magnitude near one, exact in bfloat16.
  std::vector<double> upstream(static_cast<std::size_t>(y.value().elements()));
  for (std::size_t i = 0; i < upstream.size(); ++i) upstream[i] = (i % 3 == 0 ? -1.0 : 0.5) + 0.25 * (i % 2);
  y.add_gradient(pool, Tensor::from_values(pool, y.shape(), y.data_type(), upstream));
  tape.backward_from_gradients();
  OperatorResult result{y.value().to_doubles(), {}};
  for (const Variable& input : inputs) {
    result.gradients.push_back(input.has_gradient() ? input.gradient().to_doubles() : std::vector<double>());
  }
  return result;
}

inline void check_operator(const OperatorCase& test) {
  const OperatorResult exact = run_operator(test, DataType::float64);
  {
    MemoryPool pool;
    std::vector<Variable> leaves;
    for (const Tensor& input : test.inputs) leaves.push_back(Variable::leaf(converted(pool, input, DataType::float64)));
    const GradientCheck check = check_gradients(
        pool, [&](Tape& tape) { return std::vector<Variable>{test.function(tape, leaves)}; }, leaves);
    EXPECT_LE(check.relative_error, 1e-6) << check.to_string();
  }
  for (const DataType type : {DataType::float32, DataType::bfloat16}) {
    SCOPED_TRACE(name_of(type));
    const OperatorResult narrow = run_operator(test, type);
    expect_close(narrow.value, exact.value, tolerance_of(type));
    for (std::size_t i = 0; i < exact.gradients.size(); ++i) {
      EXPECT_LE(relative_difference(narrow.gradients[i], exact.gradients[i]), 2 * tolerance_of(type)) << "input " << i;
    }
  }
  for (const DataType type : all_types) {
    SCOPED_TRACE(name_of(type));
    const OperatorResult plain = run_operator(test, type), added = run_operator(test, type, 3.0);
    for (std::size_t i = 0; i < plain.gradients.size(); ++i) {
      std::vector<double> expected = plain.gradients[i];
      for (double& element : expected) element += 3.0;
      EXPECT_LE(relative_difference(added.gradients[i], expected), 2 * tolerance_of(type)) << "earlier, input " << i;
      std::vector<bool> wanted(plain.gradients.size(), false);
      wanted[i] = true;
      const OperatorResult alone = run_operator(test, type, 0.0, wanted);
      for (std::size_t j = 0; j < wanted.size(); ++j) {
        EXPECT_EQ(alone.gradients[j], wanted[j] ? plain.gradients[j] : std::vector<double>()) << "input " << j;
      }
    }
  }
}

}  // namespace palimpsest::testing
