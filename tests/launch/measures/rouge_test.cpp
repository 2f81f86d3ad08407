// ROUGE against vectors worked out by hand, and those of Lin's paper (2004).
#include "launch/measures/rouge.h"

#include <gtest/gtest.h>

#include "launch/measures/rouge_report.h"

namespace palimpsest {

namespace {

enum Measure { rouge_1, rouge_2, rouge_l, rouge_lsum };

void expect_score(const RougeScore& score, double recall, double precision, double f1) {
  EXPECT_NEAR(score.recall, recall, 1e-12);
  EXPECT_NEAR(score.precision, precision, 1e-12);
  EXPECT_NEAR(score.f1, f1, 1e-12);
}

using List = std::vector<std::string>;

TEST(RougeWords, AreLowerCaseAndEndAtAllThatIsNoLetterOrDigit) {
  EXPECT_EQ(rouge_words("Don't stop--U.S. 2nd\n\tna\u00EFve "),
            (List{"don", "t", "stop", "u", "s", "2nd", "na", "ve"}));
  EXPECT_EQ(rouge_words(" .,; "), List{});
  // Python's lower() makes ASCII letters of two characters that are none.
  EXPECT_EQ(rouge_words("300\u212A \u0130zmir"), (List{"300k", "i", "zmir"}));
}

TEST(Rouge, CountsWordsPairsAndSubsequences) {
  // Six words each, five of them in both: "the" twice, "cat", "on", "mat". Of five pairs "the cat", "on the", "the
  // mat".
  const RougeScores scores = RougeScorer(false).score("The cat sat on the mat.", "the cat was on the mat");
  expect_score(scores[rouge_1], 5. / 6, 5. / 6, 5. / 6);
  expect_score(scores[rouge_2], 3. / 5, 3. / 5, 3. / 5);
  expect_score(scores[rouge_l], 5. / 6, 5. / 6, 5. / 6);
  expect_score(scores[rouge_lsum], 5. / 6, 5. / 6, 5. / 6);
  // All three "a" of three words and of five; "a a" twice in two pairs, once in four.
  const RougeScores uneven = RougeScorer(false).score("a a a", "a b a a c");
  expect_score(uneven[rouge_1], 1, 3. / 5, 3. / 4);
  expect_score(uneven[rouge_2], 1. / 2, 1. / 4, 1. / 3);
  expect_score(uneven[rouge_l], 1, 3. / 5, 3. / 4);
}

TEST(Rouge, ExamplesOfThePaper) {
  const RougeScorer scorer(false);
  const std::string reference = "police killed the gunman";
  const RougeScores second = scorer.score(reference, "police kill the gunman");
  const RougeScores third = scorer.score(reference, "the gunman kill police");
  expect_score(second[rouge_l], 3. / 4, 3. / 4, 3. / 4);
  expect_score(third[rouge_l], 1. / 2, 1. / 2, 1. / 2);
  expect_score(second[rouge_2], 1. / 3, 1. / 3, 1. / 3);
  expect_score(third[rouge_2], 1. / 3, 1. / 3, 1. / 3);
  // The union of "w1 w2" and "w1 w3 w5" has four of five words.
  const RougeScores sentences = scorer.score("w1 w2 w3 w4 w5", "w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5");
  expect_score(sentences[rouge_lsum], 4. / 5, 4. / 10, 8. / 15);
}

TEST(Rouge, SentencesCountNoWordTwice) {
  // The candidate's one "a" is in common with both sentences.
  expect_score(RougeScorer(false).score("a b\na c", "a")[rouge_lsum], 1. / 4, 1, 2. / 5);
  // Lines without words are no sentences; they change nothing.
  expect_score(RougeScorer(false).score("\na b\n\n.\na c\n", "\n\na\n")[rouge_lsum], 1. / 4, 1, 2. / 5);
  // Two subsequences of "a b" and "b a" are longest: "a" is taken, as rouge_score does; "b" with "a" would make two.
  expect_score(RougeScorer(false).score("a b", "b a\na")[rouge_lsum], 1. / 2, 1. / 3, 2. / 5);
}

TEST(Rouge, OfNothingIsNothing) {
  for (const auto& [reference, candidate] : {std::pair{"", "a b"}, {"a b", ""}, {"", ""}, {"a", "..."}}) {
    for (const RougeScore& score : RougeScorer(false).score(reference, candidate)) expect_score(score, 0, 0, 0);
  }
  // One word has no pairs.
  const RougeScores scores = RougeScorer(false).score("word", "word");
  expect_score(scores[rouge_1], 1, 1, 1);
  expect_score(scores[rouge_2], 0, 0, 0);
}

TEST(Rouge, StemsWordsOfMoreThanThreeLetters) {
  expect_score(RougeScorer(true).score("police killed the gunman", "Police kills the gunman")[rouge_1], 1, 1, 1);
  expect_score(RougeScorer(true).score("relational caresses", "relate caress")[rouge_2], 1, 1, 1);
  // "das" keeps its end, being short; "data" and "datas" are one.
  expect_score(RougeScorer(true).score("das data", "da datas")[rouge_1], 1. / 2, 1. / 2, 1. / 2);
  EXPECT_EQ(PorterStemmer().stem("running"), "run");
}

TEST(Rouge, TakesTheBestReferenceOfEachMeasure) {
  // The first has more words in common, the second more pairs.
  const List references = {"c b a x", "a b y z"};
  const RougeScores scores = RougeScorer(false).score(references, "a b c");
  expect_score(scores[rouge_1], 3. / 4, 1, 6. / 7);
  expect_score(scores[rouge_2], 1. / 3, 1. / 2, 2. / 5);
  expect_score(scores[rouge_l], 2. / 4, 2. / 3, 4. / 7);
}

TEST(RougeReport, MeansAndIntervals) {
  const std::vector<TextPair> pairs = {{"one", {"a b"}, "a b"}, {"two", {"a b"}, "c d"}};
  const RougeResult result = measure_rouge(pairs, false, {});
  const auto means = result.means();
  ASSERT_EQ(means.size(), 4u);
  EXPECT_EQ(means[rouge_1][2].mean, 0.5);
  EXPECT_EQ(means[rouge_1][2].low, 0);
  EXPECT_EQ(means[rouge_1][2].high, 1);
  const std::string table = format_rouge(result);
  EXPECT_NE(table.find("2 texts"), std::string::npos) << table;
  EXPECT_NE(table.find("ROUGE-Lsum  0.5000  0.0000 to 1.0000"), std::string::npos) << table;
  const std::string json = rouge_json(result);
  EXPECT_NE(json.find("\"rougeLsum\""), std::string::npos) << json;
  EXPECT_EQ(json, rouge_json(measure_rouge(pairs, false, {})));
}

}  // namespace

}  // namespace palimpsest
