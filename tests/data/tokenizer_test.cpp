#include "data/text/tokenizer.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/random.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

std::string random_bytes(std::uint64_t count) {
  const Random random(1, RandomPurpose::test);
  std::string bytes;
  for (std::uint64_t i = 0; i < count; ++i) bytes += static_cast<char>(random.below(i, 256));
  return bytes;
}

TEST(ByteTokenizer, TokensAreTheBytes) {
  const ByteTokenizer tokenizer;
  EXPECT_EQ(tokenizer.encode("aé"), (std::vector<std::int32_t>{97, 0xC3, 0xA9}));
  EXPECT_EQ(tokenizer.vocab_size(), 258);
  EXPECT_EQ(tokenizer.begin_id(), 256);
  EXPECT_EQ(tokenizer.end_id(), 257);
  EXPECT_EQ(tokenizer.unknown_id(), -1);
  EXPECT_EQ(tokenizer.identity(), "bytes");
}

TEST(ByteTokenizer, RoundTripsAnyBytes) {
  const ByteTokenizer tokenizer;
  const std::string bytes = random_bytes(5000);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(bytes)), bytes);
}

TEST(ByteTokenizer, MarkersStandForNothing) { EXPECT_EQ(ByteTokenizer().decode({{256, 104, 105, 257}}), "hi"); }

TEST(ByteTokenizer, RefusesTokensOutsideTheVocabulary) {
  const ByteTokenizer tokenizer;
  for (const std::int32_t token : {-1, 258, 1 << 30}) {
    const std::string message = message_of<DataError>([&] { tokenizer.decode({{97, token}}); });
    EXPECT_TRUE(holds(message, std::to_string(token)) && holds(message, "258")) << message;
  }
}

TEST(TokenDecoder, EmitsWholeCharactersOfBytes) {
  const ByteTokenizer tokenizer;
  TokenDecoder decoder(tokenizer);
  std::vector<std::string> pieces;
  for (const std::int32_t token : tokenizer.encode("né€")) pieces.push_back(decoder.append(token));
  EXPECT_EQ(pieces, (std::vector<std::string>{"n", "", "é", "", "", "€"}));
  EXPECT_EQ(decoder.append(tokenizer.end_id()), "");
  EXPECT_EQ(decoder.append(0xF0), "");
  EXPECT_EQ(decoder.append(tokenizer.end_id()), "\xEF\xBF\xBD");
  EXPECT_EQ(decoder.append(0xF0), "");
  EXPECT_EQ(decoder.finish(), "\xEF\xBF\xBD");
}

TEST(TokenDecoder, IsValidUtf8AtEveryMoment) {
  const ByteTokenizer tokenizer;
  TokenDecoder decoder(tokenizer);
  for (const std::int32_t token : tokenizer.encode(random_bytes(5000))) {
    EXPECT_EQ(find_invalid_utf8(decoder.append(token)), std::nullopt);
  }
}

TEST(MakeTokenizer, KnowsBytes) {
  EXPECT_EQ(make_tokenizer("bytes")->identity(), "bytes");
  EXPECT_EQ(make_tokenizer("bytes", "")->identity(), "bytes");
}

TEST(MakeTokenizer, RefusesWhatItDoesNotKnow) {
  EXPECT_TRUE(holds(message_of<FileError>([] { make_tokenizer("byte"); }), "expected \"bytes\""));
  EXPECT_TRUE(holds(message_of<DataError>([] { make_tokenizer("words", ""); }), "unknown tokenizer \"words\""));
  EXPECT_TRUE(
      holds(message_of<FileError>([] { make_tokenizer("sentencepiece:0", "rubbish"); }), "not a SentencePiece"));
  EXPECT_TRUE(holds(message_of<FileError>([] { make_tokenizer("sentencepiece:0", ""); }), "not a SentencePiece"));
}

TEST(MakeTokenizer, NamesTheFileThatIsNoModel) {
  const TemporaryDirectory directory;
  for (const std::string& content : {std::string(), std::string("text"), random_bytes(1000)}) {
    overwrite_file(directory / "bad.model", content);
    const std::string message = message_of([&] { make_tokenizer((directory / "bad.model").string()); });
    EXPECT_TRUE(message.starts_with((directory / "bad.model").string())) << message;
  }
  EXPECT_THROW(make_tokenizer(directory.path().string()), FileError);
}

}  // namespace
}  // namespace palimpsest
