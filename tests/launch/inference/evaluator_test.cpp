// Evaluation: every token of every document once, whatever the lanes and ranks.
#include "launch/inference/evaluator.h"
#include "layers/training_pass.h"

#include <cmath>
#include <cstring>
#include <numeric>

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/fake_communicator.h"
#include "tests/launch/tiny_model.h"
#include "tests/temporary_directory.h"
#include "tests/thread_ranks.h"

namespace palimpsest {
namespace {

/// What rank `rank` of several would hear from ranks that have their results already.
class RecordedRanks final : public FakeCommunicator {
 public:
  RecordedRanks(int rank, std::vector<std::vector<std::byte>>& messages) : rank_(rank), messages_(messages) {}
  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(messages_.size()); }
  std::vector<std::vector<std::byte>> do_all_gather(std::span<const std::byte> bytes) override {
    messages_[static_cast<std::size_t>(rank_)].assign(bytes.begin(), bytes.end());
    return messages_;
  }

 private:
  int rank_;
  std::vector<std::vector<std::byte>>& messages_;
};

class EvaluatorTest : public testing::Test {
 protected:
  EvaluatorTest() : model_(tiny_model(pool_)) {
    write_token_file(directory_ / "tokens.h5", lengths_);
    file_ = std::make_unique<TokenFile>(directory_ / "tokens.h5");
  }

  EvaluationResult run(std::int64_t batch_size, std::int64_t tokens_at_once, std::int64_t max_documents = 0) {
    return evaluate(*model_, *file_, *communicator_, {batch_size, tokens_at_once, max_documents});
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
      SequenceState memory = model_->empty_state(pool_, 1);
      const auto losses = token_losses(*model_, pool_, batch, memory);
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

TEST_F(EvaluatorTest, CountsEveryTokenOfTheTextOnce) {
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

TEST_F(EvaluatorTest, LanesAndChunksDoNotMatter) {
  const double reference = run(1, 1).total.nll;
  for (const std::int64_t lanes : {1, 2, 4, 7, 20}) {
    for (const std::int64_t tokens : {8, 24, 1000}) {
      EXPECT_NEAR(run(lanes, tokens).total.nll, reference, 1e-5 * reference) << lanes << " lanes, " << tokens;
    }
  }
}

TEST_F(EvaluatorTest, RanksDoNotMatter) {
  const double reference = run(2, 16).total.nll;
  for (const std::size_t ranks : {2u, 3u, 9u}) {
    std::vector<std::vector<std::byte>> messages(ranks);
    EvaluationResult result;
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      RecordedRanks communicator(static_cast<int>(rank), messages);
      result = evaluate(*model_, *file_, communicator, {2, 16, 0});
    }
    EXPECT_NEAR(result.total.nll, reference, 1e-5 * reference) << ranks << " ranks";
  }
}

TEST_F(EvaluatorTest, RanksThatShareEachDocumentDoNotMatter) {
  const EvaluationResult expected = run(2, 16);
  for (const int size : {2, 3, 8}) {
    for (const std::int64_t lanes : {1, 3}) {
      ThreadRanks ranks(size);
      ranks.run([&](Communicator& together) {
        const EvaluationResult shared = evaluate(
            *model_, *file_, together, {.batch_size = lanes, .tokens_at_once = 40, .sequence_ranks = &together});
        ASSERT_EQ(shared.documents.size(), expected.documents.size());
        for (std::size_t i = 0; i < lengths_.size(); ++i) {
          EXPECT_NEAR(shared.documents[i].nll, expected.documents[i].nll, 1e-4 * expected.documents[i].nll);
        }
        EXPECT_EQ(shared.total.tokens, expected.total.tokens);
        EXPECT_NEAR(shared.total.nll, expected.total.nll, 1e-5 * expected.total.nll) << size << " ranks";
      });
    }
  }
}

TEST_F(EvaluatorTest, FirstDocumentsOnly) {
  const EvaluationResult result = run(2, 16, 2);
  EXPECT_EQ(result.documents.size(), 2u);
  EXPECT_EQ(result.total.tokens, 69);
}

TEST_F(EvaluatorTest, ReportsProgressToTheEnd) {
  std::int64_t last = 0, of = 0;
  evaluate(*model_, *file_, *communicator_, {2, 16, 0}, [&](std::int64_t done, std::int64_t all) {
    EXPECT_GT(done, last);
    last = done, of = all;
  });
  EXPECT_EQ(last, 236);
  EXPECT_EQ(of, 236);
}

TEST_F(EvaluatorTest, NamesTheDocumentWhoseLossIsNotFinite) {
  fill(model_->parameters().find("norm.weight").master, std::nan(""));
  try {
    run(1, 16);
    FAIL() << "expected an error";
  } catch (const NumericalError& error) {
    EXPECT_NE(std::string(error.what()).find("document-3"), std::string::npos) << error.what();
  }
}

TEST(ShareDocuments, BalancesTokensAndLeavesNoneOut) {
  const auto shares = share_documents({5, 0, 9, 4, 4, 1}, 2);
  EXPECT_EQ(shares[0], (std::vector<std::int64_t>{2, 4}));
  EXPECT_EQ(shares[1], (std::vector<std::int64_t>{0, 3, 5}));
}

}  // namespace
}  // namespace palimpsest
