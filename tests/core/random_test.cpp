#include "core/random.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "core/philox.h"

namespace palimpsest {
namespace {

using Block = std::array<std::uint32_t, 4>;

// The known answers published with Philox (Random123, philox4x32 with 10 rounds).
TEST(Philox, GivesThePublishedBlocks) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  EXPECT_EQ(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (Block{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  EXPECT_EQ(philox4x32({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, {0xa4093822u, 0x299f31d0u}),
            (Block{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
}

TEST(Random, IsAFunctionOfItsName) {
  const Random a(1, RandomPurpose::test, 2, 3), same(1, RandomPurpose::test, 2, 3);
  for (std::uint64_t i = 0; i < 100; ++i) EXPECT_EQ(a.bits(i), same.bits(i));
}

TEST(Random, EveryPartOfTheNameCounts) {
  std::set<std::uint32_t> seen;
  const std::uint64_t high = std::uint64_t{1} << 32;
  for (const Random& random :
       {Random(1, RandomPurpose::test), Random(2, RandomPurpose::test), Random(1 + high, RandomPurpose::test),
        Random(1, RandomPurpose::data), Random(1, RandomPurpose::test, 1), Random(1, RandomPurpose::test, high),
        Random(1, RandomPurpose::test, 0, 1)}) {
    for (const std::uint64_t index : {std::uint64_t{0}, std::uint64_t{1}, high}) seen.insert(random.bits(index));
  }
  EXPECT_EQ(seen.size(), 21u);
}

TEST(Random, UniformNumbersFillTheUnitInterval) {
  const Random random(5, RandomPurpose::test);
  constexpr int count = 100000;
  double sum = 0.0, squares = 0.0;
  int bins[10] = {};
  for (int i = 0; i < count; ++i) {
    const double value = random.uniform(static_cast<std::uint64_t>(i));
    ASSERT_GE(value, 0.0);
    ASSERT_LT(value, 1.0);
    sum += value;
    squares += value * value;
    ++bins[static_cast<int>(value * 10)];
  }
  EXPECT_NEAR(sum / count, 0.5, 0.005);
  EXPECT_NEAR(squares / count, 1.0 / 3, 0.005);
  for (const int bin : bins) EXPECT_NEAR(bin, count / 10, 400);
}

TEST(Random, NormalNumbersHaveTheMomentsOfANormal) {
  const Random random(6, RandomPurpose::test);
  constexpr int count = 100000;
  double moments[5] = {};
  for (int i = 0; i < count; ++i) {
    const double value = random.normal(static_cast<std::uint64_t>(i));
    ASSERT_TRUE(std::isfinite(value));
    for (int power = 1; power <= 4; ++power) moments[power] += std::pow(value, power) / count;
  }
  EXPECT_NEAR(moments[1], 0.0, 0.015);
  EXPECT_NEAR(moments[2], 1.0, 0.02);
  EXPECT_NEAR(moments[3], 0.0, 0.06);
  EXPECT_NEAR(moments[4], 3.0, 0.15);
}

TEST(Random, FilledNormalsHaveTheMomentsAndTheTailsOfANormal) {
  std::vector<float> values(1000003);
  Random(6, RandomPurpose::test).fill_normal(values, 0.5f);
  double moments[5] = {}, product = 0;
  std::int64_t beyond_two = 0, beyond_four = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double value = 2.0 * static_cast<double>(values[i]);
    ASSERT_TRUE(std::isfinite(value));
    for (int power = 1; power <= 4; ++power) moments[power] += std::pow(value, power) / 1000003;
    beyond_two += std::abs(value) > 2;
    beyond_four += std::abs(value) > 4;
    if (i >= 16) product += value * 2.0 * static_cast<double>(values[i - 16]) / 1000003;  // sine and cosine of one pair
  }
  EXPECT_NEAR(moments[1], 0.0, 0.005);
  EXPECT_NEAR(moments[2], 1.0, 0.007);
  EXPECT_NEAR(moments[3], 0.0, 0.02);
  EXPECT_NEAR(moments[4], 3.0, 0.05);
  EXPECT_NEAR(product, 0.0, 0.005);
  EXPECT_NEAR(static_cast<double>(beyond_two), 45500.0, 900.0);
  EXPECT_NEAR(static_cast<double>(beyond_four), 63.0, 40.0);
}

TEST(Random, FilledNormalsDoNotDependOnHowManyAreAsked) {
  std::vector<float> all(1000), some(777);
  const Random random(8, RandomPurpose::test);
  random.fill_normal(all, 1.0f);
  random.fill_normal(some, 1.0f);
  EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin()));
}

TEST(Random, IntegersStayBelowTheirBoundAndReachAll) {
  const Random random(7, RandomPurpose::test);
  int counts[7] = {};
  for (std::uint64_t i = 0; i < 70000; ++i) {
    const std::uint64_t value = random.below(i, 7);
    ASSERT_LT(value, 7u);
    ++counts[value];
  }
  for (const int count : counts) EXPECT_NEAR(count, 10000, 400);
  EXPECT_EQ(random.below(0, 1), 0u);
  const std::uint64_t huge = ~std::uint64_t{0};
  EXPECT_LT(random.below(3, huge), huge);
}

}  // namespace
}  // namespace palimpsest
