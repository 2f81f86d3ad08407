// Runs and judgements in files.
#include "launch/measures/trec_files.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace palimpsest {

namespace {

template <class Parse>
void expect_error(const Parse& parse, const std::string& text, const std::string& expected) {
  try {
    parse(text, "file");
    ADD_FAILURE() << "nothing was wrong with " << text;
  } catch (const FileError& error) {
    EXPECT_NE(std::string(error.what()).find(expected), std::string::npos) << error.what();
  }
}

TEST(TrecFiles, ARunIsOrderedByScoreAndThenByTheLaterId) {
  // Ranks, here wrong, mean nothing.
  const Ranking run = parse_run(
      "q2 Q0 d9 1 -1.5e1 tag\n"
      "\n"
      "q1\tQ0  d1\t1 2.5 tag and more\r\n"
      "q1 Q0 d10 2 +7 tag\n"
      "q1 Q0 d2 3 2.5 tag\n"
      "q1 Q0 d11 4 2.5000000000000004 tag",
      "run");
  ASSERT_EQ(run.size(), 2u);
  EXPECT_EQ(run.at("q1"),
            (std::vector<RankedDocument>{{"d10", 7}, {"d11", 2.5000000000000004}, {"d2", 2.5}, {"d1", 2.5}}));
  EXPECT_EQ(run.at("q2").front().score, -15);
}

TEST(TrecFiles, ARunIsReadAsItWasWritten) {
  const Ranking run = {{"a", {{"x", 1. / 3}, {"y", -1e-300}}}, {"b", {{"z", 2}}}};
  const std::string text = format_run(run, "palimpsest");
  EXPECT_EQ(text.substr(0, text.find('\n')), "a Q0 x 1 0.3333333333333333 palimpsest");
  EXPECT_EQ(parse_run(text, "run"), run);
}

TEST(TrecFiles, JudgementsOfTrecAndOfBeir) {
  const Judgements judgements = {{"1", {{"a", 1}, {"b", 0}}}, {"2", {{"a", -1}}}};
  EXPECT_EQ(parse_judgements("1 0 a 1\n1 Q0\tb 0\n2 0 a -1\n", "qrels"), judgements);
  EXPECT_EQ(parse_judgements("query-id\tcorpus-id\tscore\n1\ta\t1\r\n1\tb\t0\n2\ta\t-1", "qrels"), judgements);
  // Tabs alone part BEIR's columns.
  EXPECT_EQ(parse_judgements("query-id\tcorpus-id\tscore\na b\tc d\t2\n", "qrels"),
            (Judgements{{"a b", {{"c d", 2}}}}));
}

TEST(TrecFiles, AnIdMayBeginWithAnyCharacter) {
  const Ranking run = {{"#1", {{"#a", 2}}}, {"1", {{"b", 1}}}};
  EXPECT_EQ(parse_run("#1 Q0 #a 1 2 tag\n1 Q0 b 1 1 tag\n", "run"), run);
  EXPECT_EQ(parse_judgements("#1 0 a 1\n1 0 b 1\n", "qrels"), (Judgements{{"#1", {{"a", 1}}}, {"1", {{"b", 1}}}}));
  EXPECT_EQ(parse_judgements("query-id\tcorpus-id\tscore\n#1\ta\t1\n", "qrels"), (Judgements{{"#1", {{"a", 1}}}}));
}

TEST(TrecFiles, AByteOrderMarkIsNoPartOfAnId) {
  const std::string mark = "\xEF\xBB\xBF";
  EXPECT_EQ(parse_run(mark + "1 Q0 b 1 1 tag\n", "run"), (Ranking{{"1", {{"b", 1}}}}));
  EXPECT_EQ(parse_judgements(mark + "1 0 a 1\n", "qrels"), (Judgements{{"1", {{"a", 1}}}}));
  EXPECT_EQ(parse_judgements(mark + "query-id\tcorpus-id\tscore\n1\ta\t1\n", "qrels"), (Judgements{{"1", {{"a", 1}}}}));
  // One that is can be written all the same.
  const Ranking marked = {{mark + "1", {{"b", 1}}}};
  EXPECT_EQ(parse_run(format_run(marked, "run"), "run"), marked);
  expect_error(parse_run, mark, "file: is empty");
}

TEST(TrecFiles, SayWhatIsWrong) {
  expect_error(parse_run, "q Q0 d 1 2 t\nq Q0 d 1 2\n", "file:2: \"q Q0 d 1 2\": expected QUERY Q0 DOCUMENT");
  expect_error(parse_run, "q Q0 d 1 high t\n", "file:1");
  expect_error(parse_run, "q Q0 d 1 nan t\n", "the score a number");
  expect_error(parse_run, "q Q0 d 1 2 t\nq Q0 d 2 1 t\n", "document d twice for query q");
  expect_error(parse_run, "\n \r\n", "file: is empty");
  expect_error(parse_run, "q Q0 d 1 2 t\n# no comment\n", "file:2: \"# no comment\": expected QUERY");
  expect_error(parse_judgements, "1 0 a 1\n1 0 a\n", "file:2");
  expect_error(parse_judgements, "1 0 a 0.5\n", "the last a whole number");
  expect_error(parse_judgements, "1 0 a 1\n1 0 a 0\n", "file:2: judges document a twice for query 1");
  expect_error(parse_judgements, "query-id\tcorpus-id\tscore\n", "file: has no judgements");
  expect_error(parse_judgements, "query-id\tcorpus-id\tscore\n1 a 1\n", "with tabs between");
  expect_error(parse_judgements, "1\ta\t1\n", "file:1");  // three columns need their names
}

}  // namespace

}  // namespace palimpsest
