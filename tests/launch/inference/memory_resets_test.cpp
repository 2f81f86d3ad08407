// Evaluation with the memory knocked out or emptied every so many segments: what documents that began there would give.
#include "launch/inference/memory_resets.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>

#include <gtest/gtest.h>

#include "launch/inference/evaluation.h"
#include "layers/training_pass.h"
#include "tests/launch/tiny_model.h"
#include "tests/temporary_directory.h"
#include "tests/thread_ranks.h"

namespace palimpsest {
namespace {

TEST(MemoryResets, NamesAreReadAsTheyAreWritten) {
  for (const std::int64_t segments : {0, 1, 2, 1'000'000'000}) {
    EXPECT_EQ(memory_segments(memory_name(segments)), segments);
  }
  EXPECT_EQ(memory_name(1), "none");
  EXPECT_EQ(memory_segments("reset:1"), 1);
  for (const char* name : {"", "Kept", "reset", "reset:", "reset:0", "reset:-1", "reset:2x", "reset:1000000001",
                           "reset:99999999999999999999"}) {
    EXPECT_EQ(memory_segments(name), std::nullopt) << name;
  }
}

TEST(MemoryResets, PiecesNeverReachTheNextDocument) {
  TokenBatch batch;
  batch.lanes = 2;
  batch.tokens = 5;
  batch.documents = {0, 0, 0, 0, 0, 2, 2, 2, 2, 2};
  reset_memory(batch, std::vector<std::int64_t>{4, 0}, 2, 3);
  EXPECT_EQ(batch.documents, (std::vector<std::int64_t>{2, 2, 2, 2, 2, 6, 6, 7, 7, 8}));
}

class MemoryResetsTest : public testing::TestWithParam<EmptyMemory> {
 protected:
  MemoryResetsTest() {
    ModelConfig config = tiny_config();
    config.attention.empty_memory = GetParam();
    model_ = std::make_unique<LanguageModel>(pool_, config, DataType::float32);
    model_->initialize(7);
    write_token_file(directory_ / "tokens.h5", {61, 8, 1, 100, 17, 16, 33});
    file_ = std::make_unique<TokenFile>(directory_ / "tokens.h5");
  }

  EvaluationResult evaluate(const EvaluationOptions& options, Communicator& communicator) {
    MemoryPool pool;
    return Evaluation(*model_, *file_, communicator, options, pool).run();
  }
  EvaluationResult evaluate(std::int64_t memory_segments) {
    return evaluate({.batch_size = 3, .tokens_at_once = 24, .memory_segments = memory_segments}, *communicator_);
  }

  /// The negative log-likelihood of each document whose pieces are run as documents, one by one and each in one pass.
  std::vector<double> losses_of_pieces(std::int64_t memory_segments) {
    const std::int64_t piece = memory_segments * model_->config().segment_length;
    std::vector<double> sums;
    for (std::int64_t document = 0; document < file_->document_count(); ++document) {
      double& nll = sums.emplace_back(0.0);
      for (std::int64_t begin = 0; begin < text_tokens(*file_, document); begin += piece) {
        const std::int64_t count = std::min(piece, text_tokens(*file_, document) - begin);
        const auto tokens = file_->document_tokens(document, begin, count + 1);
        const auto rows = static_cast<std::size_t>(count);
        const TokenBatch batch{1,
                               count,
                               {tokens.begin(), tokens.end() - 1},
                               {tokens.begin() + 1, tokens.end()},
                               std::vector<std::int64_t>(rows, 0),
                               std::vector<float>(rows, 1.0f)};
        SequenceState state = model_->empty_state(pool_, 1);
        const auto losses = token_losses(*model_, pool_, batch, state);
        nll = std::accumulate(losses.begin(), losses.end(), nll);
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

TEST_P(MemoryResetsTest, GiveTheLossesOfPiecesThatAreDocumentsWhateverTheLanesAndTokensAtOnce) {
  for (const std::int64_t memory_segments : {1, 2}) {
    const std::vector<double> expected = losses_of_pieces(memory_segments);
    for (const auto& [lanes, tokens] : {std::pair{1, 1000}, {3, 24}, {20, 8}}) {
      const EvaluationResult result =
          evaluate({.batch_size = lanes, .tokens_at_once = tokens, .memory_segments = memory_segments}, *communicator_);
      ASSERT_EQ(result.documents.size(), expected.size());
      for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_NEAR(result.documents[i].nll, expected[i], 1e-4 * expected[i])
            << "document " << i << ", " << memory_segments << " segments, " << lanes << " lanes, " << tokens;
      }
    }
  }
}

TEST_P(MemoryResetsTest, AndWhateverTheRanks) {
  for (const int size : {2, 3}) {
    ThreadRanks(size).run([&](Communicator& ranks) {
      for (const std::int64_t memory_segments : {1, 3}) {
        EvaluationOptions options{.batch_size = 2, .tokens_at_once = 40, .memory_segments = memory_segments};
        const double reference = evaluate(options, ranks).total.nll;
        EXPECT_NEAR(reference, evaluate(options, *communicator_).total.nll, 1e-5 * reference);
        options.sequence_ranks = &ranks;
        EXPECT_NEAR(evaluate(options, ranks).total.nll, reference, 1e-5 * reference) << size << " ranks share";
      }
    });
  }
}

TEST_P(MemoryResetsTest, ThatNeverComeChangeNoBit) {
  const EvaluationResult kept = evaluate(0), never = evaluate(1000), none = evaluate(1);
  EXPECT_EQ(kept.total.nll, never.total.nll);
  EXPECT_GT(std::abs(kept.total.nll - none.total.nll), 1e-3 * kept.total.nll);
}

TEST_P(MemoryResetsTest, LeavePositionsAsTheyAre) {
  const EvaluationResult kept = evaluate(0), none = evaluate(1);
  for (const auto scores : {&EvaluationResult::by_position, &EvaluationResult::by_position_in_segment}) {
    ASSERT_EQ((none.*scores).size(), (kept.*scores).size());
    for (std::size_t i = 0; i < (kept.*scores).size(); ++i) {
      EXPECT_EQ((none.*scores)[i].begin, (kept.*scores)[i].begin);
      EXPECT_EQ((none.*scores)[i].tokens, (kept.*scores)[i].tokens);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EmptyMemory, MemoryResetsTest, testing::Values(EmptyMemory::local, EmptyMemory::gated),
                         [](const auto& info) { return info.param == EmptyMemory::local ? "local" : "gated"; });

}  // namespace
}  // namespace palimpsest
