#include "data/stream/passkey_source.h"

#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/file_damage.h"

namespace palimpsest {
namespace {

constexpr std::int64_t segment = 64;
constexpr SourceShape shape = {.seed = 3, .batch_size = 6, .sequence_length = 16 * segment, .segment_length = segment};

PasskeyConfig config() {
  PasskeyConfig config;
  config.stages = {{2, 1, 0}, {4, 10, 0}, {16, 1000, 0}};
  return config;
}

/// Moves a source on until it has reached a stage.
void reach(PasskeySource& source, std::int64_t stage) {
  for (int i = 0; i < 1000 && source.stage() < stage; ++i) {
    source.next({0, 1});
    source.observe({99, 100});
  }
  ASSERT_EQ(source.stage(), stage);
}

TEST(PasskeySource, LanesDoNotDependOnHowTheyAreShared) {
  PasskeySource whole(config(), shape), a(config(), shape), b(config(), shape);
  for (int step = 0; step < 5; ++step) {
    const TokenBatch all = whole.next({0, 6}), first = a.next({0, 2}), rest = b.next({2, 4});
    const auto joined = [](auto left, const auto& right) {
      left.insert(left.end(), right.begin(), right.end());
      return left;
    };
    EXPECT_EQ(joined(first.inputs, rest.inputs), all.inputs);
    EXPECT_EQ(joined(first.targets, rest.targets), all.targets);
    EXPECT_EQ(joined(first.documents, rest.documents), all.documents);
    EXPECT_EQ(joined(first.loss_weights, rest.loss_weights), all.loss_weights);
    EXPECT_EQ(joined(first.answers, rest.answers), all.answers);
    EXPECT_EQ(joined(first.write_weights, rest.write_weights), all.write_weights);
  }
  EXPECT_THROW(whole.next({4, 3}), ConfigError);
  SourceShape other = shape;
  other.seed = 4;
  EXPECT_NE(PasskeySource(config(), other).next({0, 1}).inputs, PasskeySource(config(), shape).next({0, 1}).inputs);
}

TEST(PasskeySource, ALaneHoldsSeveralShortPrompts) {
  PasskeySource source(config(), shape);
  const std::vector<PasskeyPrompt> prompts = source.prompts(0);
  ASSERT_EQ(prompts.size(), 8u);
  const TokenBatch batch = source.next({0, 1});
  for (std::int64_t i = 0; i < 8; ++i) {
    const auto at = static_cast<std::size_t>(i * 2 * segment);
    EXPECT_EQ(batch.inputs[at], 1) << "a begin token";
    EXPECT_EQ(batch.documents[at], i);
    EXPECT_EQ(batch.documents[at + 2 * segment - 1], i);
  }
  EXPECT_GT(source.next({0, 1}).documents.front(), batch.documents.back());
  PasskeyConfig odd = config();
  odd.stages = {{3, 1, 0}};
  const std::vector<PasskeyPrompt> uneven = PasskeySource(odd, shape).prompts(0);
  ASSERT_EQ(uneven.size(), 5u);
  EXPECT_EQ(uneven.back().length(), 4 * segment) << "the last one takes what is left";
}

TEST(PasskeySource, LossIsTheAnswersPlusAShareOfAllTokens) {
  PasskeySource source(config(), shape);
  const std::vector<PasskeyPrompt> prompts = source.prompts(0);
  const TokenBatch batch = source.next({0, 1});
  std::size_t row = 0;
  for (const PasskeyPrompt& prompt : prompts) {
    double all = 0, answers = 0;
    std::int64_t answer_tokens = 0;
    float text = 0;
    for (std::int64_t t = 0; t < prompt.length(); ++t, ++row) {
      all += batch.loss_weights[row];
      if (batch.answers[row] != 0) {
        answers += batch.loss_weights[row];
        ++answer_tokens;
        EXPECT_EQ(t + 1 - prompt.answer_begin(), answer_tokens - 1);
      } else if (t + 1 < prompt.answer_begin()) {
        text = batch.loss_weights[row];
        EXPECT_GT(text, 0);
      } else {
        EXPECT_EQ(batch.loss_weights[row], 0) << "nothing is predicted after the answer";
      }
      if (batch.loss_weights[row] > 0) {
        EXPECT_EQ(batch.targets[row], batch.inputs[row + 1]);
      }
    }
    EXPECT_EQ(answer_tokens, 4);
    EXPECT_NEAR(all, static_cast<double>(prompt.length()), 1e-3);
    EXPECT_NEAR((answers - 4 * text) / all, 1 / 1.2, 1e-5);
  }
}

TEST(PasskeySource, EveryAnswerCountsAlike) {
  PasskeyConfig several = config();
  several.keys = 3;
  for (PasskeyStage& stage : several.stages) stage.questions = 3;
  SourceShape longer = shape;
  longer.segment_length = 128;
  longer.sequence_length = 16 * longer.segment_length;
  PasskeySource source(several, longer);
  const std::vector<PasskeyPrompt> prompts = source.prompts(0);
  const TokenBatch batch = source.next({0, 1});
  std::size_t row = 0;
  for (const PasskeyPrompt& prompt : prompts) {
    ASSERT_EQ(prompt.answers().size(), 3u);
    double all = 0, answers = 0;
    std::vector<std::pair<std::int64_t, std::int64_t>> marked;
    for (std::int64_t t = 0; t < prompt.length(); ++t, ++row) {
      all += batch.loss_weights[row];
      EXPECT_EQ(batch.loss_weights[row] > 0, t + 1 < prompt.questions_end());
      if (batch.answers[row] == 0) continue;
      answers += batch.loss_weights[row];
      if (marked.empty() || marked.back().second != t + 1) marked.emplace_back(t + 1, t + 1);
      ++marked.back().second;
    }
    EXPECT_EQ(marked, prompt.answers());
    EXPECT_NEAR(all, static_cast<double>(prompt.length()), 2e-3);
    EXPECT_GT(answers / all, 1 / 1.2);
  }
}

TEST(PasskeySource, OnlySegmentsOfFillerAreRepeated) {
  PasskeySource source(config(), shape);
  for (const float weight : source.next({0, 1}).write_weights) EXPECT_EQ(weight, 1);
  reach(source, 2);
  int repeated = 0, plain_prompts = 0, prompts = 0;
  float largest = 0;
  for (int step = 0; step < 200; ++step) {
    const std::vector<PasskeyPrompt> drawn = source.prompts(0);
    const std::vector<float> weights = source.segment_weights(0);
    const TokenBatch batch = source.next({0, 1});
    ASSERT_EQ(weights.size(), 16u);
    std::size_t at = 0;
    for (const PasskeyPrompt& prompt : drawn) {
      const std::int64_t segments = prompt.length() / segment;
      bool plain = true;
      for (std::int64_t s = 0; s < segments; ++s, ++at) {
        const float weight = weights[at];
        EXPECT_EQ(weight, std::floor(weight));
        EXPECT_GE(weight, 1);
        EXPECT_LE(weight, 1000);
        if (weight > 1) {
          EXPECT_TRUE(prompt.is_filler(s * segment, (s + 1) * segment));
          EXPECT_LT(s, segments - 1);
          plain = false;
          ++repeated;
        }
        largest = std::max(largest, weight);
        EXPECT_EQ(batch.write_weights[at * segment], weight);
        EXPECT_EQ(batch.write_weights[(at + 1) * segment - 1], weight);
      }
      if (segments == 16) {
        ++prompts;
        plain_prompts += plain;
      }
    }
  }
  EXPECT_GT(repeated, 1000);
  EXPECT_GT(largest, 200);
  EXPECT_GT(plain_prompts, prompts / 10);
  EXPECT_LT(plain_prompts, prompts / 3);
}

TEST(PasskeySource, MovesOnWhenTheAnswersAreRight) {
  PasskeySource source(config(), shape);
  const auto take = [&](int steps, AnswerCounts answers) {
    for (int i = 0; i < steps; ++i) {
      source.next({0, 1});
      source.observe(answers);
    }
  };
  take(100, {92, 100});
  EXPECT_EQ(source.stage(), 0);
  take(20, {93, 100});
  EXPECT_EQ(source.stage(), 1);
  EXPECT_EQ(source.position(), "stage 2 of 3");
  // A fifth of the steps have earlier lengths, half of them the stage's own by chance: they do not count.
  int own = 0, earlier = 0;
  for (int step = 0; step < 400; ++step) {
    own += source.prompts(0).size() == 4;
    earlier += source.prompts(0).size() == 8;
    take(1, {0, 100});
  }
  EXPECT_EQ(own + earlier, 400);
  EXPECT_NEAR(earlier, 40, 25);
  EXPECT_EQ(source.stage(), 1);
  reach(source, 2);
  take(100, {100, 100});
  EXPECT_EQ(source.stage(), 2) << "the last one stays";
}

TEST(PasskeySource, ContinuesFromItsState) {
  PasskeySource source(config(), shape);
  reach(source, 1);
  for (int i = 0; i < 7; ++i) {
    source.next({0, 1});
    source.observe({99, 100});
  }
  const std::string saved = source.state().dump();
  PasskeySource again(config(), shape);
  again.restore(nlohmann::json::parse(saved));
  EXPECT_EQ(again.state(), source.state());
  for (int i = 0; i < 60; ++i) {
    EXPECT_EQ(again.next({1, 2}).inputs, source.next({1, 2}).inputs);
    again.observe({95, 100});
    source.observe({95, 100});
    EXPECT_EQ(again.stage(), source.stage());
  }
  EXPECT_EQ(source.stage(), 2);
}

TEST(PasskeySource, RefusesTheStateOfAnother) {
  const nlohmann::json state = PasskeySource(config(), shape).state();
  PasskeyConfig longer = config();
  longer.digits = 7;
  const std::string message = message_of<ConfigError>([&] { PasskeySource(longer, shape).restore(state); });
  EXPECT_TRUE(holds(message, "digits was 4 and is 7")) << message;
  PasskeyConfig several = config();
  several.keys = 2;
  several.stages = {{16, 1, 0}};
  nlohmann::json earlier = PasskeySource(several, shape).state();
  earlier["task"].erase("version of the prompts");
  EXPECT_THROW(PasskeySource(several, shape).restore(earlier), ConfigError) << "those prompts had other words";
  PasskeySource source(config(), shape);
  EXPECT_THROW(source.restore({{"steps", 3}}), ConfigError);
  for (const char* key : {"task", "steps", "stage_begins", "counted"}) {
    nlohmann::json damaged = state;
    damaged.erase(key);
    EXPECT_THROW(source.restore(damaged), DataError) << key;
    damaged[key] = -1;
    EXPECT_THROW(source.restore(damaged), DataError) << key;
  }
  nlohmann::json damaged = state;
  damaged["stage_begins"] = {0, 5};
  EXPECT_THROW(source.restore(damaged), DataError) << "a stage that begins after the position";
  EXPECT_EQ(source.state(), state) << "what fails changes nothing";
}

TEST(PasskeySource, StagesFollowTheRecipeUnlessGiven) {
  const auto stages = [](std::int64_t virtual_length) {
    PasskeyConfig config;
    config.virtual_length = virtual_length;
    const PasskeySource source(config, shape);
    std::vector<std::pair<std::int64_t, std::int64_t>> result;
    for (const PasskeyStage& stage : source.stages()) {
      result.emplace_back(stage.segments, stage.virtual_length);
    }
    return result;
  };
  using Stages = std::vector<std::pair<std::int64_t, std::int64_t>>;
  EXPECT_EQ(stages(10'000), (Stages{{2, 1}, {4, 1}, {8, 10}, {16, 100}, {16, 1000}, {16, 10'000}}));
  EXPECT_EQ(stages(1), (Stages{{2, 1}, {4, 1}, {8, 1}, {16, 1}}));
  EXPECT_EQ(stages(500), (Stages{{2, 1}, {4, 1}, {8, 10}, {16, 100}, {16, 500}}));
}

TEST(PasskeySource, SaysWhatDoesNotGoTogether) {
  const auto refusal = [](const PasskeyConfig& config, const SourceShape& shape) {
    return message_of<ConfigError>([&] { PasskeySource source(config, shape); });
  };
  SourceShape uneven = shape;
  uneven.sequence_length += 1;
  EXPECT_TRUE(holds(refusal(config(), uneven), "expected a multiple of the segment's 64 tokens"));
  PasskeyConfig wrong = config();
  wrong.stages = {{17, 1, 0}};
  EXPECT_TRUE(holds(refusal(wrong, shape), "a stage has 17 segments"));
  wrong.stages = {{2, 0, 0}};
  EXPECT_TRUE(holds(refusal(wrong, shape), "virtual_length is 0"));
  wrong.stages = {{2, 1, 2}};
  EXPECT_TRUE(holds(refusal(wrong, shape), "a stage has 2 keys, the task 1"));
  wrong.stages = {{1, 1, 0}};
  wrong.digits = 40;
  EXPECT_TRUE(holds(refusal(wrong, shape), "a prompt of 64 tokens cannot hold"));
}

}  // namespace
}  // namespace palimpsest
