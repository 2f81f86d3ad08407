// Generation: token by token equals one pass over the same tokens; the seed fixes the text; what is put aside goes on
// with the same bits.
#include "launch/inference/generator.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include "core/error.h"
#include "layers/training_pass.h"
#include "tests/launch/tiny_model.h"

namespace palimpsest {
namespace {

class GeneratorTest : public testing::Test {
 protected:
  GeneratorTest() : model_(tiny_model(pool_)) {}

  std::string run(const std::string& prompt, const GenerationOptions& options) {
    Generator generator(*model_, tokenizer_, pool_);
    generator.append(prompt);
    const std::string text = go_on(generator, options);
    return text + generator.flush();
  }
  std::string go_on(Generator& generator, const GenerationOptions& options) {
    std::string text;
    generator.read();
    prompt_tokens_ = generator.tokens();
    result_ = generator.generate(options, [&](std::string_view piece) { text += piece; });
    return text;
  }
  /// So that the text gives the tokens back exactly.
  void keep_to_ascii() {
    Tensor& head = model_->parameters().find("lm_head.weight").master;
    Tensor foreign = head.rows(128, 258);
    fill(foreign, 0.0);
  }
  /// The same in a generator of its own.
  Generator put_aside(const Generator& generator) { return {*model_, tokenizer_, pool_, generator.state()}; }

  MemoryPool pool_;
  std::unique_ptr<LanguageModel> model_;
  ByteTokenizer tokenizer_;
  GenerationResult result_;
  std::int64_t prompt_tokens_ = 0;
};

TEST_F(GeneratorTest, EachTokenIsTheLikeliestOfOnePassOverAllOfThem) {
  keep_to_ascii();
  const std::string prompt = tiny_text(45, 3);
  const std::string text = run(prompt, {.sampling = {.temperature = 0}, .max_tokens = 40});
  ASSERT_EQ(text.size(), 40u);
  EXPECT_EQ(prompt_tokens_, 46);
  EXPECT_EQ(result_.tokens, 40);

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
  if (run("a", {.sampling = {.temperature = 0}, .max_tokens = 5}); result_.finish != Finish::end) {
    fill(end, -1000.0);
    run("a", {.sampling = {.temperature = 0}, .max_tokens = 5});
  }
  EXPECT_EQ(result_.finish, Finish::end);
  EXPECT_EQ(result_.tokens, 0);
}

TEST_F(GeneratorTest, NoRunOfTokensComesTwiceInWhatIsDrawn) {
  keep_to_ascii();
  const std::string prompt = tiny_text(30, 3);
  for (const std::int64_t ngram : {1, 2, 4}) {
    const SamplingOptions greedy{.temperature = 0, .no_repeat_ngram = ngram, .min_tokens = 90};
    const std::string text = run(prompt, {.sampling = greedy, .max_tokens = 90});
    ASSERT_EQ(text.size(), 90u);
    std::set<std::string> runs;
    for (std::size_t at = 0; at + static_cast<std::size_t>(ngram) <= text.size(); ++at) {
      EXPECT_TRUE(runs.insert(text.substr(at, static_cast<std::size_t>(ngram))).second) << ngram << " at " << at;
    }
  }
  // What was read may come again, and does in a text of one letter.
  fill(model_->parameters().find("lm_head.weight").master, 0.0);
  EXPECT_EQ(run(std::string(1, '\0') + "ab", {.sampling = {.temperature = 0, .no_repeat_ngram = 1}, .max_tokens = 1}),
            std::string(1, '\0'));
}

TEST_F(GeneratorTest, TheEndWaitsForTheLeastNumberOfTokens) {
  std::int64_t shortest = 1000;
  for (std::uint64_t seed = 1; seed < 9; ++seed) {
    GenerationOptions options{.sampling = {.temperature = 5, .seed = seed}, .max_tokens = 150};  // all nearly as likely
    run("once", options);
    shortest = std::min(shortest, result_.tokens);
    options.sampling.min_tokens = 150;
    run("once", options);
    EXPECT_EQ(result_.tokens, 150);
  }
  EXPECT_LT(shortest, 150) << "the end would not have come without it";
  // Where nothing else may come, the end does.
  run("once", {.sampling = {.no_repeat_ngram = 1, .min_tokens = 1000}, .max_tokens = 1000});
  EXPECT_EQ(result_.tokens, 257);
  EXPECT_EQ(result_.finish, Finish::end);
}

TEST_F(GeneratorTest, NothingAskedForGivesNothing) {
  EXPECT_EQ(run("prompt", {.sampling = {}, .max_tokens = 0}), "");
  EXPECT_EQ(prompt_tokens_, 7);
}

TEST_F(GeneratorTest, EveryPieceIsValidUtf8) {
  Generator generator(*model_, tokenizer_, pool_);
  generator.append("\xc3");
  generator.generate({.sampling = {.temperature = 3}, .max_tokens = 200},
                     [](std::string_view piece) { EXPECT_FALSE(find_invalid_utf8(piece).has_value()); });
}

TEST_F(GeneratorTest, GoesOnFromAStateAsIfItHadNeverStopped) {
  for (const std::size_t prompt : {0, 3, 7, 50, 300}) {  // segments have 8 tokens, 16 of them are read at once
    const GenerationOptions whole{.sampling = {.temperature = 1.5,
                                               .repetition_penalty = 1.1,
                                               .seed = 5,
                                               .no_repeat_ngram = prompt == 50 ? 1 : 0,
                                               .min_tokens = prompt == 7 ? 50 : 0},
                                  .max_tokens = 60};
    Generator never(*model_, tokenizer_, pool_);
    never.append(tiny_text(prompt, 3));
    const std::string expected = go_on(never, whole);
    for (const std::int64_t first : {0, 1, 13, 30}) {
      GenerationOptions part = whole;
      part.max_tokens = first;
      Generator generator(*model_, tokenizer_, pool_);
      generator.append(tiny_text(prompt, 3));
      const std::string begin = go_on(generator, part);
      Generator other = put_aside(generator);
      part.max_tokens = 60 - first;
      EXPECT_EQ(begin + go_on(other, part), expected) << "prompt of " << prompt << ", " << first << " tokens first";
      EXPECT_EQ(begin + go_on(generator, part), expected);
      EXPECT_EQ(other.state().drawn.pending, never.state().drawn.pending);
    }
  }
}

TEST_F(GeneratorTest, AnInterruptedReadingGoesOn) {
  const GenerationOptions options{.sampling = {.temperature = 0}, .max_tokens = 20};
  const std::string prompt = tiny_text(400, 3), expected = run(prompt, options);
  Generator generator(*model_, tokenizer_, pool_);
  generator.append(prompt);
  EXPECT_FALSE(generator.read([] { return false; }));
  EXPECT_EQ(generator.tokens(), 128);
  EXPECT_EQ(generator.unread(), 401 - 128);
  Generator other = put_aside(generator);
  const std::string text = go_on(other, options);
  EXPECT_EQ(text + other.flush(), expected);
  EXPECT_EQ(generator
                .generate(
                    options, [](std::string_view) {}, [] { return false; })
                .finish,
            Finish::interrupted);
}

TEST_F(GeneratorTest, AStopStringEndsTheTextBeforeIt) {
  keep_to_ascii();
  const GenerationOptions options{.sampling = {.temperature = 0}, .max_tokens = 60};
  const std::string text = run("once upon", options);
  GenerationOptions stopping = options;
  stopping.stop = {"never", text.substr(20, 6)};
  EXPECT_EQ(run("once upon", stopping), text.substr(0, text.find(stopping.stop[1])));
  EXPECT_EQ(result_.finish, Finish::stop);
  // Found as well where a state was taken in its middle: what may begin it is not written before.
  stopping.stop = {text.substr(0, 12)};
  stopping.max_tokens = 5;
  Generator first(*model_, tokenizer_, pool_);
  first.append("once upon");
  EXPECT_EQ(go_on(first, stopping), "");
  Generator second = put_aside(first);
  stopping.max_tokens = 55;
  EXPECT_EQ(go_on(second, stopping), "");
  EXPECT_EQ(result_.finish, Finish::stop);
  Generator third = put_aside(first);
  stopping.stop = {};
  const std::string all = go_on(third, stopping);
  EXPECT_EQ(all + third.flush(), text);
  EXPECT_THROW(run("once", {.sampling = {}, .stop = {""}}), ConfigError);
  EXPECT_THROW(run("once", {.sampling = {}, .stop = {"\xff"}}), ConfigError);
}

TEST_F(GeneratorTest, ACharacterIsNotTornByAState) {
  // Whichever sign the sum of the hidden state has, one of two continuation bytes is by far the likeliest.
  Tensor& head = model_->parameters().find("lm_head.weight").master;
  fill(head, 0.0);
  Tensor positive = head.rows(0xa9, 0xaa), negative = head.rows(0xaa, 0xab);
  fill(positive, 1000.0);
  fill(negative, -1000.0);
  Generator generator(*model_, tokenizer_, pool_);
  generator.append("caf\xc3");  // and the first half of an e with an accent
  generator.read();
  Generator other = put_aside(generator);
  EXPECT_EQ(Generator(other).flush(), "\xef\xbf\xbd");
  const std::string text = go_on(other, {.sampling = {.temperature = 0}, .max_tokens = 1});
  EXPECT_TRUE(text == "\xc3\xa9" || text == "\xc3\xaa") << text;
}

TEST_F(GeneratorTest, AStateThatIsNoneIsRefused) {
  Generator generator(*model_, tokenizer_, pool_);
  generator.append("once upon");
  generator.read();
  const auto refused = [&](const auto& change) {
    GeneratorState state = generator.state();
    change(state);
    EXPECT_THROW(Generator(*model_, tokenizer_, pool_, state), DataError);
  };
  refused([](GeneratorState& state) { state.logits.pop_back(); });
  refused([](GeneratorState& state) { state.unread = {1}; });
  refused([](GeneratorState& state) { state.logits.clear(), state.unread = {258}; });
  refused([](GeneratorState& state) { state.logits.clear(), state.unread = {-1}; });
  refused([](GeneratorState& state) { state.drawn.seen.pop_back(); });
  refused([](GeneratorState& state) { state.drawn.recent = {258}; });
  refused([](GeneratorState& state) { state.decoder.open = {8}; });
  refused([](GeneratorState& state) { state.decoder.finished = {0, 0}, state.decoder.open = {0, 0}; });
}

}  // namespace
}  // namespace palimpsest
