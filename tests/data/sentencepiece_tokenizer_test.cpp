#include "data/text/sentencepiece_tokenizer.h"

#include <gtest/gtest.h>
#include <sentencepiece_trainer.h>

#include <utf8.h>

#include <algorithm>
#include <unordered_map>

#include "core/error.h"
#include "core/random.h"
#include "data/tokens/pack.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

/// Characters of all lengths, control characters included; without U+2581, which stands for a space.
std::string random_characters() {
  const Random random(4, RandomPurpose::test);
  std::string text;
  for (std::uint64_t i = 0; i < 4000; ++i) {
    const std::uint64_t bounds[] = {0x80, 0x800, 0x10000, 0x110000};
    const auto code_point = static_cast<char32_t>(random.below(2 * i, bounds[random.below(2 * i + 1, 4)]));
    if (code_point != 0x2581 && (code_point < 0xD800 || code_point > 0xDFFF)) utf8::append(code_point, text);
  }
  return text;
}

/// Sentences of invented words, with some characters of several bytes.
std::string generated_text() {
  const std::vector<std::string> syllables = {"ka", "lo", "mi", "nu", "re", "sä", "té", "vo", "xi", "zun"};
  const Random random(3, RandomPurpose::test);
  std::string text;
  std::uint64_t index = 0;
  for (int line = 0; line < 400; ++line) {
    for (int word = 0; word < 12; ++word) {
      // Words come from a small vocabulary, so that there are pieces to learn.
      std::uint64_t spelling = random.below(index++, 150);
      for (int syllable = 0; syllable < 3; ++syllable, spelling /= 10) text += syllables[spelling % 10];
      text += word == 11 ? ".\n" : " ";
    }
  }
  return text;
}

class SentencePiece : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = new TemporaryDirectory;
    overwrite_file(*directory_ / "a.txt", generated_text());
    model_ = new std::string(train_sentencepiece({*directory_ / "a.txt"}, training()).model);
  }
  static void TearDownTestSuite() {
    delete directory_;
    delete model_;
  }
  static TokenizerTraining training() {
    TokenizerTraining training;
    training.vocab_size = 360;
    return training;
  }
  /// A model as other people train them: normalised, a space put before the text, no bytes.
  static std::string default_model(std::unordered_map<std::string, std::string> more = {}) {
    more.merge(std::unordered_map<std::string, std::string>{{"input", (*directory_ / "a.txt").string()},
                                                            {"vocab_size", "100"},
                                                            {"hard_vocab_limit", "false"},
                                                            {"minloglevel", "2"}});
    more.emplace("model_prefix", (*directory_ / "default").string());
    EXPECT_TRUE(sentencepiece::SentencePieceTrainer::Train(more).ok());
    return file_content(*directory_ / "default.model");
  }
  /// Whatever the tokens, a decoder that sees them one by one gives the text of all of them.
  static void expect_stream_equals_whole(const SentencePieceTokenizer& tokenizer) {
    const Random random(5, RandomPurpose::test);
    const auto vocab_size = static_cast<std::uint64_t>(tokenizer.vocab_size());
    std::int32_t space = 0;
    while (tokenizer.piece(space) != "▁") ++space;
    std::uint64_t index = 0;
    for (int repeat = 0; repeat < 300; ++repeat) {
      std::vector<std::int32_t> tokens;
      for (int i = 0; i < 12; ++i) {
        const bool is_space = random.below(index++, 3) == 0;
        tokens.push_back(is_space ? space : static_cast<std::int32_t>(random.below(index++, vocab_size)));
      }
      TokenDecoder decoder(tokenizer);
      std::string text;
      for (const std::int32_t token : tokens) text += decoder.append(token);
      EXPECT_EQ(text + decoder.finish(), tokenizer.decode(tokens)) << testing::PrintToString(tokens);
    }
  }

  static TemporaryDirectory* directory_;
  static std::string* model_;
};
TemporaryDirectory* SentencePiece::directory_ = nullptr;
std::string* SentencePiece::model_ = nullptr;

TEST_F(SentencePiece, TrainsAModelWithBeginAndEndTokens) {
  const SentencePieceTokenizer tokenizer(*model_, "model");
  EXPECT_EQ(tokenizer.vocab_size(), 360);
  EXPECT_EQ(tokenizer.begin_id(), 1);
  EXPECT_EQ(tokenizer.end_id(), 2);
  EXPECT_EQ(tokenizer.unknown_id(), -1);  // bytes spell everything
  EXPECT_EQ(tokenizer.piece(1), "<s>");
  EXPECT_LT(tokenizer.encode(generated_text()).size(), generated_text().size() / 2);
}

TEST_F(SentencePiece, IsLossless) {
  const SentencePieceTokenizer tokenizer(*model_, "model");
  const std::vector<std::string> texts = {"",
                                          " ",
                                          "kalomi  nure\n\n\tsäté \n",
                                          "  two before, two after  ",
                                          "never seen: Ω 𝄞 \u00A0 ﬁ ½\r\n",
                                          generated_text(),
                                          random_characters()};
  for (const std::string& text : texts) {
    const std::vector<std::int32_t> tokens = tokenizer.encode(text);
    EXPECT_EQ(tokenizer.decode(tokens), text);
    TokenDecoder decoder(tokenizer);
    std::string streamed;
    for (const std::int32_t token : tokens) streamed += decoder.append(token);
    EXPECT_EQ(streamed + decoder.finish(), text);
  }
}

TEST_F(SentencePiece, StreamsAsItDecodes) {
  expect_stream_equals_whole(SentencePieceTokenizer(*model_, "model"));
  const SentencePieceTokenizer others(default_model(), "default");
  EXPECT_EQ(others.decode(others.encode("kalomi nure")), "kalomi nure");
  expect_stream_equals_whole(others);
  expect_stream_equals_whole(SentencePieceTokenizer(
      default_model({{"vocab_size", "360"}, {"byte_fallback", "true"}, {"remove_extra_whitespaces", "false"}}),
      "mixed"));
}

TEST_F(SentencePiece, CountsUnknownText) {
  const SentencePieceTokenizer tokenizer(default_model(), "default");
  EXPECT_EQ(tokenizer.unknown_id(), 0);
  const auto tokens = tokenizer.encode("kalo Ω");
  EXPECT_EQ(std::count(tokens.begin(), tokens.end(), tokenizer.unknown_id()), 1);
}

TEST_F(SentencePiece, PackingTellsWhatNormalisationLoses) {
  const TemporaryDirectory texts;
  overwrite_file(texts / "lines.txt", "kalomi nure\nkalo");
  overwrite_file(texts / "plain.txt", "kalomi nure");
  const SentencePieceTokenizer others(default_model(), "default");
  const std::string message = message_of<DataError>([&] { pack_folder(texts.path(), texts / "a.h5", others, {}); });
  EXPECT_TRUE(holds(message, R"(lines: byte 11 (line 1): "\x0Akalo" comes back as " kalo")")) << message;
  EXPECT_EQ(pack_folder(texts.path(), texts / "a.h5", others, {.allow_lossy = true}).lossy_documents, 1);
  const SentencePieceTokenizer ours(*model_, "model");
  EXPECT_EQ(pack_folder(texts.path(), texts / "b.h5", ours, {}).lossy_documents, 0);
}

TEST_F(SentencePiece, IdentityFollowsTheModel) {
  const SentencePieceTokenizer tokenizer(*model_, "model");
  const auto again = make_tokenizer(tokenizer.identity(), tokenizer.model());
  EXPECT_EQ(again->identity(), tokenizer.identity());
  EXPECT_EQ(again->encode("kalo"), tokenizer.encode("kalo"));
  EXPECT_TRUE(tokenizer.identity().starts_with("sentencepiece:"));
  const SentencePieceTokenizer others(default_model(), "default");
  EXPECT_NE(others.identity(), tokenizer.identity());
  EXPECT_TRUE(
      holds(message_of<DataError>([&] { make_tokenizer(tokenizer.identity(), others.model()); }), "is expected"));
}

TEST_F(SentencePiece, RefusesTokensOutsideTheVocabulary) {
  const SentencePieceTokenizer tokenizer(*model_, "model");
  for (const std::int32_t token : {-1, 360, 1 << 30}) {
    EXPECT_THROW(tokenizer.decode({{token}}), DataError);
    EXPECT_THROW(TokenDecoder(tokenizer).append(token), DataError);
    EXPECT_THROW(tokenizer.piece(token), DataError);
  }
}

TEST_F(SentencePiece, NeedsBeginAndEndTokens) {
  const std::string message = message_of([&] {
    SentencePieceTokenizer(default_model({{"eos_id", "-1"}}), "their.model");
  });
  EXPECT_EQ(message, "their.model: the model has no </s> token, which marks where documents end");
}

TEST_F(SentencePiece, RefusesModelsOverWhichTheLibraryFails) {
  // The entry of a piece of one letter: 8 bytes, its text one byte long. With a zero byte instead of the letter the
  // library throws, since its tables end texts there.
  std::string model = *model_;
  std::size_t entry = 0;
  for (char letter = 'a'; letter <= 'z' && entry == 0; ++letter) {
    const std::size_t found = model.find(std::string("\x0A\x08\x0A\x01") + letter + '\x15');
    if (found != std::string::npos) entry = found;
  }
  ASSERT_NE(entry, 0u);
  model[entry + 4] = '\0';
  EXPECT_EQ(message_of([&] { SentencePieceTokenizer(model, "their.model"); }),
            "their.model: is no usable SentencePiece model: working with it throws an exception");
}

TEST_F(SentencePiece, SurvivesDamagedModels) {
  for (std::size_t length = 0; length < model_->size(); length += 97) {
    try {
      SentencePieceTokenizer(model_->substr(0, length), "cut");
    } catch (const FileError&) {
    }
  }
}

TEST_F(SentencePiece, SaysWhyItCannotTrain) {
  TokenizerTraining wanted = training();
  wanted.vocab_size = 100'000;
  EXPECT_TRUE(
      holds(message_of<ConfigError>([&] { train_sentencepiece({*directory_ / "a.txt"}, wanted); }), "too high"));
  wanted.vocab_size = 200;
  EXPECT_THROW(train_sentencepiece({*directory_ / "a.txt"}, wanted), ConfigError);
  wanted = training();
  wanted.character_coverage = 1.5;
  EXPECT_THROW(train_sentencepiece({*directory_ / "a.txt"}, wanted), ConfigError);
  EXPECT_THROW(train_sentencepiece({*directory_ / "none.txt"}, training()), DataError);
}

TEST_F(SentencePiece, TrainsTheSameModelAgainAndBpe) {
  EXPECT_EQ(train_sentencepiece({*directory_ / "a.txt"}, training()).model, *model_);
  TokenizerTraining bpe = training();
  bpe.model = TokenizerTraining::Model::bpe;
  const SentencePieceTokenizer tokenizer(train_sentencepiece({*directory_ / "a.txt"}, bpe).model, "bpe");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(" kalo\n Ω")), " kalo\n Ω");
}

TEST_F(SentencePiece, KeepsDigitsApartWhereAsked) {
  std::string text = generated_text();
  for (int line = 0; line < 200; ++line) text += "the year 1984 and the year 1985\n";
  overwrite_file(*directory_ / "years.txt", text);
  const auto longest_number = [&](bool split_digits) {
    TokenizerTraining wanted = training();
    wanted.split_digits = split_digits;
    const SentencePieceTokenizer tokenizer(train_sentencepiece({*directory_ / "years.txt"}, wanted).model, "years");
    std::size_t longest = 0;
    for (std::int32_t token = 0; token < tokenizer.vocab_size(); ++token) {
      const std::string piece = tokenizer.piece(token);
      if (piece.starts_with("<0x")) continue;
      longest = std::max<std::size_t>(
          longest, static_cast<std::size_t>(std::ranges::count_if(piece, [](char c) { return c >= '0' && c <= '9'; })));
    }
    EXPECT_EQ(tokenizer.decode(tokenizer.encode("the year 1984")), "the year 1984");
    return longest;
  };
  EXPECT_EQ(longest_number(true), 1u);
  EXPECT_GT(longest_number(false), 1u) << "or the test says nothing";
}

TEST_F(SentencePiece, LearnsFromLinesOfAnyLengthAndNamesUnusableFiles) {
  std::string text = generated_text();
  std::replace(text.begin(), text.end(), '\n', ' ');
  // Five bytes a time: cutting the line anywhere but between characters would meet the middle of one.
  for (int word = 0; word < 2000; ++word) text.insert(0, "ää ");
  overwrite_file(*directory_ / "line.txt", text);
  overwrite_file(*directory_ / "empty.txt", "");
  TokenizerTraining every_character = training();
  every_character.character_coverage = 1;
  const TrainedTokenizer trained =
      train_sentencepiece({*directory_ / "empty.txt", *directory_ / "line.txt"}, every_character);
  ASSERT_EQ(trained.problems.size(), 1u);
  EXPECT_EQ(trained.problems[0].reason, "is empty");
  const SentencePieceTokenizer tokenizer(trained.model, "line");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  for (std::int32_t token = 0; token < tokenizer.vocab_size(); ++token) {
    EXPECT_FALSE(holds(tokenizer.piece(token), "\uFFFD"));
  }
}

}  // namespace
}  // namespace palimpsest
