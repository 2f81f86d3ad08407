// Passkey retrieval: what counts as found, and that neither batches, ranks nor interruptions change it.
#include "launch/inference/passkey_evaluation.h"

#include <algorithm>

#include <gtest/gtest.h>

#include <omp.h>

#include "core/error.h"
#include "layers/training_pass.h"
#include "tests/launch/tiny_model.h"
#include "tests/thread_ranks.h"

namespace palimpsest {
namespace {

constexpr std::int64_t segment = 64;

class PasskeyEvaluationTest : public testing::Test {
 protected:
  PasskeyEvaluationTest() {
    const std::shared_ptr<const Tokenizer> tokenizer = make_tokenizer("passkey");
    language_ = std::make_shared<const PasskeyLanguage>(tokenizer, PasskeyTask{40, 1, 0}, nullptr);
    ModelConfig config = tiny_config();
    config.vocab_size = tokenizer->vocab_size();
    config.segment_length = segment;
    model_ = std::make_unique<LanguageModel>(pool_, config, DataType::float32);
    model_->initialize(3);
  }

  std::vector<PasskeyCell> cells() const { return {{300, 0, {}}, {300, 1, {}}, {450, 0.5, {}}}; }
  std::vector<PasskeyCell> evaluate(const PasskeyOptions& options, Communicator& communicator) {
    std::vector<PasskeyCell> found = cells();
    MemoryPool pool;
    EXPECT_TRUE(PasskeyEvaluation(*model_, language_, options, communicator, pool).run(found));
    return found;
  }
  PasskeyPrompt prompt(const PasskeyCell& cell, std::int64_t sample) const {
    Draws draws(Random(options_.seed, RandomPurpose::evaluation, static_cast<std::uint64_t>(cell.length),
                       static_cast<std::uint32_t>(sample)));
    return PasskeyPrompt::for_evaluation(language_, cell.length, cell.depth, draws);
  }
  /// How many of a prompt's answer tokens are the likeliest in one pass over [begin, end of the prompt).
  std::int64_t right_in_one_pass(const PasskeyPrompt& prompt, std::int64_t begin) {
    TokenBatch batch;
    batch.lanes = 1;
    batch.tokens = prompt.length() - begin;
    batch.inputs.resize(static_cast<std::size_t>(batch.tokens));
    prompt.read(begin, batch.inputs);
    batch.targets.assign(batch.inputs.size(), 0);
    batch.documents.assign(batch.inputs.size(), 0);
    batch.loss_weights.assign(batch.inputs.size(), 1.0f);
    SequenceState state = model_->empty_state(pool_, 1);
    const Tensor all = logits(*model_, pool_, batch, state);
    const auto width = static_cast<std::size_t>(model_->config().vocab_size);
    std::int64_t right = 0;
    for (std::int64_t t = prompt.answer_begin(); t < prompt.answer_end(); ++t) {
      const auto row = all.values<float>().subspan(static_cast<std::size_t>(t - 1 - begin) * width, width);
      right += std::ranges::max_element(row) - row.begin() == batch.inputs[static_cast<std::size_t>(t - begin)];
    }
    return right;
  }

  MemoryPool pool_;
  std::shared_ptr<const PasskeyLanguage> language_;
  std::unique_ptr<LanguageModel> model_;
  const PasskeyOptions options_{.samples = 5, .batch_size = 2, .seed = 9};
  std::unique_ptr<Communicator> communicator_ = single_process();
};

TEST_F(PasskeyEvaluationTest, CountsTheDigitsThatOnePassHoldsLikeliest) {
  std::int64_t right = 0, other_without = 0;
  for (const PasskeyCell& cell : evaluate(options_, *communicator_)) {
    ASSERT_EQ(cell.samples.size(), 5u);
    for (const PasskeySample& sample : cell.samples) {
      const PasskeyPrompt read = prompt(cell, sample.sample);
      EXPECT_EQ(sample.tokens, 40);
      EXPECT_EQ(sample.right, right_in_one_pass(read, 0)) << cell.length << " " << sample.sample;
      right += sample.right;
      // The answer lies in the last segment or goes over into it.
      const std::int64_t last = (read.length() - 1) / segment * segment;
      if (read.answer_begin() > last) {
        EXPECT_EQ(sample.right_without_memory, right_in_one_pass(read, last));
        other_without += sample.right_without_memory != sample.right;
      }
    }
  }
  EXPECT_GT(right, 0) << "an untrained model is right at times";
  EXPECT_GT(other_without, 0) << "the memory makes a difference";
}

TEST_F(PasskeyEvaluationTest, NeitherBatchesNorRanksChangeWhatIsFound) {
  const std::vector<PasskeyCell> expected = evaluate(options_, *communicator_);
  for (const std::int64_t batch_size : {1, 5}) {
    const auto found = evaluate({5, batch_size, 9}, *communicator_);
    for (std::size_t i = 0; i < found.size(); ++i) EXPECT_TRUE(found[i].samples == expected[i].samples) << batch_size;
  }
  for (const int ranks : {2, 3, 7}) {
    ThreadRanks(ranks).run([&](Communicator& communicator) {
      const auto found = evaluate(options_, communicator);
      for (std::size_t i = 0; i < found.size(); ++i) EXPECT_TRUE(found[i].samples == expected[i].samples) << ranks;
    });
  }
}

TEST_F(PasskeyEvaluationTest, GoesOnWhereItWasStopped) {
  const std::vector<PasskeyCell> expected = evaluate(options_, *communicator_);
  std::vector<PasskeyCell> found = cells();
  MemoryPool pool;
  PasskeyEvaluation evaluation(*model_, language_, options_, *communicator_, pool);
  std::int64_t batches = 0, remaining = 0;
  const auto stop = [&](const EvaluationProgress&) { return batches == 4; };
  EXPECT_FALSE(evaluation.run(found, stop, [&](const auto&) { ++batches; }));
  EXPECT_EQ(found[0].samples.size(), 5u);
  EXPECT_EQ(found[1].samples.size(), 2u);
  EXPECT_TRUE(evaluation.run(found, [&](const EvaluationProgress& progress) {
    remaining = progress.all;
    EXPECT_LE(progress.done, progress.all);
    return false;
  }));
  // Three prompts of the second cell and five of the third, but for what they share, which is read once.
  EXPECT_LT(remaining, 3 * 300 + 5 * 450 - 4 * 64);
  EXPECT_GE(remaining, 3 * 45 + 5 * 200);
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_TRUE(found[i].samples == expected[i].samples) << i;
}

TEST_F(PasskeyEvaluationTest, ReadsWhatPromptsShareOnce) {
  // Keys near the question of long texts: nearly all of a prompt comes before the key.
  std::vector<PasskeyCell> found{{2000, 1, {}}, {1500, 1, {}}, {2000, 0.5, {}}};
  std::int64_t done = 0, all = 0;
  EXPECT_TRUE(PasskeyEvaluation(*model_, language_, options_, *communicator_, pool_)
                  .run(found, [&](const EvaluationProgress& progress) {
                    done = progress.done;
                    all = progress.all;
                    return false;
                  }));
  EXPECT_EQ(done, all);
  EXPECT_LT(all, 2000 + 5 * (400 + 350 + 1200)) << "of 5 x 5500 tokens";
  for (const PasskeyCell& cell : found) {
    for (const PasskeySample& sample : cell.samples) {
      EXPECT_EQ(sample.right, right_in_one_pass(prompt(cell, sample.sample), 0)) << cell.length << " " << cell.depth;
    }
  }
}

TEST_F(PasskeyEvaluationTest, WritesAsManyDigitsAsTheKeyHas) {
  Draws draws(Random(1, RandomPurpose::test));
  const std::string key(40, '7');
  const PasskeyPrompt hidden = PasskeyPrompt::for_evaluation(language_, 500, 0.5, draws, key);
  EXPECT_EQ(hidden.statements().front().digits, key);
  std::int64_t read = 0;
  const std::string answer = write_answer(*model_, *language_, hidden, pool_, [&](const EvaluationProgress& progress) {
    read = progress.done;
    return false;
  });
  EXPECT_EQ(read, hidden.answer_begin());
  const std::vector<std::int32_t> written = language_->tokenizer().encode(answer);
  EXPECT_EQ(written.size(), 40u);
  // The first token is the one that a single pass holds likeliest.
  TokenBatch batch;
  batch.lanes = 1;
  batch.tokens = hidden.answer_begin();
  batch.inputs.resize(static_cast<std::size_t>(batch.tokens));
  hidden.read(0, batch.inputs);
  batch.targets.assign(batch.inputs.size(), 0);
  batch.documents.assign(batch.inputs.size(), 0);
  batch.loss_weights.assign(batch.inputs.size(), 1.0f);
  SequenceState state = model_->empty_state(pool_, 1);
  const Tensor all = logits(*model_, pool_, batch, state);
  const auto last = all.values<float>().last(static_cast<std::size_t>(model_->config().vocab_size));
  EXPECT_EQ(std::ranges::max_element(last) - last.begin(), written.front());
  EXPECT_EQ(write_answer(*model_, *language_, hidden, pool_, [](const auto&) { return true; }), "");
}

TEST_F(PasskeyEvaluationTest, RefusesALengthThatCannotHoldThePrompt) {
  std::vector<PasskeyCell> cells{{300, 0, {}}, {100, 0, {}}};
  bool read = false;
  EXPECT_THROW(PasskeyEvaluation(*model_, language_, options_, *communicator_, pool_)
                   .run(cells, [&](const auto&) { return read = true; }),
               ConfigError);
  EXPECT_FALSE(read) << "before anything is read";
}

}  // namespace
}  // namespace palimpsest
