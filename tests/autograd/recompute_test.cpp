#include "autograd/recompute.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/ops/cross_entropy.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/feed_forward.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/norm.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

/// A chain of small blocks ending in a loss, plain or recomputed.
class RecomputeTest : public ::testing::TestWithParam<DataType> {
 protected:
  static constexpr std::int64_t rows = 40, width = 24;

  Variable parameter(std::uint64_t seed) {
    return Variable::leaf(testing::normal_tensor(pool_, {width, width}, GetParam(), seed, 0.2),
                          accumulate_type(GetParam()));
  }
  std::vector<Variable> block(Tape& tape, std::span<const Variable> in) {
    const Variable normed = rms_norm(tape, in[0], norm_, 1e-5);
    const Variable gated = swiglu(tape, linear(tape, normed, gate_), linear(tape, normed, up_));
    const Variable y = linear_add(tape, gated, down_, in[0]);
    return {y,
            linear_cross_entropy(tape, y, head_, {std::vector<std::int32_t>(rows, 3), std::vector<float>(rows, 0.5f)})};
  }

  /// Values and gradients of everything after three blocks, the input used beside them as well.
  std::vector<std::vector<double>> run(bool recomputed) {
    for (const Variable* leaf : {&x_, &norm_, &gate_, &up_, &down_, &head_}) leaf->clear_gradient();
    Tape tape(pool_);
    std::vector<Variable> losses;
    Variable h = add(tape, x_, x_);
    for (int i = 0; i < 3; ++i) {
      const auto function = [this](Tape& inner, std::span<const Variable> in) { return block(inner, in); };
      const std::vector<Variable> outputs = recomputed ? recompute(tape, function, {h}) : block(tape, std::span(&h, 1));
      losses.push_back(outputs[1]);
      h = add(tape, outputs[0], h);
    }
    losses.push_back(
        linear_cross_entropy(tape, h, head_, {std::vector<std::int32_t>(rows, 1), std::vector<float>(rows, 1.0f)}));
    tape.backward(losses);
    std::vector<std::vector<double>> result;
    for (const Variable& loss : losses) result.push_back(loss.value().to_doubles());
    for (const Variable* leaf : {&x_, &norm_, &gate_, &up_, &down_, &head_}) {
      result.push_back(leaf->gradient().to_doubles());
    }
    return result;
  }

  MemoryPool pool_;
  Variable x_ = Variable::leaf(testing::normal_tensor(pool_, {rows, width}, GetParam(), 1));
  Variable norm_ = Variable::leaf(testing::normal_tensor(pool_, {width}, accumulate_type(GetParam()), 2));
  Variable gate_ = parameter(3), up_ = parameter(4), down_ = parameter(5), head_ = parameter(6);
};

TEST_P(RecomputeTest, GivesTheSameBits) {
  const auto plain = run(false), recomputed = run(true);
  EXPECT_EQ(recomputed, plain);
  for (const auto& values : plain) {
    for (const double value : values) ASSERT_TRUE(std::isfinite(value));
  }
}

TEST_P(RecomputeTest, KeepsOnlyInputsAndOutputs) {
  Tape tape(pool_);
  const auto kept = [this] { return pool_.statistics().bytes_in_use - pool_.statistics().scratch_bytes; };
  const std::size_t before = kept();
  const auto function = [this](Tape& inner, std::span<const Variable> in) { return block(inner, in); };
  const auto outputs = recompute(tape, function, {x_});
  EXPECT_EQ(kept() - before, outputs[0].value().bytes() + 64);  // and a scalar
  EXPECT_EQ(tape.size(), 1u);
  tape.backward(outputs[1]);
  EXPECT_TRUE(gate_.has_gradient());
}

INSTANTIATE_TEST_SUITE_P(Types, RecomputeTest, ::testing::ValuesIn(testing::all_types),
                         [](const auto& info) { return std::string(name_of(info.param)); });

class RecomputeCalls : public ::testing::Test {
 protected:
  Variable leaf(double value) {
    return Variable::leaf(Tensor::from_values(pool_, {1}, DataType::float64, std::vector<double>{value}));
  }
  MemoryPool pool_;
  int calls_ = 0;
  RecomputedFunction double_ = [this](Tape& tape, std::span<const Variable> in) {
    ++calls_;
    return std::vector{add(tape, in[0], in[0])};
  };
};

TEST_F(RecomputeCalls, ReachesOnlyInputsThatWantAGradient) {
  Tape tape(pool_);
  const Variable wanted = leaf(2), constant = leaf(3).detached();
  const auto function = [](Tape& inner, std::span<const Variable> in) {
    EXPECT_TRUE(in[1].requires_gradient() == false);
    return std::vector{add(inner, in[0], in[1]), add(inner, in[1], in[1])};
  };
  const auto outputs = recompute(tape, function, {wanted, constant});
  EXPECT_TRUE(outputs[0].requires_gradient());
  EXPECT_FALSE(outputs[1].requires_gradient());
  tape.backward(outputs);
  EXPECT_EQ(wanted.gradient().to_doubles(), std::vector<double>{1});
  EXPECT_FALSE(constant.has_gradient());
}

TEST_F(RecomputeCalls, RecordsNothingWhereNobodyWantsAGradient) {
  Tape tape(pool_);
  const Variable parameter = leaf(2), constant = leaf(3).detached();
  parameter.set_requires_gradient(false);
  const auto function = [&](Tape& inner, std::span<const Variable> in) {
    ++calls_;
    return std::vector{add(inner, in[0], parameter)};
  };
  EXPECT_EQ(recompute(tape, function, {constant})[0].value().to_doubles(), std::vector<double>{5});
  EXPECT_EQ(tape.size(), 0u);
  parameter.set_requires_gradient(true);  // it is captured, and no input
  const auto outputs = recompute(tape, function, {constant});
  EXPECT_EQ(tape.size(), 1u);
  tape.backward(outputs);
  EXPECT_EQ(parameter.gradient().to_doubles(), std::vector<double>{1});
  EXPECT_EQ(calls_, 3);
}

TEST_F(RecomputeCalls, ALossThatNobodyDifferentiatesIsKnownAtOnce) {
  Tape tape(pool_);
  const auto row = [this](Shape shape) { return Variable(testing::normal_tensor(pool_, shape, DataType::float64, 1)); };
  const Variable head = row({5, 3});
  const auto loss = [&](Tape& on, std::span<const Variable> in) {
    return std::vector{linear_cross_entropy(on, in[0], head, {{1, 2}, {1.0f, 0.5f}})};
  };
  const Variable hidden = row({2, 3});
  const double plain = loss(tape, std::span(&hidden, 1))[0].value().to_doubles()[0];
  EXPECT_EQ(recompute(tape, loss, {hidden})[0].value().to_doubles()[0], plain);
  EXPECT_TRUE(std::isfinite(plain));
}

TEST_F(RecomputeCalls, AnInputMayBeGivenTwiceAndReturned) {
  Tape tape(pool_);
  const Variable x = leaf(2);
  const auto function = [](Tape& inner, std::span<const Variable> in) {
    return std::vector{add(inner, in[0], in[1]), in[0]};
  };
  const auto outputs = recompute(tape, function, {x, x});
  EXPECT_EQ(outputs[1].value().to_doubles(), std::vector<double>{2});
  tape.backward(outputs);
  EXPECT_EQ(x.gradient().to_doubles(), std::vector<double>{3});
}

TEST_F(RecomputeCalls, AnInputKeepsItsGradientType) {
  const auto one = [this] { return Tensor::from_values(pool_, {1, 1}, DataType::bfloat16, std::vector<double>{1}); };
  const Variable weight = Variable::leaf(one(), DataType::float32);
  const auto function = [&](Tape& tape, std::span<const Variable> in) {
    return std::vector{linear(tape, Variable(one()), in[0])};
  };
  for (int i = 0; i < 300; ++i) {  // a bfloat16 sum of ones would stop at 256
    Tape tape(pool_);
    tape.backward(recompute(tape, function, {weight})[0]);
  }
  EXPECT_EQ(weight.gradient().to_doubles(), std::vector<double>{300});
}

TEST_F(RecomputeCalls, MayBeNested) {
  Tape tape(pool_);
  const Variable x = leaf(2);
  const auto outer = [this](Tape& inner, std::span<const Variable> in) {
    return recompute(inner, double_, recompute(inner, double_, {in[0]}));
  };
  const auto outputs = recompute(tape, outer, {x});
  EXPECT_EQ(outputs[0].value().to_doubles(), std::vector<double>{8});
  tape.backward(outputs[0]);
  EXPECT_EQ(x.gradient().to_doubles(), std::vector<double>{4});
}

TEST_F(RecomputeCalls, RunsOnceWithoutBackwardAndTwiceWithIt) {
  const Variable x = leaf(2);
  for (const Tape::Mode mode : {Tape::Mode::inference, Tape::Mode::preview}) {
    Tape tape(pool_, mode);
    calls_ = 0;
    EXPECT_EQ(recompute(tape, double_, {x})[0].value().to_doubles(), std::vector<double>{4});
    EXPECT_EQ(calls_, 1);
    EXPECT_EQ(tape.size(), 0u);
  }
  Tape tape(pool_);
  calls_ = 0;
  const auto reached = recompute(tape, double_, {x}), unreached = recompute(tape, double_, {x});
  tape.backward(reached[0]);
  EXPECT_EQ(calls_, 3);
}

}  // namespace
}  // namespace palimpsest
