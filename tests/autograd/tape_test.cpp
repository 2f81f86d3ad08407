#include "autograd/tape.h"

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/ops/elementwise.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

using Values = std::vector<double>;

class TapeTest : public ::testing::Test {
 protected:
  Variable leaf(const Values& values) {
    return Variable::leaf(
        Tensor::from_values(pool_, {static_cast<std::int64_t>(values.size())}, DataType::float64, values));
  }
  /// y = x, counting its backward.
  Variable identity(Tape& tape, const Variable& x, int& count) {
    const Variable y = Variable::result(x.value(), tape.records({x}));
    if (y.requires_gradient()) {
      tape.record({y}, [this, x, y, &count] {
        ++count;
        x.add_gradient(pool_, y.gradient());
      });
    }
    return y;
  }
  MemoryPool pool_;
};

TEST_F(TapeTest, GradientsAddUpOverAllPaths) {
  Tape tape(pool_);
  const Variable x = leaf({2});
  const Variable twice = add(tape, x, x);
  const Variable y = add(tape, add(tape, twice, x), twice);
  EXPECT_EQ(y.value().to_doubles(), Values{10});
  tape.backward(y);
  EXPECT_EQ(x.gradient().to_doubles(), Values{5});
}

TEST_F(TapeTest, SeveralRootsAndCallsAccumulate) {
  Tape tape(pool_);
  const Variable x = leaf({2});
  std::vector<Variable> roots{add(tape, x, x), add(tape, x, leaf({1}))};
  tape.backward(roots);
  EXPECT_EQ(x.gradient().to_doubles(), Values{3});
  tape.backward(add(tape, x, x));
  EXPECT_EQ(x.gradient().to_doubles(), Values{5});
}

TEST_F(TapeTest, SkipsWhatNoGradientReaches) {
  Tape tape(pool_);
  const Variable x = leaf({2});
  int reached = 0, unreached = 0;
  const Variable y = identity(tape, x, reached), aside = identity(tape, x, unreached);
  tape.backward(y);
  EXPECT_EQ(reached, 1);
  EXPECT_EQ(unreached, 0);
}

TEST_F(TapeTest, RecordsOnlyWhereAGradientIsWanted) {
  Tape record(pool_), inference(pool_, Tape::Mode::inference), preview(pool_, Tape::Mode::preview);
  const Variable wanted = leaf({1}), constant = wanted.detached();
  EXPECT_TRUE(record.records({constant, wanted}));
  EXPECT_FALSE(record.records({constant}));
  EXPECT_FALSE(record.records({Variable()}));
  for (Tape* tape : {&inference, &preview}) {
    EXPECT_EQ(tape->records({wanted}), tape == &preview) << "a preview tells which results will need a gradient";
    const Variable sum = add(*tape, wanted, wanted);
    EXPECT_EQ(sum.value().to_doubles(), Values{2});
    EXPECT_EQ(sum.requires_gradient(), tape == &preview);
    EXPECT_EQ(tape->size(), 0u);
  }
  EXPECT_FALSE(add(preview, constant, constant).requires_gradient());
}

TEST_F(TapeTest, FreesWhatItHasUsed) {
  Tape tape(pool_);
  const auto held = std::make_shared<int>(0);
  const Variable x = leaf({2});
  const Variable y = Variable::result(x.value(), true);
  bool freed_in_time = false;
  tape.record({y}, [&, x, y] {  // runs second
    freed_in_time = held.use_count() == 1;
    x.add_gradient(pool_, y.gradient());
  });
  const Variable z = Variable::result(x.value(), true);
  tape.record({z}, [this, held, y, z] { y.add_gradient(pool_, z.gradient()); });
  EXPECT_EQ(held.use_count(), 2);
  tape.backward(z);
  EXPECT_TRUE(freed_in_time);
  EXPECT_EQ(tape.size(), 0u);
  EXPECT_FALSE(y.has_gradient());
  EXPECT_FALSE(z.has_gradient());
  EXPECT_TRUE(x.has_gradient());
}

TEST_F(TapeTest, KeepsNoValueThatNobodyNeeds) {
  Tape tape(pool_);
  const Variable x = leaf({1, 2});
  const std::size_t before = pool_.statistics().bytes_in_use;
  Variable sum = add(tape, add(tape, x, x), x);              // whose derivative needs no value
  EXPECT_EQ(pool_.statistics().bytes_in_use - before, 64u);  // of the sum alone
  sum.add_gradient(pool_, Tensor::from_values(pool_, {2}, DataType::float64, Values{1, 10}));
  sum = Variable();
  EXPECT_EQ(pool_.statistics().bytes_in_use - before, 64u);  // of its gradient
  tape.backward_from_gradients();
  EXPECT_EQ(x.gradient().to_doubles(), (Values{3, 30}));
}

TEST_F(TapeTest, StartsFromGivenGradients) {
  Tape tape(pool_);
  const Variable x = leaf({1, 2, 3});
  const Variable y = add(tape, x, x);
  y.add_gradient(pool_, Tensor::from_values(pool_, {3}, DataType::float64, Values{1, 10, 100}));
  tape.backward_from_gradients();
  EXPECT_EQ(x.gradient().to_doubles(), (Values{2, 20, 200}));
}

TEST_F(TapeTest, RootsAreScalars) {
  Tape tape(pool_);
  const Variable x = leaf({1, 2});
  EXPECT_THROW(tape.backward(add(tape, x, x)), ShapeError);
}

TEST_F(TapeTest, TimesOperatorsByFamily) {
  OperatorProfile profile;
  Tape tape(pool_, Tape::Mode::record, &profile);
  const Variable x = leaf({1});
  tape.backward(add(tape, x, x));
  ASSERT_EQ(profile.families().size(), 1u);
  const auto& [family, seconds] = *profile.families().begin();
  EXPECT_EQ(family, "add");
  EXPECT_GT(seconds.forward, 0.0);
  EXPECT_GT(seconds.backward, 0.0);
}

TEST_F(TapeTest, TellsWhenBackwardIsBackAtAPoint) {
  Tape tape(pool_);
  const Variable x = leaf({2});
  std::vector<std::string> order;
  int before = 0, after = 0;
  const Variable y = identity(tape, x, before);
  // Whether or not a gradient reaches anything around it.
  tape.when_back_at_this_point([&] {
    EXPECT_EQ(after, 1);
    EXPECT_EQ(before, 0);
    order.push_back("first");
  });
  const Variable z = identity(tape, y, after);
  tape.when_back_at_this_point([&] { order.push_back("second"); });
  tape.backward(z);
  EXPECT_EQ(order, (std::vector<std::string>{"second", "first"}));
  EXPECT_EQ(before, 1);
  Tape inference(pool_, Tape::Mode::inference);
  bool back = false;
  inference.when_back_at_this_point([&] { back = true; });
  inference.backward_from_gradients();
  EXPECT_TRUE(back);
  Tape preview(pool_, Tape::Mode::preview);
  preview.when_back_at_this_point([] { FAIL(); });
  EXPECT_EQ(preview.size(), 0u);
}

TEST_F(TapeTest, AStageRunsWhereItStandsIfAStepBeforeItAskedForIt) {
  OperatorProfile profile;
  Tape tape(pool_, Tape::Mode::record, &profile);
  const Variable x = leaf({2});
  std::vector<std::string> order;
  const BackwardStage unasked = tape.record_stage([] { FAIL() << "nobody asks"; });
  BackwardStage second;
  {
    const OperatorScope scope(tape, "exchange");
    second = tape.record_stage([&] { order.push_back("second"); });
  }
  const Variable y = Variable::result(x.value(), true);
  tape.record({y}, [&, x, y] {
    order.push_back("between");
    x.add_gradient(pool_, y.gradient());
  });
  const BackwardStage first = tape.record_stage([&, second] {
    order.push_back("first");
    second.ask();
  });
  const Variable z = Variable::result(y.value(), true);
  tape.record({z}, [&, y, z] {
    y.add_gradient(pool_, z.gradient());
    first.ask();
    BackwardStage().ask();
  });
  tape.backward(z);
  EXPECT_EQ(order, (std::vector<std::string>{"first", "between", "second"}));
  EXPECT_EQ(x.gradient().to_doubles(), Values{1});
  EXPECT_GT(profile.families().at("exchange").backward, 0.0);
  EXPECT_EQ(tape.size(), 0u);

  // The request belongs to the step that made it: without its gradient there is none.
  const BackwardStage stage = tape.record_stage([] { FAIL() << "no gradient has come to who would ask"; });
  const Variable aside = Variable::result(x.value(), true);
  tape.record({aside}, [stage] { stage.ask(); });
  tape.backward_from_gradients();
  EXPECT_EQ(tape.size(), 0u);
}

}  // namespace
}  // namespace palimpsest
