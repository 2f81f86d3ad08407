// Generation: token by token equals one pass over the same tokens; the seed fixes the text.
#include "launch/inference/generator.h"
#include "layers/training_pass.h"

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/launch/tiny_model.h"

namespace palimpsest {
namespace {

class GeneratorTest : public testing::Test {
 protected:
  GeneratorTest() : model_(tiny_model(pool_)) {}

  std::string run(const std::string& prompt, const GenerationOptions& options) {
    std::string text;
    result_ = generate(*model_, tokenizer_, prompt, options, [&](std::string_view piece) { text += piece; });
    return text;
  }

  MemoryPool pool_;
  std::unique_ptr<LanguageModel> model_;
  ByteTokenizer tokenizer_;
  GenerationResult result_;
};

TEST_F(GeneratorTest, EachTokenIsTheLikeliestOfOnePassOverAllOfThem) {
  // Keep to ASCII, so that the text gives the tokens back exactly.
  for (const char* name : {"lm_head.weight"}) {
    Tensor& head = model_->parameters().find(name).master;
    Tensor foreign = head.rows(128, 258);
    fill(foreign, 0.0);
  }
  const std::string prompt = tiny_text(45, 3);
  const std::string text = run(prompt, {.sampling = {.temperature = 0}, .max_tokens = 40});
  ASSERT_EQ(text.size(), 40u);
  EXPECT_EQ(result_.prompt_tokens, 46);
  EXPECT_EQ(result_.generated_tokens, 40);

  std::vector<std::int32_t> tokens = {256};
  for (const char c : prompt + text) tokens.push_back(static_cast<unsigned char>(c));
  const std::size_t count = tokens.size();
  const TokenBatch batch{1,
                         static_cast<std::int64_t>(count),
                         tokens,
                         std::vector<std::int32_t>(count, 0),
                         std::vector<std::int64_t>(count, 0),
                         std::vector<float>(count, 1.0f)};
  SequenceState memory = model_->empty_state(pool_, 1);
  const Tensor logits = palimpsest::logits(*model_, pool_, batch, memory);
  for (std::size_t i = 46; i < count; ++i) {
    const auto row = logits.values<float>().subspan((i - 1) * 258, 258);
    EXPECT_NEAR(row[static_cast<std::size_t>(tokens[i])], *std::ranges::max_element(row), 1e-3) << "token " << i;
  }
}

TEST_F(GeneratorTest, SeedFixesTheText) {
  const GenerationOptions options{.sampling = {.temperature = 1.5, .seed = 5}, .max_tokens = 60};
  GenerationOptions other = options;
  other.sampling.seed = 6;
  EXPECT_EQ(run("once", options), run("once", options));
  EXPECT_NE(run("once", options), run("once", other));
}

TEST_F(GeneratorTest, StopsAtTheEndToken) {
  // Only the end token has a positive logit wherever the hidden state has a positive sum; make it certain.
  Tensor& head = model_->parameters().find("lm_head.weight").master;
  fill(head, 0.0);
  Tensor end = head.rows(257, 258);
  Tensor& norm = model_->parameters().find("norm.weight").master;
  fill(norm, 1.0);
  // Either sign of the sum: the end token beats all or loses to all; take the one that wins.
  fill(end, 1000.0);
  if (run("a", {.sampling = {.temperature = 0}, .max_tokens = 5}); !result_.ended) {
    fill(end, -1000.0);
    run("a", {.sampling = {.temperature = 0}, .max_tokens = 5});
  }
  EXPECT_TRUE(result_.ended);
  EXPECT_EQ(result_.generated_tokens, 0);
}

TEST_F(GeneratorTest, NothingAskedForGivesNothing) {
  EXPECT_EQ(run("prompt", {.sampling = {}, .max_tokens = 0}), "");
  EXPECT_EQ(result_.prompt_tokens, 7);
}

TEST_F(GeneratorTest, EveryPieceIsValidUtf8) {
  generate(*model_, tokenizer_, "\xc3", {.sampling = {.temperature = 3}, .max_tokens = 200},
           [](std::string_view piece) { EXPECT_FALSE(find_invalid_utf8(piece).has_value()); });
}

}  // namespace
}  // namespace palimpsest
