// The pack and tokenizer commands, from the command line to what they print and write.
#include <gtest/gtest.h>

#include <sstream>

#include "core/error.h"
#include "data/text/sentencepiece_tokenizer.h"
#include "data/tokens/token_file.h"
#include "launch/commands/command.h"
#include "launch/output/exit_codes.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

/// What a command printed on standard output; its exit code has to be 0.
std::string run(const std::vector<std::string>& arguments) {
  CLI::App program;
  program.require_subcommand(1);
  const std::vector<Command> commands = {add_pack_command(program), add_tokenizer_command(program)};
  // CLI11 takes arguments from the back.
  program.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  const auto communicator = single_process();
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  int exit_code = -1;
  std::string printed;
  try {
    for (const Command& command : commands) {
      if (command.options->parsed()) exit_code = command.run(*communicator);
    }
  } catch (...) {
    testing::internal::GetCapturedStdout();
    testing::internal::GetCapturedStderr();
    throw;
  }
  std::fflush(stdout);
  printed = testing::internal::GetCapturedStdout();
  testing::internal::GetCapturedStderr();
  EXPECT_EQ(exit_code, ExitCode::ok);
  return printed;
}

struct Corpus {
  TemporaryDirectory directory;
  std::string root = (directory / "corpus").string();
  std::string packed = (directory / "packed").string();

  Corpus() {
    for (const char* split : {"train", "validation", "test"}) {
      fs::create_directories(fs::path(root) / split);
      overwrite_file(fs::path(root) / split / "1.txt", std::string("a text for ") + split);
    }
    overwrite_file(fs::path(root) / "train" / "2.txt", "one more");
    overwrite_file(fs::path(root) / "train" / "3.txt", "");
  }
};

TEST(PackCommand, PacksEverySplit) {
  Corpus corpus;
  const std::string printed = run({"pack", corpus.root, corpus.packed});
  EXPECT_TRUE(holds(printed, "packed/train.h5")) << printed;
  EXPECT_TRUE(holds(printed, "1 (1 empty)")) << printed;
  EXPECT_EQ(TokenFile(corpus.packed + "/train.h5").document_count(), 2);
  EXPECT_EQ(TokenFile(corpus.packed + "/validation.h5").byte_count(), 21);
  EXPECT_EQ(TokenFile(corpus.packed + "/test.h5").word_count(), 4);
}

TEST(PackCommand, PacksOneSplitOrAnyFolder) {
  Corpus corpus;
  run({"pack", "--input", corpus.root, "--output", corpus.packed + "/only.h5", "--split", "test"});
  EXPECT_EQ(TokenFile(corpus.packed + "/only.h5").byte_count(), 15);
  run({"pack", corpus.root + "/train", corpus.packed + "/folder.h5"});
  EXPECT_EQ(TokenFile(corpus.packed + "/folder.h5").document(1).name, "2");
}

TEST(PackCommand, PacksRecordsAsTheyAreAskedFor) {
  Corpus corpus;
  const std::string file = (corpus.directory / "chats.jsonl").string();
  overwrite_file(
      file,
      R"({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}], "text": "T"})");
  EXPECT_THROW(run({"pack", file, corpus.packed + "/a.h5"}), DataError);  // which of the two?
  run({"pack", file, corpus.packed + "/a.h5", "--records", "chat", "--turn-template", "<{role}>{content}\\n"});
  const TokenFile chats(corpus.packed + "/a.h5");
  EXPECT_EQ(chats.tokenizer()->decode(chats.document_tokens(0, 0, 100)), "<user>Hi\n<assistant>Ho\n");
  EXPECT_EQ(chats.targets(0).tokens, 3);
  run({"pack", file, corpus.packed + "/b", "--records", "text", "--split-by", "hash:1/0/0"});
  EXPECT_EQ(TokenFile(corpus.packed + "/b/train.h5").document(0).name, "chats@0");
  EXPECT_THROW(run({"pack", file, corpus.packed + "/c.h5", "--turn-template", "{role}"}), ConfigError);
}

TEST(PackCommand, SaysWhatItCannotDo) {
  Corpus corpus;
  EXPECT_TRUE(holds(message_of<ConfigError>([&] { run({"pack", corpus.root, "x.h5"}); }), "train, validation, test"));
  fs::remove_all(corpus.root + "/test");
  EXPECT_TRUE(holds(message_of<ConfigError>([&] {
                      run({"pack", corpus.root, "x.h5", "--split", "test"});
                    }),
                    "has no split test; the splits there are: train, validation"));
  EXPECT_TRUE(holds(message_of<ConfigError>([&] { run({"pack", corpus.root}); }), "an INPUT and an OUTPUT"));
  EXPECT_TRUE(holds(message_of<DataError>([&] {
                      run({"pack", corpus.root, corpus.packed, "--strict"});
                    }),
                    "3.txt: is empty"));
  EXPECT_THROW(run({"pack", corpus.root, corpus.packed, "--tokenizer", "words"}), FileError);
  EXPECT_THROW(run({"pack", corpus.root, corpus.packed, "--split", "dev"}), CLI::ParseError);
}

TEST(PackCommand, PacksLossyDocumentsOnRequest) {
  Corpus corpus;
  // SentencePiece gives U+2581, by which it marks spaces, back as a space.
  overwrite_file(corpus.root + "/train/2.txt", "one\u2581more");
  std::string text;
  for (int line = 0; line < 200; ++line) text += "some words that come again and again, line after line\n";
  overwrite_file(corpus.root + "/train/1.txt", text);
  const std::string model = (corpus.directory / "test.model").string();
  run({"tokenizer", "train", corpus.root, model, "--vocab-size", "300", "--type", "bpe"});
  std::vector<std::string> pack = {"pack", corpus.root + "/train", corpus.packed + "/a.h5", "--tokenizer", model};
  EXPECT_TRUE(holds(message_of<DataError>([&] { run(pack); }), "--allow-lossy packs them all the same:\n  2: byte 3"));
  pack.push_back("--allow-lossy");
  run(pack);
  EXPECT_TRUE(holds(run({"pack", "--check", corpus.packed + "/a.h5"}), "1 of 2 documents do not come back"));
}

TEST(PackCommand, LooksForExistingFilesBeforeItStarts) {
  Corpus corpus;
  fs::create_directory(corpus.packed);
  overwrite_file(corpus.packed + "/validation.h5", "precious");
  EXPECT_TRUE(holds(message_of<WriteError>([&] {
                      run({"pack", corpus.root, corpus.packed});
                    }),
                    "validation.h5: exists already"));
  EXPECT_FALSE(fs::exists(corpus.packed + "/train.h5"));
  EXPECT_EQ(file_content(corpus.packed + "/validation.h5"), "precious");
  run({"pack", corpus.root, corpus.packed, "--force"});
  EXPECT_EQ(TokenFile(corpus.packed + "/validation.h5").document_count(), 1);
}

TEST(PackCommand, ChecksATokenFile) {
  Corpus corpus;
  run({"pack", corpus.root, corpus.packed});
  const std::string file = corpus.packed + "/train.h5";
  EXPECT_TRUE(holds(run({"pack", "--check", file}), "the file is whole"));
  const std::size_t text = file_content(file).find(std::string("t\0e\0x\0t\0", 8));
  ASSERT_NE(text, std::string::npos);
  flip_byte(file, text);
  EXPECT_TRUE(message_of<Error>([&] { run({"pack", "--check", file}); }).starts_with(file));
}

TEST(TokenizerCommand, TrainsAndShowsAModel) {
  Corpus corpus;
  std::string text;
  for (int line = 0; line < 200; ++line) text += "some words that come again and again, line after line\n";
  overwrite_file(corpus.root + "/train/2.txt", text);
  const std::string model = (corpus.directory / "test.model").string();
  run({"tokenizer", "train", corpus.root, model, "--vocab-size", "300", "--type", "bpe"});
  EXPECT_THROW(run({"tokenizer", "train", corpus.root, model, "--vocab-size", "300"}), WriteError);
  EXPECT_EQ(make_tokenizer(model)->vocab_size(), 300);
  EXPECT_TRUE(holds(run({"tokenizer", "info", model}), "vocabulary  300"));

  std::vector<std::string> decode = {"tokenizer", "decode", model};
  std::istringstream tokens(run({"tokenizer", "encode", model, "some  words é"}));
  for (std::string token; tokens >> token;) decode.push_back(token);
  EXPECT_EQ(run(decode), "some  words é\n");

  run({"pack", corpus.root, corpus.packed, "--tokenizer", model});
  fs::remove(model);
  const TokenFile file(corpus.packed + "/train.h5");
  EXPECT_EQ(file.tokenizer()->decode(file.document_tokens(1, 0, 1'000'000)), text);
}

TEST(TokenizerCommand, EncodesBytes) {
  EXPECT_EQ(run({"tokenizer", "encode", "bytes", "hé"}), "104 195 169\n");
  EXPECT_EQ(run({"tokenizer", "encode", "bytes", ""}), "\n");
  EXPECT_EQ(run({"tokenizer", "decode", "bytes", "256", "104", "195", "257"}), "h\xEF\xBF\xBD\n");
  EXPECT_THROW(run({"tokenizer", "decode", "bytes", "300"}), DataError);
}

}  // namespace
}  // namespace palimpsest
