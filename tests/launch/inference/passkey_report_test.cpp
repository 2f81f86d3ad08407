#include "launch/inference/passkey_report.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/error.h"

namespace palimpsest {
namespace {

std::vector<PasskeyCell> example() {
  return {{32768, 0, {{0, 4, 4, 0}, {1, 4, 4, 1}}}, {32768, 0.5, {{0, 4, 4, 0}, {1, 4, 2, 0}}}, {5000, 0, {}}};
}

TEST(PasskeyReport, IntervalsAreWilsons) {
  // Computed with z = 1.959964 from the formula in Wilson (1927).
  const Proportion all = wilson_interval(20, 20), half = wilson_interval(10, 20), none = wilson_interval(0, 20);
  EXPECT_NEAR(all.low, 0.838875, 1e-6);
  EXPECT_EQ(all.high, 1.0);
  EXPECT_NEAR(half.low, 0.299298, 1e-6);
  EXPECT_NEAR(half.high, 0.700702, 1e-6);
  EXPECT_EQ(none.low, 0.0);
  EXPECT_NEAR(none.high, 0.161125, 1e-6);
  EXPECT_EQ(wilson_interval(0, 0).high, 1.0) << "nothing is known";
}

TEST(PasskeyReport, AKeyIsFoundWhenAllOfItsDigitsAre) {
  const PasskeySummary found = summarize(example()[1]);
  EXPECT_EQ(found.samples, 2);
  EXPECT_EQ(found.exact, 1);
  EXPECT_EQ(found.tokens, 8);
  EXPECT_EQ(found.right, 6);
  EXPECT_EQ(summarize(example()[0]).right_without_memory, 1);
  EXPECT_EQ(summarize(example()[0]).exact_without_memory, 0);
}

TEST(PasskeyReport, TheTableHasARowALength) {
  const std::string table = format_passkey(example());
  EXPECT_NE(table.find("32 k    100 (34-100)  50 (9-91)    87.5        0.0     6.2"), std::string::npos) << table;
  EXPECT_NE(table.find("5000"), std::string::npos) << table;
}

TEST(PasskeyReport, SamplesComeBackFromJson) {
  nlohmann::json json;
  json["cells"] = nlohmann::json::parse(to_json(example()).dump());
  std::vector<PasskeyCell> cells{{32768, 0.5, {}}, {32768, 1, {}}};
  const std::vector<PasskeyCell> others = take_samples(cells_from_json(json), cells);
  ASSERT_EQ(cells[0].samples.size(), 2u);
  EXPECT_EQ(cells[0].samples, example()[1].samples);
  EXPECT_TRUE(cells[1].samples.empty());
  ASSERT_EQ(others.size(), 2u) << "what was not asked for is kept";
  EXPECT_EQ(others[0].samples, example()[0].samples);
  const std::vector<PasskeyCell> all = joined(cells, others);
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[0].length, 5000);
  EXPECT_EQ(all[1].depth, 0);
  EXPECT_EQ(all[3].depth, 1);
  const std::string cell = R"({"cells": [{"length": 32768, "depth": 0.5, "samples": [)";
  const std::string sample = R"({"sample": 0, "tokens": 4, "right": 4, "right_without_memory": 0})";
  EXPECT_NO_THROW(cells_from_json(nlohmann::json::parse(cell + sample + "]}]}")));
  for (const std::string& damaged :
       {std::string(R"({})"), std::string(R"({"cells": 3})"), std::string(R"({"cells": [{"length": -1, "depth": 0}]})"),
        std::string(R"({"cells": [{"length": 32768, "depth": "x"}]})"),
        std::string(R"({"cells": [{"length": 32768, "depth": 0.5}]})"), cell + R"({"sample": 0}]}]})",
        fmt::format("{}{},{}]}}]}}", cell, sample, sample),
        cell + R"({"sample": 0, "tokens": 4, "right": 5, "right_without_memory": 0}]}]})"}) {
    EXPECT_THROW(cells_from_json(nlohmann::json::parse(damaged)), DataError) << damaged;
  }
}

}  // namespace
}  // namespace palimpsest
