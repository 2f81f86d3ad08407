// Evaluation in sliding windows: every token once, with the context it is promised, and the losses of the windows
// alone.
#include "launch/inference/sliding_windows.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include <gtest/gtest.h>

#include "core/error.h"
#include "launch/inference/evaluation.h"
#include "layers/training_pass.h"
#include "tests/launch/tiny_model.h"
#include "tests/temporary_directory.h"
#include "tests/thread_ranks.h"

namespace palimpsest {
namespace {

TEST(SlidingWindows, CountEveryTokenOnceWithEnoughBeforeIt) {
  for (const std::int64_t tokens : {0, 1, 7, 8, 9, 20, 61}) {
    for (const std::int64_t window : {1, 5, 8, 100}) {
      for (std::int64_t stride = 1; stride <= window; ++stride) {
        std::int64_t next = 0;
        for (const Stretch& w : sliding_windows(3, tokens, window, stride)) {
          EXPECT_EQ(w.document, 3);
          EXPECT_EQ(w.begin % stride, 0);
          EXPECT_LE(w.tokens(), window);
          EXPECT_EQ(w.counted, next);
          EXPECT_LT(w.counted, w.end);
          EXPECT_GE(w.counted - w.begin, w.begin > 0 ? window - stride : 0);
          next = w.end;
        }
        EXPECT_EQ(next, tokens) << window << " " << stride;
      }
    }
  }
}

TEST(SlidingWindows, AreDealtOutToRanks) {
  const auto all = windows_of_rank({20, 0, 9}, 8, 4, 0, 1);
  EXPECT_EQ(all.size(), 4u + 2u);
  std::size_t count = 0;
  for (int rank = 0; rank < 4; ++rank) count += windows_of_rank({20, 0, 9}, 8, 4, rank, 4).size();
  EXPECT_EQ(count, all.size());
  EXPECT_EQ(windows_of_rank({20, 0, 9}, 8, 4, 1, 4).front().begin, 4);
}

TEST(SlidingWindows, AreRefusedWhereTheyMeanNothing) {
  ModelConfig config = tiny_config();
  EXPECT_THROW(check_windows(config, 8, 4), ConfigError);  // infini
  config.attention.kind = AttentionKind::transformer_xl;
  EXPECT_THROW(check_windows(config.resolved(), 8, 4), ConfigError);
  config.attention.kind = AttentionKind::local;
  EXPECT_NO_THROW(check_windows(config, 8, 4));
  EXPECT_THROW(check_windows(config, 9, 4), ConfigError);
  EXPECT_THROW(check_windows(config, 8, 9), ConfigError);
  EXPECT_THROW(check_windows(config, 8, 0), ConfigError);
  config.attention.kind = AttentionKind::full;
  EXPECT_NO_THROW(check_windows(config, 1000, 1000));
  const std::int64_t most = std::int64_t{1} << 40;
  EXPECT_NO_THROW(check_windows(config, most, most));
  EXPECT_THROW(check_windows(config, most + 1, 1), ConfigError);
  EXPECT_THROW(check_windows(config, std::numeric_limits<std::int64_t>::max(), 1), ConfigError);
}

class WindowedEvaluationTest : public testing::TestWithParam<AttentionKind> {
 protected:
  WindowedEvaluationTest() {
    ModelConfig config = tiny_config();
    config.attention.kind = GetParam();
    model_ = std::make_unique<LanguageModel>(pool_, config, DataType::float32);
    model_->initialize(7);
    write_token_file(directory_ / "tokens.h5", {61, 8, 1, 100, 17, 16, 33});
    file_ = std::make_unique<TokenFile>(directory_ / "tokens.h5");
  }

  EvaluationResult evaluate(const EvaluationOptions& options, Communicator& communicator) {
    MemoryPool pool;
    return Evaluation(*model_, *file_, communicator, options, pool).run();
  }
  EvaluationResult evaluate(const EvaluationOptions& options) { return evaluate(options, *communicator_); }

  /// Each window in a pass of its own.
  std::vector<double> expected(std::int64_t window, std::int64_t stride) {
    std::vector<double> sums;
    for (std::int64_t document = 0; document < file_->document_count(); ++document) {
      double& nll = sums.emplace_back(0.0);
      for (const Stretch& w : sliding_windows(document, text_tokens(*file_, document), window, stride)) {
        const auto tokens = file_->document_tokens(document, w.begin, w.tokens() + 1);
        const auto rows = static_cast<std::size_t>(w.tokens());
        const TokenBatch batch{1,
                               w.tokens(),
                               {tokens.begin(), tokens.end() - 1},
                               {tokens.begin() + 1, tokens.end()},
                               std::vector<std::int64_t>(rows, 0),
                               std::vector<float>(rows, 1.0f)};
        SequenceState state = model_->empty_state(pool_, 1);
        const auto losses = token_losses(*model_, pool_, batch, state);
        nll = std::accumulate(losses.begin() + (w.counted - w.begin), losses.end(), nll);
      }
    }
    return sums;
  }

  TemporaryDirectory directory_;
  MemoryPool pool_;
  std::unique_ptr<LanguageModel> model_;
  std::unique_ptr<TokenFile> file_;
  std::unique_ptr<Communicator> communicator_ = single_process();
};

TEST_P(WindowedEvaluationTest, GivesTheLossesOfTheWindowsWhateverTheLanesAndTokensAtOnce) {
  for (const auto& [window, stride] : {std::pair{8, 3}, {8, 8}, {5, 1}, {40, 11}}) {
    if (GetParam() == AttentionKind::local && window > 8) continue;
    const std::vector<double> nll = expected(window, stride);
    for (const auto& [lanes, tokens] : {std::pair{1, 1000}, {3, 24}, {20, 8}}) {
      const EvaluationResult result =
          evaluate({.batch_size = lanes, .tokens_at_once = tokens, .window = window, .stride = stride});
      ASSERT_EQ(result.documents.size(), nll.size());
      for (std::size_t i = 0; i < nll.size(); ++i) {
        EXPECT_NEAR(result.documents[i].nll, nll[i], 1e-4 * nll[i]) << "document " << i << ", window " << window;
      }
      EXPECT_EQ(result.total.tokens, 236);
      std::int64_t positions = 0;
      for (const PositionScore& score : result.by_position) positions += score.tokens;
      EXPECT_EQ(positions, 236);
      EXPECT_TRUE(result.by_position_in_segment.empty());
      EXPECT_TRUE(result.by_compressions.empty());
    }
  }
}

TEST_P(WindowedEvaluationTest, AndWhateverTheRanks) {
  const EvaluationOptions options{.batch_size = 2, .tokens_at_once = 16, .window = 8, .stride = 3};
  const double reference = evaluate(options).total.nll;
  for (const int size : {2, 5}) {
    ThreadRanks(size).run([&](Communicator& communicator) {
      const EvaluationResult result = evaluate(options, communicator);
      EXPECT_TRUE(result.complete());
      EXPECT_EQ(result.total.tokens, 236);
      EXPECT_NEAR(result.total.nll, reference, 1e-5 * reference) << size << " ranks";
    });
  }
}

TEST_P(WindowedEvaluationTest, OneWindowForAllIsThePlainEvaluation) {
  if (GetParam() == AttentionKind::local) {
    // Windows of a segment, side by side, are its segments.
    EXPECT_NEAR(evaluate({2, 16, 0, 0}).total.nll,
                evaluate({.batch_size = 2, .tokens_at_once = 16, .window = 8, .stride = 8}).total.nll, 1e-2);
    return;
  }
  for (const std::int64_t tokens : {8, 24, 1000}) {
    const double plain = evaluate({.batch_size = 3, .tokens_at_once = tokens}).total.nll;
    EXPECT_NEAR(evaluate({.batch_size = 3, .tokens_at_once = tokens, .window = 100, .stride = 100}).total.nll, plain,
                1e-5 * plain);
  }
}

TEST_P(WindowedEvaluationTest, ReadsManyShortWindowsAtOnce) {
  MemoryPool pool;
  const EvaluationOptions options{.batch_size = 2, .tokens_at_once = 80, .window = 8, .stride = 3};
  EXPECT_EQ(Evaluation(*model_, *file_, *communicator_, options, pool).plan().lanes, 20);
}

TEST_P(WindowedEvaluationTest, GoesWithNeitherResetsNorSharedDocuments) {
  EXPECT_THROW(evaluate({.memory_segments = 1, .window = 8, .stride = 4}), ConfigError);
  EXPECT_THROW(evaluate({.window = 8, .stride = 4, .sequence_ranks = communicator_.get()}), ConfigError);
}

INSTANTIATE_TEST_SUITE_P(Kinds, WindowedEvaluationTest, testing::Values(AttentionKind::local, AttentionKind::full),
                         [](const auto& info) { return info.param == AttentionKind::local ? "local" : "full"; });

}  // namespace
}  // namespace palimpsest
