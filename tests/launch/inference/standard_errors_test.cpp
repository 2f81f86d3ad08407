// Standard errors over documents, against values worked out by hand and with numpy.
#include "launch/inference/standard_errors.h"

#include <array>
#include <cmath>

#include <gtest/gtest.h>

namespace palimpsest {
namespace {

TEST(StandardErrors, OfARatioAsWorkedOutByHand) {
  // R = 12 / 6 = 2; residuals 0, 1, -1; sqrt(3 / 2 * 2) / 6.
  const RatioEstimate estimate = estimate_ratio(std::array{2.0, 5.0, 5.0}, std::array{1.0, 2.0, 3.0});
  EXPECT_DOUBLE_EQ(estimate.ratio, 2.0);
  ASSERT_TRUE(estimate.standard_error.has_value());
  EXPECT_NEAR(*estimate.standard_error, std::sqrt(3.0) / 6, 1e-15);
}

TEST(StandardErrors, OfEqualDenominatorsIsThatOfTheMean) {
  const RatioEstimate estimate = estimate_ratio(std::array{1.0, 2.0, 3.0, 6.0}, std::array{1.0, 1.0, 1.0, 1.0});
  EXPECT_DOUBLE_EQ(estimate.ratio, 3.0);
  EXPECT_NEAR(*estimate.standard_error, std::sqrt((4.0 + 1 + 0 + 9) / 3 / 4), 1e-15);
}

// numpy: y, x = array([210, 330, 95, 480.]), array([100, 140, 50, 210.]); r = y.sum()/x.sum();
// se = sqrt(4/3*((y-r*x)**2).sum())/x.sum(); exp(r)*se; words 60, 90, 31, 130; bytes 420, 610, 190, 900.
TEST(StandardErrors, OfMeasuresAsNumpyGivesThem) {
  const auto errors = standard_errors(
      {{"a", 100, 60, 420, 210.0}, {"b", 140, 90, 610, 330.0}, {"c", 50, 31, 190, 95.0}, {"d", 210, 130, 900, 480.0}});
  ASSERT_TRUE(errors.has_value());
  EXPECT_NEAR(errors->nats_per_token, 0.0690885422242116, 1e-12);
  EXPECT_NEAR(errors->token_perplexity, 0.642514190311915, 1e-10);
  EXPECT_NEAR(errors->word_perplexity, 3.09477215863229, 1e-9);
  EXPECT_NEAR(errors->bits_per_byte, 0.0129460938527592, 1e-12);
}

TEST(StandardErrors, OfOneDocumentAreUnknown) {
  EXPECT_EQ(standard_errors({{"a", 100, 60, 420, 210.0}}), std::nullopt);
  EXPECT_EQ(standard_errors({}), std::nullopt);
}

}  // namespace
}  // namespace palimpsest
