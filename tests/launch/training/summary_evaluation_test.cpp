// Summaries written while training: the same numbers for any number of ranks, those of the summaries that the model
// writes alone, and no change of the model.
#include "launch/training/summary_evaluation.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "launch/inference/generator.h"
#include "launch/inference/summarizer.h"
#include "tests/file_damage.h"
#include "tests/launch/tiny_model.h"
#include "tests/temporary_directory.h"
#include "tests/thread_ranks.h"

namespace palimpsest {
namespace {

class SummaryEvaluationTest : public testing::Test {
 protected:
  SummaryEvaluationTest() : model_(tiny_model(pool_)) {
    // So that texts of this model have words in common with others: only some letters and the space are likely.
    Tensor head = model_->parameters().find("lm_head.weight").master;
    Tensor before = head.rows(0, ' '), between = head.rows(' ' + 1, 'a'), behind = head.rows('d', 258);
    for (Tensor* rows : {&before, &between, &behind}) fill(*rows, 0.0);
    std::string lines;
    for (unsigned i = 0; i < 5; ++i) {
      lines +=
          fmt::format("{{\"document\": \"{}\", \"summary\": \"a b c aa bb cc ab bc\"}}\n", tiny_text(20 + 30 * i, i));
    }
    config_.pairs = directory_ / "pairs.jsonl";
    overwrite_file(config_.pairs, lines);
    config_.max_tokens = 40;
    config_.no_repeat_ngram = 3;
  }

  std::optional<SummaryMeasures> run(Communicator& communicator, const GoesOn& goes_on = {}, bool all_go_on = true) {
    const SummaryEvaluation evaluation(config_, std::make_unique<ByteTokenizer>(), communicator);
    return evaluation.run(*model_, goes_on, [&] { return all_go_on; });
  }

  MemoryPool pool_;
  std::unique_ptr<LanguageModel> model_;
  TemporaryDirectory directory_;
  SummaryEvaluationConfig config_;
};

TEST_F(SummaryEvaluationTest, AreThoseThatTheModelWritesAlone) {
  const std::unique_ptr<Communicator> alone = single_process();
  const SummaryMeasures found = run(*alone).value();
  const PairTemplate pair = RecordFormat().pair;
  const ByteTokenizer tokenizer;
  double sum = 0;
  std::int64_t tokens = 0;
  for (unsigned i = 0; i < 5; ++i) {
    Generator reader(*model_, tokenizer, pool_);
    reader.append(tiny_text(20 + 30 * i, i) + "\n\nSummary:\n");
    std::string text;
    const GenerationOptions options{.sampling = {.temperature = 0, .no_repeat_ngram = 3}, .max_tokens = 40};
    tokens += reader.generate(options, [&](std::string_view piece) { text += piece; }).tokens;
    sum += RougeScorer(false).score("a b c aa bb cc ab bc", text + reader.flush())[0].f1;
  }
  EXPECT_EQ(found.pairs, 5);
  EXPECT_EQ(found.tokens, tokens);
  EXPECT_GT(sum, 0) << "nothing would be compared";
  EXPECT_NEAR(found.means[0].f1, sum / 5, 1e-12);
}

TEST_F(SummaryEvaluationTest, AreTheSameOnAnyNumberOfRanks) {
  const std::unique_ptr<Communicator> alone = single_process();
  const std::vector<double> before = model_->parameters().find("norm.weight").master.to_doubles();
  const SummaryMeasures expected = run(*alone).value();
  EXPECT_EQ(run(*alone)->means, expected.means);
  EXPECT_EQ(model_->parameters().find("norm.weight").master.to_doubles(), before);
  for (const int ranks : {2, 3, 7}) {
    ThreadRanks(ranks).run([&](Communicator& communicator) {
      const SummaryMeasures found = run(communicator).value();
      EXPECT_EQ(found.means, expected.means) << ranks << " ranks";
      EXPECT_EQ(found.tokens, expected.tokens);
      EXPECT_EQ(found.pairs, 5);
    });
  }
  config_.max_pairs = 2;
  EXPECT_EQ(run(*alone)->pairs, 2);
  EXPECT_NE(run(*alone)->means, expected.means);
  config_.max_pairs = 0;
  EXPECT_EQ(run(*alone)->means, expected.means);
}

TEST_F(SummaryEvaluationTest, AreStoppedTogether) {
  ThreadRanks(2).run([&](Communicator& communicator) {
    int asked = 0;
    EXPECT_FALSE(run(
        communicator, [&] { return ++asked < 3 || !communicator.is_root(); }, false));
    EXPECT_LE(asked, communicator.is_root() ? 3 : 100);
  });
}

TEST_F(SummaryEvaluationTest, PairsThatAreNoneAreRefused) {
  const std::unique_ptr<Communicator> alone = single_process();
  overwrite_file(config_.pairs, "\n");
  EXPECT_NE(message_of<DataError>([&] { run(*alone); }).find("has no pair"), std::string::npos);
  overwrite_file(config_.pairs, "{\"document\": \"x\"}\n");
  EXPECT_NE(message_of<DataError>([&] { run(*alone); }).find("line 1: \"summary\" is missing"), std::string::npos);
  config_.pairs = directory_ / "gone.jsonl";
  EXPECT_THROW(run(*alone), FileError);
}

}  // namespace
}  // namespace palimpsest
