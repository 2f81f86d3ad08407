// metrics.jsonl as columns: what is kept, what is refused, and how a long run is thinned.
#include "launch/report/run_history.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "launch/report/thinning.h"

namespace palimpsest {
namespace {

RunHistory history_of(const std::string& text) {
  std::istringstream lines(text);
  return read_history(lines, "metrics.jsonl");
}

std::string error_of(const std::string& text) {
  try {
    history_of(text);
  } catch (const FileError& error) {
    return error.what();
  }
  return "";
}

TEST(RunHistory, HasAColumnForEveryNumber) {
  const RunHistory history = history_of(
      "{\"kind\":\"step\",\"step\":1,\"loss\":2.5,\"perplexity\":12.2,\"gates\":[[0.5,0.25]],\"position\":\"stage "
      "1\"}\n"
      "{\"kind\":\"evaluation\",\"step\":1,\"split\":\"validation\",\"tokens\":10}\n"
      "{\"kind\":\"rouge\",\"step\":1,\"rouge1\":{\"f1\":0.5}}\n"
      "{\"kind\":\"later\",\"step\":1}\n"
      "{\"kind\":\"step\",\"step\":4,\"loss\":null,\"sources\":{\"books\":{\"loss\":1.5}}}\n"
      "{\"kind\":\"step\",\"step\":5,\"lo");
  ASSERT_EQ(history.steps(), 2u);
  EXPECT_EQ(*history.column("step"), (std::vector<double>{1, 4}));
  EXPECT_EQ(history.column("loss")->at(0), 2.5);
  EXPECT_TRUE(std::isnan(history.column("loss")->at(1)));
  EXPECT_TRUE(std::isnan(history.column("sources.books.loss")->at(0)));
  EXPECT_EQ(history.column("sources.books.loss")->at(1), 1.5);
  EXPECT_EQ(history.column("perplexity"), nullptr) << "follows from the loss";
  ASSERT_EQ(history.gates.size(), 1u);
  EXPECT_EQ(history.gates[0].values, (std::vector<std::vector<double>>{{0.5, 0.25}}));
  ASSERT_EQ(history.evaluations.size(), 1u);
  EXPECT_EQ(history.evaluations[0].at("split"), "validation");
  ASSERT_EQ(history.summaries.size(), 1u);
  EXPECT_EQ(history.summaries[0].at("rouge1").at("f1"), 0.5);
}

TEST(RunHistory, NamesTheLineThatIsDamaged) {
  const std::string good = "{\"kind\":\"step\",\"step\":3}\n";
  EXPECT_NE(error_of(good + "{\"kind\":\"st\n").find("metrics.jsonl:2: not JSON"), std::string::npos);
  EXPECT_NE(error_of(good + "[1]\n").find("metrics.jsonl:2: expected an object"), std::string::npos);
  EXPECT_NE(error_of(good + "{\"kind\":\"step\"}\n").find("metrics.jsonl:2: \"step\" is missing"), std::string::npos);
  EXPECT_NE(error_of(good + good).find("metrics.jsonl:2: step 3 follows step 3"), std::string::npos);
  EXPECT_EQ(error_of(good), "");
}

TEST(RunHistory, HoursComeFromSecondsOrFromTheRate) {
  const RunHistory history = history_of(
      "{\"kind\":\"step\",\"step\":10,\"tokens\":3600,\"tokens_per_second\":1}\n"
      "{\"kind\":\"step\",\"step\":20,\"tokens\":7200,\"tokens_per_second\":1,\"step_seconds\":720}\n");
  const std::vector<double> hours = training_hours(history);
  EXPECT_DOUBLE_EQ(hours.at(0), 1);
  EXPECT_DOUBLE_EQ(hours.at(1), 3);
}

/// A run of `steps` with a spike of the loss, of the gradient and a dip.
RunHistory long_run(int steps) {
  std::string text;
  for (int step = 1; step <= steps; ++step) {
    text += fmt::format("{{\"kind\":\"step\",\"step\":{},\"loss\":{},\"gradient_norm\":{},\"gates\":[[{}]]}}\n", step,
                        step == 617   ? 99
                        : step == 333 ? 1
                                      : 5,
                        step == 801 ? 50 : 1, step);
  }
  return history_of(text);
}

TEST(Thinning, KeepsSpikesDipsAndBothEnds) {
  const RunHistory history = long_run(1000);
  const std::vector<std::size_t> kept = thinned_steps(history, 90);
  EXPECT_LE(kept.size(), 92u);
  EXPECT_TRUE(std::ranges::is_sorted(kept));
  for (const std::size_t index : {0u, 999u, 616u, 332u, 800u}) {
    EXPECT_TRUE(std::ranges::find(kept, index) != kept.end()) << index;
  }
  EXPECT_EQ(thinned_steps(history, 1000).size(), 1000u);
  EXPECT_EQ(evenly_spread(9, 3), (std::vector<std::size_t>{0, 4, 8}));
  EXPECT_EQ(evenly_spread(2, 3), (std::vector<std::size_t>{0, 1}));
}

TEST(Thinning, GatesOfALongRunAreEvenlySpread) {
  const RunHistory history = long_run(2000);
  ASSERT_LE(history.gates.size(), RunHistory::max_gate_frames);
  ASSERT_GE(history.gates.size(), RunHistory::max_gate_frames / 2);
  const std::int64_t stride = history.gates[1].step - history.gates[0].step;
  for (std::size_t i = 1; i < history.gates.size(); ++i) {
    EXPECT_EQ(history.gates[i].step - history.gates[i - 1].step, stride);
  }
  for (const GateFrame& frame : history.gates) {
    EXPECT_EQ(frame.values, (std::vector<std::vector<double>>{{static_cast<double>(frame.step)}}));
  }
}

}  // namespace
}  // namespace palimpsest
