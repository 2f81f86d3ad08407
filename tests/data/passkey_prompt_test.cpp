#include "data/stream/passkey_prompt.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

std::shared_ptr<const PasskeyLanguage> language(const PasskeyTask& task, const std::string& tokenizer = "passkey") {
  return std::make_shared<const PasskeyLanguage>(make_tokenizer(tokenizer), task, nullptr);
}

std::vector<std::int32_t> tokens_of(const PasskeyPrompt& prompt) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(prompt.length()));
  prompt.read(0, tokens);
  return tokens;
}

std::string text_of(const PasskeyPrompt& prompt, const Tokenizer& tokenizer) {
  return tokenizer.decode(tokens_of(prompt));
}

PasskeyPrompt evaluation_prompt(const PasskeyTask& task, std::int64_t length, double depth, std::uint64_t seed = 1,
                                const std::string& tokenizer = "passkey") {
  Draws draws(Random(seed, RandomPurpose::test));
  return PasskeyPrompt::for_evaluation(language(task, tokenizer), length, depth, draws);
}

TEST(PasskeyPrompt, ReadsAsInThePaper) {
  const PasskeyPrompt prompt = evaluation_prompt({}, 200, 0.5);
  ASSERT_EQ(prompt.statements().size(), 1u);
  const std::string digits = prompt.statements()[0].digits;
  std::string spaced;
  for (const char digit : digits) spaced += std::string(" ") + digit;
  const std::string text = text_of(prompt, *make_tokenizer("passkey"));
  EXPECT_TRUE(
      text.starts_with("There is an important info hidden inside a lot of irrelevant text. Find it and "
                       "memorize them. I will quiz you about the important information there."))
      << text;
  EXPECT_TRUE(holds(text, "There and back again. The pass key is" + spaced + ". Remember it." + spaced +
                              " is the pass key. The grass is green. The sky is blue. The sun is yellow. Here we go."))
      << text;
  EXPECT_TRUE(text.ends_with("What is the pass key? The pass key is" + spaced)) << text;
  EXPECT_TRUE(holds(text, "information there. The grass is green.")) << text;
  EXPECT_EQ(prompt.answer_end(), 200);
  EXPECT_EQ(prompt.answer_begin(), 196);
}

TEST(PasskeyPrompt, AnyPartReadsLikeTheWhole) {
  for (const std::string tokenizer : {"passkey", "bytes"}) {
    const PasskeyPrompt prompt = evaluation_prompt({6, 3, 1}, 2000, 0.3, 2, tokenizer);
    const std::vector<std::int32_t> whole = tokens_of(prompt);
    for (const std::int64_t size : {1, 7, 256}) {
      std::vector<std::int32_t> joined;
      for (std::int64_t begin = 0; begin < prompt.length(); begin += size) {
        std::vector<std::int32_t> part(static_cast<std::size_t>(std::min(size, prompt.length() - begin)));
        prompt.read(begin, part);
        joined.insert(joined.end(), part.begin(), part.end());
      }
      EXPECT_EQ(joined, whole);
    }
  }
}

TEST(PasskeyPrompt, DepthSaysWhereTheKeyLies) {
  const std::int64_t length = 100'000;
  for (const double depth : {0.0, 0.25, 0.5, 1.0}) {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
      const PasskeyPrompt prompt = evaluation_prompt({}, length, depth, seed);
      EXPECT_NEAR(static_cast<double>(prompt.statements()[0].begin), depth * static_cast<double>(length), 2100);
    }
  }
  const PasskeyPrompt early = evaluation_prompt({}, 400, 0), late = evaluation_prompt({}, 400, 1);
  EXPECT_LE(early.statements()[0].begin, 30 + 50);
  EXPECT_GE(late.statements()[0].end(), late.question_begin() - 51);
}

TEST(PasskeyPrompt, OneOfSeveralKeysIsAskedFor) {
  const auto tokenizer = make_tokenizer("passkey");
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const PasskeyPrompt prompt = evaluation_prompt({4, 4, 0}, 3000, 0.5, seed);
    ASSERT_EQ(prompt.statements().size(), 4u);
    std::int64_t after = 0;
    std::vector<std::int64_t> keys;
    for (const PasskeyPrompt::Statement& statement : prompt.statements()) {
      EXPECT_GE(statement.begin, after) << "statements do not overlap";
      after = statement.end();
      keys.push_back(statement.key);
    }
    EXPECT_LE(after, prompt.question_begin());
    std::ranges::sort(keys);
    EXPECT_EQ(keys, (std::vector<std::int64_t>{0, 1, 2, 3}));
    const auto asked = std::ranges::find(prompt.statements(), prompt.asked_key(), &PasskeyPrompt::Statement::key);
    EXPECT_NEAR(static_cast<double>(asked->begin), 1500, 450);
    // The question takes up the statement's first words: "The pass key is NAME D D D D".
    const std::vector<std::int32_t> tokens = tokens_of(prompt);
    const std::vector<std::int32_t> said(asked->tokens.begin(), asked->tokens.begin() + 9);
    EXPECT_TRUE(std::equal(said.begin(), said.end(), tokens.end() - 9)) << tokenizer->decode(tokens);
    const std::string name = tokenizer->decode(std::span(tokens).last(5).first(1));
    EXPECT_NE(tokenizer->decode(tokens).find("What is the pass key of " + name + "?"), std::string::npos);
  }
}

TEST(PasskeyPrompt, TheLastOfAKeysValuesCounts) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const PasskeyPrompt prompt = evaluation_prompt({4, 2, 2}, 3000, 0.5, seed);
    ASSERT_EQ(prompt.statements().size(), 6u);
    std::vector<int> seen(2, 0);
    std::string last;
    for (const PasskeyPrompt::Statement& statement : prompt.statements()) {
      EXPECT_EQ(statement.replaces, seen[static_cast<std::size_t>(statement.key)]++ > 0);
      if (statement.key == prompt.asked_key()) last = statement.digits;
    }
    const std::vector<std::int32_t> tokens = tokens_of(prompt);
    const std::string said = make_tokenizer("passkey")->decode(std::span(tokens).last(4));
    std::string answer;
    for (const char c : said) {
      if (c != ' ') answer += c;
    }
    EXPECT_EQ(answer, last);
  }
}

TEST(PasskeyPrompt, TrainingPromptsStraddleBordersAndAskAnywhere) {
  const std::int64_t segment = 64, length = 16 * segment;
  const auto words = language({});
  int across = 0, moved = 0;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    Draws draws(Random(seed, RandomPurpose::test));
    const PasskeyPrompt prompt = PasskeyPrompt::for_training(words, length, {segment, 0, 0.3, 0.7}, draws);
    const PasskeyPrompt::Statement& key = prompt.statements()[0];
    EXPECT_GE(key.begin, 30);
    EXPECT_LE(key.end(), prompt.question_begin());
    across += key.begin / segment != (key.end() - 1) / segment;
    EXPECT_GE(prompt.question_begin(), length - segment);
    EXPECT_LE(prompt.answer_end(), length);
    moved += prompt.answer_end() < length;
    std::vector<std::int32_t> rest(static_cast<std::size_t>(length - prompt.answer_end()));
    prompt.read(prompt.answer_end(), rest);
    EXPECT_TRUE(std::ranges::all_of(rest, [](std::int32_t token) { return token == 2; }));
  }
  // A third of the statements of 21 tokens would lie across borders anyway: 0.3 + 0.7 * 20 / 64.
  EXPECT_NEAR(across, 520, 60);
  EXPECT_NEAR(moved, 0.7 * 1000 * 50 / 51, 60);
}

TEST(PasskeyPrompt, TrainingAsksAsManyQuestionsAsTheLastSegmentHolds) {
  const auto words = language({4, 5, 1});
  const auto tokenizer = make_tokenizer("passkey");
  const std::int64_t length = 1024, question = 17;
  for (const auto& [segment, asked] : {std::pair{256, 6}, {64, 3}, {32, 1}, {16, 1}}) {
    std::set<std::string> last_names;
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
      Draws draws(Random(seed, RandomPurpose::test));
      const PasskeyPrompt prompt = PasskeyPrompt::for_training(words, length, {segment, 0, 0.3, 0.7, 6}, draws);
      const std::vector<std::int32_t> tokens = tokens_of(prompt);
      const auto words_of = [&](std::int64_t begin, std::int64_t end) {
        return tokenizer->decode(
            std::span(tokens).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)));
      };
      ASSERT_EQ(prompt.answers().size(), static_cast<std::size_t>(asked));
      EXPECT_GE(prompt.question_begin(), length - std::max<std::int64_t>(segment, question));
      EXPECT_EQ(prompt.questions_end(), prompt.question_begin() + asked * question);
      EXPECT_EQ(prompt.answers().front(), std::pair(prompt.answer_begin(), prompt.answer_end()));
      const std::string text = words_of(0, prompt.question_begin());
      for (const auto& [begin, end] : prompt.answers()) {
        // "The pass key is NAME D D D D", and further up "The pass key is now NAME D D D D".
        const std::string name = words_of(begin - 1, begin), digits = words_of(begin, end);
        EXPECT_NE(text.find("is now " + name + " " + digits), std::string::npos) << name << " " << digits;
        if (begin == prompt.answers().back().first) last_names.insert(name);
      }
    }
    EXPECT_GT(last_names.size(), 5u) << "the last question is about any key";
  }
}

TEST(PasskeyPrompt, PromptsShareTheirBeginning) {
  const auto words = language({4, 2, 1});
  std::vector<PasskeyPrompt> prompts;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    Draws draws(Random(seed, RandomPurpose::test));
    const bool trains = seed % 4 == 0;
    prompts.push_back(
        trains ? PasskeyPrompt::for_training(words, 4000, {64, 0, 0.3, 0.7}, draws)
               : PasskeyPrompt::for_evaluation(words, 3000 + 10 * static_cast<std::int64_t>(seed), 0.8, draws));
    if (!trains) {
      EXPECT_EQ(prompts.back().shared_beginning(), prompts.back().statements().front().begin);
    }
  }
  for (const PasskeyPrompt& prompt : prompts) {
    for (const PasskeyPrompt& other : prompts) {
      std::vector<std::int32_t> mine(
          static_cast<std::size_t>(std::min(prompt.shared_beginning(), other.shared_beginning())));
      std::vector<std::int32_t> theirs(mine.size());
      prompt.read(0, mine);
      other.read(0, theirs);
      EXPECT_EQ(mine, theirs);
    }
  }
}

TEST(PasskeyPrompt, OnlyFillerIsFiller) {
  const PasskeyPrompt prompt = evaluation_prompt({}, 1000, 0.5);
  const PasskeyPrompt::Statement& key = prompt.statements()[0];
  EXPECT_FALSE(prompt.is_filler(0, 50)) << "the introduction";
  EXPECT_TRUE(prompt.is_filler(50, key.begin));
  EXPECT_FALSE(prompt.is_filler(50, key.begin + 1));
  EXPECT_FALSE(prompt.is_filler(key.end() - 1, 900));
  EXPECT_TRUE(prompt.is_filler(key.end(), prompt.question_begin()));
  EXPECT_FALSE(prompt.is_filler(key.end(), prompt.question_begin() + 1));
}

TEST(PasskeyPrompt, FillerMayBeText) {
  const TemporaryDirectory directory;
  {
    TokenFileWriter writer(directory / "book.h5", ByteTokenizer());
    for (const char* text : {"abcdefghij", "klmnop"}) writer.add_document(text, ByteTokenizer().encode(text), 1, 1);
    writer.finish();
  }
  const auto file = std::make_shared<const TokenFile>(directory / "book.h5");
  const auto words = std::make_shared<const PasskeyLanguage>(file->tokenizer(), PasskeyTask{5, 1, 0}, file);
  Draws draws(Random(1, RandomPurpose::test));
  const PasskeyPrompt prompt = PasskeyPrompt::for_evaluation(words, 1000, 0.5, draws);
  const std::string text = text_of(prompt, *file->tokenizer());
  EXPECT_TRUE(holds(text, "abcdefghij")) << text;
  const std::string digits = prompt.statements()[0].digits;
  EXPECT_TRUE(holds(text, "The pass key is " + digits + ". Remember it. " + digits + " is the pass key.")) << text;
  EXPECT_TRUE(text.ends_with("The pass key is " + digits)) << text;
  EXPECT_EQ(prompt.shared_beginning(), std::ssize(words->introduction())) << "texts begin anywhere";
  EXPECT_EQ(prompt.answer_begin(), 995) << "the space before the digits is no part of the answer";
  const std::vector<std::int32_t> tokens = tokens_of(prompt);
  EXPECT_EQ(std::ranges::count(tokens, file->begin_id()), 1) << "one prompt is one document";
  EXPECT_EQ(std::ranges::count(tokens, file->end_id()), 0);
  EXPECT_TRUE(holds(message_of<ConfigError>([&] { PasskeyLanguage(make_tokenizer("passkey"), {}, file); }),
                    "was packed with tokenizer bytes"));
}

TEST(PasskeyPrompt, AQuestionAnywhereInTheOnlySegmentLeavesRoomForTheKey) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Draws draws(Random(seed, RandomPurpose::test));
    const PasskeyPrompt prompt = PasskeyPrompt::for_training(language({}), 80, {80, 0, 0, 1}, draws);
    EXPECT_GE(prompt.statements()[0].begin, 30);
    EXPECT_GE(prompt.question_begin(), prompt.statements()[0].end());
  }
}

TEST(PasskeyPrompt, TheKeyMayBeChosen) {
  Draws draws(Random(1, RandomPurpose::test));
  const PasskeyPrompt prompt = PasskeyPrompt::for_evaluation(language({4, 3, 1}), 500, 0.5, draws, "0007");
  const std::string text = text_of(prompt, *make_tokenizer("passkey"));
  EXPECT_TRUE(holds(text, " 0 0 0 7. Remember it.")) << text;
  EXPECT_TRUE(text.ends_with(" 0 0 0 7")) << text;
}

TEST(PasskeyPrompt, SaysWhatDoesNotFit) {
  EXPECT_TRUE(holds(message_of<ConfigError>([] { evaluation_prompt({}, 64, 0); }), "they take 65 tokens in all"));
  EXPECT_EQ(evaluation_prompt({}, 65, 0).statements()[0].begin, 30);
  EXPECT_THROW(language({0, 1, 0}), ConfigError);
  EXPECT_THROW(language({4, 17, 0}), ConfigError);
  EXPECT_THROW(language({4, 1, -1}), ConfigError);
}

}  // namespace
}  // namespace palimpsest
