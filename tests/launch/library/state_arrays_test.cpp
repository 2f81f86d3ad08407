// The state of a text as arrays and back: what goes in comes out, and what is no state is refused by its name.
#include "launch/library/state_arrays.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/launch/tiny_model.h"

namespace palimpsest {
namespace {

class StateArraysTest : public testing::Test {
 protected:
  StateArraysTest() : model_(tiny_model(pool_)) {
    Generator text(*model_, tokenizer_, pool_);
    text.append(tiny_text(21, 4));
    text.generate({.sampling = {.temperature = 1.2, .no_repeat_ngram = 3}, .max_tokens = 5}, [](std::string_view) {});
    file_ = {identity_of(*model_, tokenizer_), text.state()};
    arrays_ = to_arrays(file_);
  }

  StateArray& array(const std::string& name) {
    return *std::ranges::find_if(arrays_, [&](const StateArray& each) { return each.name == name; });
  }
  std::string refusal() {
    try {
      from_arrays(arrays_, pool_);
    } catch (const DataError& error) {
      return error.what();
    }
    return "none";
  }

  MemoryPool pool_;
  std::unique_ptr<LanguageModel> model_;
  ByteTokenizer tokenizer_;
  GeneratorFile file_;
  std::vector<StateArray> arrays_;
};

TEST_F(StateArraysTest, GoThereAndBackInAnyOrder) {
  std::ranges::reverse(arrays_);
  const GeneratorFile back = from_arrays(arrays_, pool_);
  EXPECT_EQ(back.identity, file_.identity);
  EXPECT_EQ(back.state.unread, file_.state.unread);
  EXPECT_EQ(back.state.drawn.draws, 5u);
  EXPECT_EQ(back.state.drawn.recent, file_.state.drawn.recent);
  EXPECT_EQ(back.state.drawn.recent.size(), 5u);
  EXPECT_EQ(back.state.decoder.tensors.size(), file_.state.decoder.tensors.size());
  Generator before(*model_, tokenizer_, pool_, file_.state), after(*model_, tokenizer_, pool_, back.state);
  EXPECT_TRUE(std::ranges::equal(before.logits(), after.logits()));
}

TEST_F(StateArraysTest, ThatAreNoStateAreRefused) {
  const std::vector<StateArray> sound = arrays_;
  array("seen").name = "se\x1bn";
  EXPECT_NE(refusal().find("no array seen"), std::string::npos) << refusal();
  arrays_ = sound;
  arrays_.push_back(array("open"));
  EXPECT_NE(refusal().find("two arrays open"), std::string::npos) << refusal();
  arrays_ = sound;
  array("finished").bytes.pop_back();
  EXPECT_NE(refusal().find("finished has 7 bytes"), std::string::npos) << refusal();
  arrays_ = sound;
  array("finished").shape = {-1};
  EXPECT_NE(refusal().find("finished is int64 of shape (-1)"), std::string::npos) << refusal();
  arrays_ = sound;
  array("finished").shape = {std::int64_t{1} << 40, std::int64_t{1} << 40};
  EXPECT_NE(refusal().find("finished"), std::string::npos) << refusal();
  arrays_ = sound;
  array("config").type = ArrayType::int32;
  EXPECT_NE(refusal().find("config"), std::string::npos) << refusal();
}

}  // namespace
}  // namespace palimpsest
