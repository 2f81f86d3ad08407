// Many prompts at once: each gives what it gives alone, whatever the others are.
#include "launch/inference/batch_generator.h"

#include <cmath>
#include <map>

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/launch/tiny_model.h"

namespace palimpsest {
namespace {

class BatchGeneratorTest : public testing::Test {
 protected:
  BatchGeneratorTest() : model_(tiny_model(pool_)) {
    for (const std::size_t bytes : {9, 0, 200, 1, 33, 5}) {
      prompts_.push_back({.id = prompts_.size(),
                          .text = tiny_text(bytes, 3),
                          .max_tokens = {},
                          .seed = static_cast<std::uint64_t>(bytes)});
    }
    prompts_[2].max_tokens = 7;
    prompts_[5].max_tokens = 0;
  }

  std::map<std::size_t, BatchResult> run(std::int64_t lanes) {
    std::map<std::size_t, BatchResult> results;
    EXPECT_TRUE(generate_batch(
        *model_, tokenizer_, prompts_, options_, lanes,
        [&](std::size_t index, BatchResult result) { EXPECT_TRUE(results.emplace(index, std::move(result)).second); }));
    return results;
  }

  MemoryPool pool_;
  std::unique_ptr<LanguageModel> model_;
  ByteTokenizer tokenizer_;
  std::vector<Prompt> prompts_;
  GenerationOptions options_{.sampling = {.temperature = 0.7, .repetition_penalty = 1.2}, .max_tokens = 40};
};

TEST_F(BatchGeneratorTest, APromptGivesWhatItGivesAlone) {
  for (const std::int64_t lanes : {1, 3, 16}) {
    const auto results = run(lanes);
    ASSERT_EQ(results.size(), prompts_.size());
    for (const auto& [index, result] : results) {
      const Prompt& prompt = prompts_[index];
      GenerationOptions options = options_;
      options.sampling.seed = *prompt.seed;
      options.max_tokens = prompt.max_tokens.value_or(options.max_tokens);
      Generator alone(*model_, tokenizer_, pool_);
      alone.append(prompt.text);
      std::string text;
      const GenerationResult expected = alone.generate(options, [&](std::string_view piece) { text += piece; });
      EXPECT_EQ(result.text, text + alone.flush()) << "prompt " << index << ", " << lanes << " lanes";
      EXPECT_EQ(result.finish, expected.finish);
      EXPECT_EQ(static_cast<std::int64_t>(result.tokens.size()), expected.tokens);
      EXPECT_EQ(result.prompt_tokens, static_cast<std::int64_t>(prompt.text.size()) + 1);
    }
  }
}

TEST_F(BatchGeneratorTest, AStopStringEndsItsOwnPromptAlone) {
  const auto before = run(3);
  const std::string text = before.at(4).text;
  std::size_t cut = 10;
  while (find_invalid_utf8(text.substr(0, cut)) || find_invalid_utf8(text.substr(cut, 12))) ++cut;
  options_.stop = {text.substr(cut, 12)};
  const auto results = run(3);
  EXPECT_EQ(results.at(4).text, text.substr(0, text.find(options_.stop[0])));
  EXPECT_EQ(results.at(4).finish, Finish::stop);
  EXPECT_EQ(results.at(0).text, before.at(0).text);
}

TEST_F(BatchGeneratorTest, LogProbabilitiesAreOfTheTokensDrawn) {
  prompts_.resize(1);
  const BatchResult result = run(1).at(0);
  ASSERT_EQ(result.log_probabilities.size(), result.tokens.size());
  Generator alone(*model_, tokenizer_, pool_);
  alone.append(prompts_[0].text);
  alone.read();
  const std::vector<float> logits = alone.state().logits;  // the tokenizer has as many tokens as the model
  EXPECT_EQ(result.log_probabilities[0], log_probability(logits, result.tokens[0]));
  const std::string line = to_json_line(prompts_[0], result, options_, true);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["token_ids"].size(), result.tokens.size());
  EXPECT_EQ(json["text"], result.text);
  EXPECT_EQ(json["seed"], 9);
  EXPECT_FALSE(nlohmann::json::parse(to_json_line(prompts_[0], result, options_, false)).contains("token_ids"));
}

TEST_F(BatchGeneratorTest, IsStoppedBetweenTokens) {
  int asked = 0, finished = 0;
  EXPECT_FALSE(generate_batch(
      *model_, tokenizer_, prompts_, options_, 2, [&](std::size_t, BatchResult) { ++finished; },
      [&] { return ++asked < 50; }));
  EXPECT_GT(finished, 0);
  EXPECT_LT(finished, 6);
  prompts_.clear();
  EXPECT_TRUE(run(2).empty());
}

}  // namespace
}  // namespace palimpsest
