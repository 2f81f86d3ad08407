// Conversations: questions asked of the same state or following each other, taken back, stopped and gone on with.
#include "launch/inference/conversation.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/launch/tiny_model.h"

namespace palimpsest {
namespace {

class ConversationTest : public testing::Test {
 protected:
  ConversationTest() : model_(tiny_model(pool_)), conversation_(reader()) {}

  Generator reader() {
    Generator generator(*model_, tokenizer_, pool_);
    generator.append(tiny_text(45, 3));
    generator.read();
    return generator;
  }
  std::string ask(const std::string& question, std::int64_t tokens = 20) {
    return collect([&](const TextSink& write) {
      result_ = conversation_.ask(question, {.sampling = {.seed = 5}, .max_tokens = tokens}, write, {});
    });
  }
  std::string go_on(std::int64_t tokens = 20) {
    return collect([&](const TextSink& write) {
      result_ = conversation_.go_on({.sampling = {.seed = 5}, .max_tokens = tokens}, write, {});
    });
  }
  template <class Action>
  static std::string collect(const Action& action) {
    std::string text;
    action([&](std::string_view piece) { text += piece; });
    return text;
  }

  MemoryPool pool_;
  std::unique_ptr<LanguageModel> model_;
  ByteTokenizer tokenizer_;
  Conversation conversation_;
  GenerationResult result_;
};

TEST_F(ConversationTest, EveryQuestionIsAskedOfTheSameStateUnlessItFollows) {
  const std::string first = ask("one"), second = ask("two");
  EXPECT_NE(first, second);
  EXPECT_EQ(ask("one"), first);
  conversation_.follows = true;
  const std::string following = ask("two");
  EXPECT_NE(following, second);
  conversation_.reset();
  EXPECT_EQ(ask("one"), first);
  EXPECT_EQ(ask("two"), following);
  EXPECT_EQ(conversation_.asked().tokens() + conversation_.asked().unread(), 46 + 2 * 23);
  conversation_.follows = false;
  EXPECT_EQ(conversation_.asked().tokens(), 46);
  EXPECT_EQ(ask("two"), second);
}

TEST_F(ConversationTest, WhatWasAskedIsTakenBack) {
  conversation_.follows = true;
  EXPECT_FALSE(conversation_.undo());
  ask("one");
  const std::string second = ask("two");
  EXPECT_TRUE(conversation_.undo());
  EXPECT_EQ(ask("two"), second);
  for (std::size_t i = 0; i < Conversation::most_undone; ++i) ask("more", 2);
  for (std::size_t i = 0; i < Conversation::most_undone; ++i) EXPECT_TRUE(conversation_.undo());
  EXPECT_FALSE(conversation_.undo());
}

TEST_F(ConversationTest, AnAnswerGoesOnWhereItStopped) {
  const std::string whole = ask("one", 30);
  const std::string begin = ask("one", 12);
  EXPECT_EQ(begin + go_on(18), whole);
  int asked = 0;
  result_ = conversation_.ask(
      "one", {.sampling = {.seed = 5}, .max_tokens = 30}, [](std::string_view) {}, [&] { return ++asked < 25; });
  EXPECT_EQ(result_.finish, Finish::interrupted);
  EXPECT_GT(result_.tokens, 0);
  EXPECT_LT(result_.tokens, 30);
  const auto left = static_cast<std::size_t>(30 - result_.tokens);
  const std::string rest = go_on(static_cast<std::int64_t>(left));
  EXPECT_TRUE(whole.ends_with(rest));
}

TEST_F(ConversationTest, AReadingThatWasStoppedGoesOn) {
  const std::string expected = ask("one");
  Generator start(*model_, tokenizer_, pool_);
  start.append(tiny_text(300, 3));
  Conversation other(start);
  EXPECT_FALSE(other.read([] { return false; }));
  EXPECT_EQ(other.start().tokens(), 128);
  EXPECT_TRUE(other.read({}));
  EXPECT_EQ(other.start().tokens(), 301);
  EXPECT_EQ(other.asked().unread(), 0);
}

TEST_F(ConversationTest, AQuestionThatFailsChangesNothing) {
  conversation_.follows = true;
  ask("one");
  const std::string second = ask("two");
  conversation_.undo();
  EXPECT_THROW(conversation_.ask("two", {.sampling = {.temperature = -1}}, [](std::string_view) {}, {}), ConfigError);
  EXPECT_EQ(ask("two"), second);
}

}  // namespace
}  // namespace palimpsest
