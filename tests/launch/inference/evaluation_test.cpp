// Evaluation: every token of every document once, whatever the lanes and ranks.
#include "launch/inference/evaluation.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <span>
#include <tuple>
#include <utility>

#include <gtest/gtest.h>

#include <omp.h>

#include "core/error.h"
#include "layers/training_pass.h"
#include "tests/launch/tiny_model.h"
#include "tests/temporary_directory.h"
#include "tests/thread_ranks.h"

namespace palimpsest {
namespace {

void expect_near(const std::vector<PositionScore>& scores, const std::vector<PositionScore>& expected) {
  ASSERT_EQ(scores.size(), expected.size());
  for (std::size_t i = 0; i < scores.size(); ++i) {
    EXPECT_EQ(scores[i].begin, expected[i].begin);
    EXPECT_EQ(scores[i].end, expected[i].end);
    EXPECT_EQ(scores[i].tokens, expected[i].tokens);
    EXPECT_NEAR(scores[i].nll, expected[i].nll, 1e-4 * expected[i].nll);
  }
}

class EvaluationTest : public testing::Test {
 protected:
  EvaluationTest() : model_(tiny_model(pool_)) {
    write_token_file(directory_ / "tokens.h5", lengths_);
    file_ = std::make_unique<TokenFile>(directory_ / "tokens.h5");
  }

  EvaluationResult run(std::int64_t batch_size, std::int64_t tokens_at_once, std::int64_t max_documents = 0) {
    MemoryPool pool;
    return evaluate({batch_size, tokens_at_once, max_documents}, *communicator_, pool);
  }
  EvaluationResult evaluate(const EvaluationOptions& options, Communicator& communicator, MemoryPool& pool,
                            const Evaluation::BetweenBatches& between = {}) {
    return Evaluation(*model_, *file_, communicator, options, pool).run(between);
  }

  /// The documents alone, in one pass each.
  std::vector<double> expected() {
    std::vector<double> sums;
    for (std::int64_t i = 0; i < file_->document_count(); ++i) {
      const auto tokens = file_->document_tokens(i, 0, 1 << 20);
      const std::size_t count = tokens.size() - 2;
      TokenBatch batch{1,
                       static_cast<std::int64_t>(count),
                       {tokens.begin(), tokens.end() - 2},
                       {tokens.begin() + 1, tokens.end() - 1},
                       std::vector<std::int64_t>(count, 0),
                       std::vector<float>(count, 1.0f)};
      SequenceState state = model_->empty_state(pool_, 1);
      const auto losses = token_losses(*model_, pool_, batch, state);
      sums.push_back(std::accumulate(losses.begin(), losses.end(), 0.0));
    }
    return sums;
  }

  const std::vector<std::size_t> lengths_ = {61, 8, 1, 100, 17, 16, 33};
  TemporaryDirectory directory_;
  MemoryPool pool_;
  std::unique_ptr<LanguageModel> model_;
  std::unique_ptr<TokenFile> file_;
  std::unique_ptr<Communicator> communicator_ = single_process();
};

TEST_F(EvaluationTest, CountsEveryTokenOfTheTextOnce) {
  const EvaluationResult result = run(3, 16);
  ASSERT_EQ(result.documents.size(), lengths_.size());
  const std::vector<double> nll = expected();
  double total = 0;
  for (std::size_t i = 0; i < lengths_.size(); ++i) {
    EXPECT_EQ(result.documents[i].tokens, static_cast<std::int64_t>(lengths_[i]));
    EXPECT_EQ(result.documents[i].name, "document-" + std::to_string(i));
    EXPECT_NEAR(result.documents[i].nll, nll[i], 1e-4 * nll[i]) << "document " << i;
    total += nll[i];
  }
  EXPECT_EQ(result.total.tokens, 61 + 8 + 1 + 100 + 17 + 16 + 33);
  EXPECT_EQ(result.total.bytes, result.total.tokens);
  EXPECT_NEAR(result.total.nll, total, 1e-4 * total);
}

TEST_F(EvaluationTest, CountsWhatIsNotMaskedAlone) {
  const std::size_t bytes = 61, second = 20;
  const std::vector<TokenSpan> spans = {{0, 19}, {30, 33}, {55, 61}};
  {
    TokenFileWriter writer(directory_ / "masked.h5", ByteTokenizer());
    writer.add_document("masked", ByteTokenizer().encode(tiny_text(bytes, 0)), 12, 61, {}, {spans, 7, 33});
    writer.add_document("plain", ByteTokenizer().encode(tiny_text(second, 1)), 5, 20);
    writer.finish();
  }
  file_ = std::make_unique<TokenFile>(directory_ / "masked.h5");
  SequenceState state = model_->empty_state(pool_, 1);
  const auto tokens = file_->document_tokens(0, 0, 1 << 20);
  const std::vector<double> losses = token_losses(*model_, pool_,
                                                  {1,
                                                   61,
                                                   {tokens.begin(), tokens.end() - 2},
                                                   {tokens.begin() + 1, tokens.end() - 1},
                                                   std::vector<std::int64_t>(bytes, 0),
                                                   std::vector<float>(bytes, 1.0f)},
                                                  state);
  double nll = 0;
  for (std::int64_t i = 0; i < 61; ++i) {
    const bool masked = std::ranges::any_of(spans, [&](TokenSpan span) { return span.begin <= i && i < span.end; });
    nll += masked ? 0.0 : losses[static_cast<std::size_t>(i)];
  }
  for (const std::int64_t at_once : {8, 16, 1000}) {
    const EvaluationResult result = run(2, at_once);
    ASSERT_EQ(result.documents.size(), 2u);
    EXPECT_EQ(result.documents[0].tokens, 33);
    EXPECT_EQ(result.documents[0].words, 7);
    EXPECT_EQ(result.documents[0].bytes, 33);
    EXPECT_NEAR(result.documents[0].nll, nll, 1e-4 * nll);
    EXPECT_EQ(result.documents[1].tokens, 20);
    std::int64_t by_position = 0;
    for (const PositionScore& score : result.by_position_in_segment) by_position += score.tokens;
    EXPECT_EQ(by_position, 53);
  }
}

TEST_F(EvaluationTest, LanesAndChunksDoNotMatter) {
  const double reference = run(1, 1).total.nll;
  for (const std::int64_t lanes : {1, 2, 4, 7, 20}) {
    for (const std::int64_t tokens : {8, 24, 1000}) {
      EXPECT_NEAR(run(lanes, tokens).total.nll, reference, 1e-5 * reference) << lanes << " lanes, " << tokens;
    }
  }
}

TEST_F(EvaluationTest, RanksDoNotMatter) {
  const EvaluationResult reference = run(2, 16);
  for (const int size : {2, 3, 9}) {
    ThreadRanks(size).run([&](Communicator& communicator) {
      MemoryPool pool;
      const EvaluationResult result = evaluate({2, 16, 0}, communicator, pool);
      EXPECT_TRUE(result.complete());
      EXPECT_EQ(result.total.tokens, reference.total.tokens);
      EXPECT_NEAR(result.total.nll, reference.total.nll, 1e-5 * reference.total.nll) << size << " ranks";
      expect_near(result.by_position_in_segment, reference.by_position_in_segment);
    });
  }
}

TEST_F(EvaluationTest, RanksThatShareEachDocumentDoNotMatter) {
  const EvaluationResult expected = run(2, 16);
  for (const int size : {2, 3, 8}) {
    for (const std::int64_t lanes : {1, 3}) {
      ThreadRanks ranks(size);
      ranks.run([&](Communicator& together) {
        MemoryPool pool;
        const EvaluationResult shared =
            evaluate({.batch_size = lanes, .tokens_at_once = 40, .sequence_ranks = &together}, together, pool);
        ASSERT_EQ(shared.documents.size(), expected.documents.size());
        for (std::size_t i = 0; i < lengths_.size(); ++i) {
          EXPECT_NEAR(shared.documents[i].nll, expected.documents[i].nll, 1e-4 * expected.documents[i].nll);
        }
        EXPECT_EQ(shared.total.tokens, expected.total.tokens);
        expect_near(shared.by_position_in_segment, expected.by_position_in_segment);
        EXPECT_NEAR(shared.total.nll, expected.total.nll, 1e-5 * expected.total.nll) << size << " ranks";
      });
    }
  }
}

TEST_F(EvaluationTest, FirstDocumentsOnly) {
  const EvaluationResult result = run(2, 16, 2);
  EXPECT_EQ(result.documents.size(), 2u);
  EXPECT_EQ(result.total.tokens, 69);
}

TEST_F(EvaluationTest, ReportsProgressToTheEnd) {
  MemoryPool pool;
  std::int64_t last = -1, of = 0;
  evaluate({2, 16, 0}, *communicator_, pool, [&](const EvaluationProgress& progress) {
    EXPECT_GT(progress.done, last);
    last = progress.done, of = progress.all;
    return false;
  });
  EXPECT_EQ(last, 236);
  EXPECT_EQ(of, 236);
}

TEST_F(EvaluationTest, StopsBetweenTwoBatchesWithTheDocumentsThatAreComplete) {
  const EvaluationResult whole = run(2, 16);
  ThreadRanks(3).run([&](Communicator& communicator) {
    MemoryPool pool;
    int batches = -1;
    const EvaluationResult result = evaluate({2, 16, 0}, communicator, pool, [&](const EvaluationProgress&) {
      // One rank's wish; of the longest document, 48 of 100 tokens have been read by then.
      std::int64_t stop = ++batches == 3 && communicator.rank() == 1 ? 1 : 0;
      communicator.all_reduce_max(std::span(&stop, 1));
      return stop != 0;
    });
    EXPECT_EQ(batches, 3);
    EXPECT_FALSE(result.complete());
    EXPECT_EQ(result.documents.size() + static_cast<std::size_t>(result.unfinished), lengths_.size());
    ASSERT_FALSE(result.documents.empty());
    Score total;
    for (const Score& document : result.documents) {
      const auto same = std::ranges::find(whole.documents, document.name, &Score::name);
      ASSERT_NE(same, whole.documents.end());
      EXPECT_NE(document.tokens, 100);
      EXPECT_NEAR(document.nll, same->nll, 1e-4 * same->nll) << document.name;
      total.add(document);
    }
    EXPECT_EQ(result.total.tokens, total.tokens);
    EXPECT_EQ(result.total.nll, total.nll);
  });
}

TEST_F(EvaluationTest, AccumulatorsSeeEveryTokenOnceWithItsPositions) {
  class Seen final : public EvaluationAccumulator {
   public:
    void add(const EvaluatedRun& run) override {
      for (std::int64_t i = 0; i < run.tokens(); ++i) {
        EXPECT_EQ(run.position_in_segment(i), (run.position + i) % 8);
        ++times_[{run.document, run.position + i}];
      }
      sum_ = std::accumulate(run.losses.begin(), run.losses.end(), sum_);
    }
    std::span<double> sums() override { return std::span(&sum_, 1); }

    std::map<std::pair<std::int64_t, std::int64_t>, int> times_;
    double sum_ = 0;
  } seen;
  MemoryPool pool;
  Evaluation evaluation(*model_, *file_, *communicator_, {3, 16, 0}, pool);
  evaluation.add(seen);
  const EvaluationResult result = evaluation.run();
  std::map<std::pair<std::int64_t, std::int64_t>, int> once;
  for (std::size_t document = 0; document < lengths_.size(); ++document) {
    for (std::size_t i = 0; i < lengths_[document]; ++i) {
      once[{static_cast<std::int64_t>(document), static_cast<std::int64_t>(i)}] = 1;
    }
  }
  EXPECT_EQ(seen.times_, once);
  EXPECT_NEAR(seen.sum_, result.total.nll, 1e-9 * result.total.nll);
}

TEST_F(EvaluationTest, PositionsAddUpToTheWhole) {
  const EvaluationResult result = run(3, 16);
  for (const auto& scores : {result.by_position, result.by_position_in_segment, result.by_compressions}) {
    double nll = 0;
    std::int64_t tokens = 0;
    for (const PositionScore& score : scores) nll += score.nll, tokens += score.tokens;
    EXPECT_EQ(tokens, result.total.tokens);
    EXPECT_NEAR(nll, result.total.nll, 1e-9 * nll);
  }
}

/// Of several segments a lane, large enough that the threads' scratch memory does not matter.
TEST(Evaluation, APassStaysWithinItsBudget) {
  const TemporaryDirectory directory;
  write_token_file(directory / "tokens.h5", {900, 1000, 1000, 1000, 400});
  const TokenFile file(directory / "tokens.h5");
  MemoryPool parameters;
  ModelConfig config = tiny_config();
  config.hidden_size = 128;
  config.ffn_size = 512;
  config.segment_length = 64;
  config.initializer_range = 0.1;
  LanguageModel model(parameters, config, DataType::float32);
  model.initialize(7);
  const std::unique_ptr<Communicator> communicator = single_process();
  const std::int64_t whole = forward_bytes(model.config(), 4, 1024, 0, DataType::float32);
  const std::int64_t a_segment = forward_bytes(model.config(), 4, 64, 0, DataType::float32);
  std::vector<std::int64_t> tokens, peaks;
  std::vector<double> nll;
  for (const std::int64_t budget : {whole, (whole + a_segment) / 2, a_segment}) {
    MemoryPool pool;
    Evaluation evaluation(model, file, *communicator,
                          {.batch_size = 4, .tokens_at_once = 1024, .memory_budget = budget}, pool);
    EXPECT_EQ(evaluation.plan().lanes, 4);
    tokens.push_back(evaluation.plan().tokens);
    nll.push_back(evaluation.run().total.nll);
    const double peak = static_cast<double>(pool.statistics().peak_bytes_in_use);
    EXPECT_LE(peak, static_cast<double>(budget) + 0.3e6 * omp_get_max_threads()) << budget;
    EXPECT_EQ(pool.statistics().bytes_in_use, pool.statistics().scratch_bytes);  // which stays with the pool
  }
  EXPECT_EQ(tokens[0], 1024);
  EXPECT_GE(tokens[1], 448);
  EXPECT_LE(tokens[1], 576);
  EXPECT_EQ(tokens[2], 64);
  EXPECT_NEAR(nll[1], nll[0], 1e-5 * nll[0]);
  EXPECT_NEAR(nll[2], nll[0], 1e-5 * nll[0]);
}

TEST_F(EvaluationTest, RanksThatShareDocumentsKeepToTheSmallestBudget) {
  const double reference = run(2, 16).total.nll;
  ThreadRanks(2).run([&](Communicator& together) {
    MemoryPool pool;
    const std::int64_t budget = together.rank() == 1 ? 1 : std::int64_t{1} << 30;
    Evaluation evaluation(
        *model_, *file_, together,
        {.batch_size = 2, .tokens_at_once = 1000, .memory_budget = budget, .sequence_ranks = &together}, pool);
    EXPECT_EQ(evaluation.plan().lanes, 1);
    EXPECT_EQ(evaluation.plan().tokens, 8);
    EXPECT_NEAR(evaluation.run().total.nll, reference, 1e-5 * reference);
  });
}

TEST_F(EvaluationTest, NamesTheDocumentWhoseLossIsNotFinite) {
  fill(model_->parameters().find("norm.weight").master, std::nan(""));
  try {
    run(1, 16);
    FAIL() << "expected an error";
  } catch (const NumericalError& error) {
    EXPECT_NE(std::string(error.what()).find("document-3"), std::string::npos) << error.what();
  }
}

TEST(PositionLosses, DoublesItsBuckets) {
  using Range = std::tuple<std::int64_t, std::int64_t, std::int64_t, double>;
  const auto ranges = [](const PositionLosses& losses) {
    std::vector<Range> found;
    for (const PositionScore& s : losses.scores()) found.emplace_back(s.begin, s.end, s.tokens, s.nll);
    return found;
  };
  std::vector<double> losses(23);
  std::iota(losses.begin(), losses.end(), 0.0);
  PositionLosses by_document(PositionLosses::Position::in_document, 4, 23);
  by_document.add({0, 0, 8, 0, losses});
  EXPECT_EQ(ranges(by_document),
            (std::vector<Range>{{0, 4, 4, 6.0}, {4, 8, 4, 22.0}, {8, 16, 8, 92.0}, {16, 23, 7, 133.0}}));
  PositionLosses by_segment(PositionLosses::Position::in_segment, 2, 8);
  by_segment.add({0, 16, 8, 0, std::span(losses).first(3)});       // positions 0, 1, 2
  by_segment.add({0, 23, 8, 0, std::span(losses).subspan(3, 2)});  // 7 and 0
  EXPECT_EQ(ranges(by_segment), (std::vector<Range>{{0, 2, 3, 5.0}, {2, 4, 1, 2.0}, {4, 8, 1, 3.0}}));
}

TEST(PositionLosses, EndsWhereTheLongestDocumentDoes) {
  constexpr std::int64_t million = 1 << 20;
  PositionLosses losses(PositionLosses::Position::in_document, 512, million + 1);
  const std::vector<double> two = {1.0, 2.0};
  losses.add({0, 511, 8, 0, two});
  losses.add({0, million - 1, 8, 0, two});
  std::vector<std::pair<std::int64_t, std::int64_t>> ranges;
  for (const PositionScore& score : losses.scores()) ranges.emplace_back(score.begin, score.end);
  EXPECT_EQ(ranges, (std::vector<std::pair<std::int64_t, std::int64_t>>{
                        {0, 512}, {512, 1024}, {million / 2, million}, {million, million + 1}}));
}

TEST(PositionLosses, CountsCompressionsFromTheLastReset) {
  const std::vector<double> losses(40, 1.0);  // five segments of eight tokens
  const auto tokens = [&](std::int64_t memory_segments) {
    PositionLosses by_compressions(PositionLosses::Position::in_compressions, 1, 5);
    by_compressions.add({0, 0, 8, memory_segments, losses});
    std::map<std::int64_t, std::int64_t> found;
    for (const PositionScore& score : by_compressions.scores()) found[score.begin] = score.tokens;
    return found;
  };
  using Tokens = std::map<std::int64_t, std::int64_t>;
  EXPECT_EQ(tokens(0), (Tokens{{0, 8}, {1, 8}, {2, 16}, {4, 8}}));
  EXPECT_EQ(tokens(1), (Tokens{{0, 40}}));
  EXPECT_EQ(tokens(2), (Tokens{{0, 24}, {1, 16}}));
  EXPECT_EQ(tokens(3), (Tokens{{0, 16}, {1, 16}, {2, 8}}));
}

TEST_F(EvaluationTest, CompressionsAreTheSegmentsBeforeTheTokens) {
  MemoryPool pool;
  const auto ends = [&](std::int64_t memory_segments) {
    const EvaluationResult result =
        evaluate({.batch_size = 2, .tokens_at_once = 16, .memory_segments = memory_segments}, *communicator_, pool);
    std::map<std::int64_t, std::pair<std::int64_t, std::int64_t>> found;  // by begin: end and tokens
    for (const PositionScore& score : result.by_compressions) found[score.begin] = {score.end, score.tokens};
    return found;
  };
  using Ends = std::map<std::int64_t, std::pair<std::int64_t, std::int64_t>>;
  // Of 61, 8, 1, 100, 17, 16 and 33 tokens, the first eight tokens of each have none behind them.
  EXPECT_EQ(ends(0), (Ends{{0, {1, 49}}, {1, {2, 40}}, {2, {4, 49}}, {4, {8, 62}}, {8, {13, 36}}}));
  EXPECT_EQ(ends(1), (Ends{{0, {1, 236}}}));
}

TEST(ShareDocuments, BalancesTokensAndLeavesNoneOut) {
  const auto shares = share_documents({5, 0, 9, 4, 4, 1}, 2);
  EXPECT_EQ(shares[0], (std::vector<std::int64_t>{2, 4}));
  EXPECT_EQ(shares[1], (std::vector<std::int64_t>{0, 3, 5}));
}

}  // namespace
}  // namespace palimpsest
