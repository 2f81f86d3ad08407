// What nobody wants costs nothing: operators of inputs of which some are constants, as frozen parameters are.
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/ops/attention.h"
#include "autograd/ops/bias.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/feed_forward.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/low_rank.h"
#include "autograd/ops/memory.h"
#include "autograd/ops/norm.h"
#include "autograd/ops/rows.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

constexpr std::int64_t lanes = 2, tokens = 9, segment = 4, width = 8;
const HeadCounts counts{2, 2, 4};

struct OperatorOfInputs {
  std::string name;
  std::vector<Shape> shapes;
  std::function<std::vector<Variable>(Tape&, const std::vector<Variable>&)> function;
};

LayoutPointer layout() {
  return std::make_shared<const SequenceLayout>(
      make_layout(std::vector<std::int64_t>(lanes * tokens, 0), std::vector<std::int64_t>(lanes, 0), segment));
}

std::vector<OperatorOfInputs> operators() {
  const Shape rows{lanes, tokens, width}, matrix{lanes, 2, 4, 4}, norm{lanes, 2, 4};
  const Shape matrices{3, lanes, 2, 4, 4}, norms{3, lanes, 2, 4};
  std::vector<OperatorOfInputs> all;
  all.push_back({"linear", {rows, {6, width}}, [](Tape& tape, const auto& in) {
                   return std::vector{linear(tape, in[0], in[1])};
                 }});
  all.push_back({"linear_add", {rows, {width, width}, rows}, [](Tape& tape, const auto& in) {
                   return std::vector{linear_add(tape, in[0], in[1], in[2])};
                 }});
  all.push_back(
      {"low_rank_linear", {rows, {width, width}, {3, width}, {width, 3}, rows}, [](Tape& tape, const auto& in) {
         return std::vector{low_rank_linear(tape, in[0], in[1], {in[2], in[3], 0.5}, in[4])};
       }});
  all.push_back({"rms_norm", {rows, {width}}, [](Tape& tape, const auto& in) {
                   return std::vector{rms_norm(tape, in[0], in[1], 1e-5)};
                 }});
  all.push_back({"head_rms_norm", {rows, {4}}, [](Tape& tape, const auto& in) {
                   return std::vector{head_rms_norm(tape, in[0], in[1], 1e-5)};
                 }});
  all.push_back({"add_bias", {rows, {width}}, [](Tape& tape, const auto& in) {
                   return std::vector{add_bias(tape, in[0], in[1])};
                 }});
  all.push_back(
      {"swiglu", {rows, rows}, [](Tape& tape, const auto& in) { return std::vector{swiglu(tape, in[0], in[1])}; }});
  all.push_back({"cross_entropy", {rows, {11, width}}, [](Tape& tape, const auto& in) {
                   return std::vector{linear_cross_entropy(
                       tape, in[0], in[1], {std::vector<std::int32_t>(18, 3), std::vector<float>(18, 1.0f)})};
                 }});
  all.push_back({"local_attention", {rows, rows, rows}, [](Tape& tape, const auto& in) {
                   const auto table =
                       std::make_shared<const RotaryTable>(tape.pool(), segment, 4, 100.0, DataType::float64);
                   return std::vector{local_attention(tape, in[0], in[1], in[2], layout(), counts, table)};
                 }});
  all.push_back({"take_rows", {rows, {3, width}}, [](Tape& tape, const auto& in) {
                   return std::vector{take_rows(tape, {in[0], in[1]}, {{0, 3}, {1, 2}, {0, 3}, {-1, 0}}, 2)};
                 }});
  all.push_back({"append_rows", {rows, rows}, [](Tape& tape, const auto& in) {
                   return std::vector{last_rows(tape, append_rows(tape, in[0], in[1]), tokens + 2)};
                 }});
  all.push_back({"gate", {{2}, rows, rows}, [](Tape& tape, const auto& in) {
                   const auto mixes = std::make_shared<const std::vector<std::uint8_t>>(rows_that_mix(*layout(), true));
                   return std::vector{gate(tape, in[0], in[1], in[2], mixes, counts)};
                 }});
  for (const bool delta : {false, true}) {
    all.push_back(
        {delta ? "memory_write_delta" : "memory_write",
         {rows, rows, matrix, norm},
         [delta](Tape& tape, const auto& in) {
           const MemoryWrite w = memory_write(tape, in[0], in[1], {in[2], in[3]}, layout(), counts, {delta, 1e-3});
           return std::vector{w.before.matrix, w.before.norm, w.after.matrix, w.after.norm};
         }});
  }
  all.push_back(
      {"memory_write_with_decay", {rows, rows, matrix, norm, {2}}, [](Tape& tape, const auto& in) {
         const MemoryWrite w = memory_write(tape, in[0], in[1], {in[2], in[3]}, layout(), counts, {true, 1e-3}, in[4]);
         return std::vector{w.before.matrix, w.before.norm, w.after.matrix, w.after.norm};
       }});
  all.push_back({"sigmoid", {{5}}, [](Tape& tape, const auto& in) { return std::vector{sigmoid(tape, in[0])}; }});
  all.push_back({"memory_read", {rows, matrices, norms}, [](Tape& tape, const auto& in) {
                   return std::vector{memory_read(tape, in[0], {in[1], in[2]}, layout(), counts, 1e-3)};
                 }});
  all.push_back({"memory_read_with_gain", {rows, matrices, {2, 4}}, [norms](Tape& tape, const auto& in) {
                   const Variable norm(Tensor::zeros(tape.pool(), norms, DataType::float64));
                   return std::vector{memory_read(tape, in[0], {in[1], norm}, layout(), counts, 1e-3, in[2])};
                 }});
  all.push_back(
      {"rows_before", {rows}, [](Tape& tape, const auto& in) { return std::vector{rows_before(tape, in[0])}; }});
  all.push_back({"repeat_heads", {rows}, [](Tape& tape, const auto& in) {
                   return std::vector{repeat_heads(tape, in[0], {4, 2, 4})};
                 }});
  return all;
}

class FrozenInputs : public ::testing::TestWithParam<OperatorOfInputs> {
 protected:
  /// The gradients of inputs, undefined where there is none.
  std::vector<Tensor> run(const std::vector<bool>& wanted) {
    const OperatorOfInputs& test = GetParam();
    Tape tape(pool_);
    std::vector<Variable> inputs;
    for (std::size_t i = 0; i < test.shapes.size(); ++i) {
      // Positive, as norms have to be.
      std::vector<double> values = testing::normal_tensor(pool_, test.shapes[i], DataType::float64, i).to_doubles();
      for (double& value : values) value = 1.0 + std::abs(value);
      const Tensor tensor = Tensor::from_values(pool_, test.shapes[i], DataType::float64, values);
      inputs.push_back(wanted[i] ? Variable::leaf(tensor) : Variable(tensor));
    }
    std::vector<Variable> outputs = test.function(tape, inputs);
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (!outputs[i].requires_gradient()) continue;
      outputs[i].add_gradient(pool_, testing::normal_tensor(pool_, outputs[i].shape(), DataType::float64, 10 + i));
    }
    steps_ = tape.size();
    tape.backward_from_gradients();
    std::vector<Tensor> gradients;
    gradients.reserve(inputs.size());
    for (const Variable& input : inputs) gradients.push_back(input.gradient_slot().take());
    return gradients;
  }

  MemoryPool pool_;
  std::size_t steps_ = 0;
};

TEST_P(FrozenInputs, GetNoGradientAndLeaveThoseOfOthersAsTheyAre) {
  const std::size_t count = GetParam().shapes.size();
  const std::vector<Tensor> all = run(std::vector<bool>(count, true));
  for (std::size_t which = 0; which < (std::size_t{1} << count); ++which) {
    std::vector<bool> wanted(count);
    for (std::size_t i = 0; i < count; ++i) wanted[i] = (which >> i & 1) != 0;
    const std::vector<Tensor> some = run(wanted);
    for (std::size_t i = 0; i < count; ++i) {
      ASSERT_EQ(some[i].defined(), wanted[i]) << "input " << i << " of " << which;
      if (!wanted[i]) continue;
      EXPECT_EQ(some[i].to_doubles(), all[i].to_doubles()) << "input " << i << " of " << which;
    }
    EXPECT_EQ(steps_ == 0, which == 0);  // nothing is recorded where nobody wants anything
  }
}

INSTANTIATE_TEST_SUITE_P(Operators, FrozenInputs, ::testing::ValuesIn(operators()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace palimpsest
