// Scores: what they are divided by, and how they are shown.
#include "launch/inference/score_report.h"

#include <cmath>

#include <gtest/gtest.h>

namespace palimpsest {
namespace {

TEST(ScoreReport, ScoreDividesByTokensWordsAndBytes) {
  Score score{"book", 4, 2, 8, 8 * std::log(2.0)};
  EXPECT_NEAR(score.token_perplexity(), 4.0, 1e-12);
  EXPECT_NEAR(score.word_perplexity(), 16.0, 1e-12);
  EXPECT_NEAR(score.bits_per_byte(), 1.0, 1e-12);
}

}  // namespace
}  // namespace palimpsest
