// States of a text as files: going on from one is never having stopped; what is damaged or of another model is refused.
#include "launch/inference/generator_file.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/io/hdf5_file.h"
#include "tests/file_damage.h"
#include "tests/launch/tiny_model.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

class GeneratorFileTest : public testing::Test {
 protected:
  std::unique_ptr<LanguageModel> model(AttentionKind kind = AttentionKind::infini, std::uint64_t seed = 7) {
    ModelConfig config = tiny_config();
    config.attention.kind = kind;
    auto model = std::make_unique<LanguageModel>(pool_, config, DataType::float32);
    model->initialize(seed);
    return model;
  }
  Generator reader(const LanguageModel& model, std::size_t bytes) {
    Generator generator(model, tokenizer_, pool_);
    generator.append(tiny_text(bytes, 3));
    generator.read();
    return generator;
  }
  static std::string go_on(Generator& generator, std::int64_t tokens) {
    std::string text;
    generator.generate({.sampling = {.seed = 5, .no_repeat_ngram = 1}, .max_tokens = tokens},
                       [&](std::string_view piece) { text += piece; });
    return text;
  }
  std::string refusal(const LanguageModel& model) {
    return message_of<Error>([&] { open_generator(file_, model, tokenizer_, pool_); });
  }

  MemoryPool pool_;
  ByteTokenizer tokenizer_;
  TemporaryDirectory directory_;
  std::filesystem::path file_ = directory_ / "book.state";
};

TEST_F(GeneratorFileTest, GoingOnIsNeverHavingStopped) {
  for (const AttentionKind kind : {AttentionKind::infini, AttentionKind::local, AttentionKind::full}) {
    const auto model = this->model(kind);
    for (const std::size_t prompt : {0, 20, 63}) {
      Generator never = reader(*model, prompt), generator = reader(*model, prompt);
      const std::string expected = go_on(never, 60);
      std::string text = go_on(generator, 30);
      save_generator(file_, generator);
      Generator other = open_generator(file_, *model, tokenizer_, pool_);
      EXPECT_EQ(other.tokens(), generator.tokens());
      text += go_on(other, 30);
      EXPECT_EQ(text, expected) << "prompt of " << prompt;
      const GeneratorState a = other.state(), b = never.state();
      for (std::size_t i = 0; i < a.decoder.tensors.size(); ++i) {
        EXPECT_EQ(a.decoder.tensors[i].tensor.to_doubles(), b.decoder.tensors[i].tensor.to_doubles());
      }
    }
  }
}

TEST_F(GeneratorFileTest, IsAsLargeAfterMuchAsAfterLittleAndAlwaysTheSame) {
  const auto model = this->model();
  const auto content = [&](std::size_t bytes) {
    save_generator(file_, reader(*model, bytes));
    return file_content(file_);
  };
  const std::string little = content(30);
  EXPECT_EQ(content(3000).size(), little.size());
  EXPECT_EQ(content(30), little);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_.path()), {}), 1);
}

TEST_F(GeneratorFileTest, OfAnotherModelIsRefusedByWhatDiffers) {
  const auto model = this->model();
  save_generator(file_, reader(*model, 30));
  EXPECT_TRUE(holds(refusal(*this->model(AttentionKind::infini, 8)), "hash of its parameters"));
  EXPECT_TRUE(holds(refusal(*this->model(AttentionKind::full)), "attention.kind: infini there"));
  const LanguageModel narrow(pool_, tiny_config(), DataType::bfloat16);
  EXPECT_TRUE(holds(refusal(narrow), "float32 there, bfloat16 here"));
  GeneratorFile content{identity_of(*model, tokenizer_), reader(*model, 30).state()};
  content.identity.tokenizer = "words:1234";
  write_generator_file(file_, content);
  EXPECT_TRUE(holds(refusal(*model), "words:1234 there, bytes here"));
  content.identity.tokenizer = "bytes";
  content.state.decoder.open = {9};
  write_generator_file(file_, content);
  EXPECT_TRUE(holds(refusal(*model), "9 in an open one"));
  EXPECT_TRUE(holds(refusal(*model), "book.state: "));
}

TEST_F(GeneratorFileTest, OptionsThatCameLaterCountWhereTheyAreSet) {
  const auto model = this->model();
  GeneratorFile content{identity_of(*model, tokenizer_), reader(*model, 30).state()};
  std::string& config = content.identity.config;
  const std::string later = "qk_norm: false\n";
  const std::size_t at = config.find(later);
  ASSERT_NE(at, std::string::npos);
  config.erase(at, later.size());
  write_generator_file(file_, content);
  EXPECT_NO_THROW(open_generator(file_, *model, tokenizer_, pool_));
  config += "later_option: 7\n";
  write_generator_file(file_, content);
  EXPECT_TRUE(holds(refusal(*model), "later_option: 7 there, nothing here")) << refusal(*model);
}

TEST_F(GeneratorFileTest, DamagedIsRefused) {
  const auto model = this->model();
  save_generator(file_, reader(*model, 30));
  const std::string whole = file_content(file_);
  for (std::size_t offset = 0; offset < whole.size(); offset += 997) {
    std::string changed = whole;
    changed[offset] = static_cast<char>(changed[offset] ^ 0x10);
    overwrite_file(file_, changed);
    try {  // a byte that belongs to nothing may change
      Generator other = open_generator(file_, *model, tokenizer_, pool_);
      Generator expected = reader(*model, 30);
      EXPECT_EQ(go_on(other, 5), go_on(expected, 5)) << offset;
    } catch (const Error& error) {
      EXPECT_TRUE(holds(error.what(), "book.state")) << error.what();
    }
  }
  for (const std::size_t length : {std::size_t{0}, std::size_t{100}, whole.size() / 2, whole.size() - 1}) {
    overwrite_file(file_, whole.substr(0, length));
    EXPECT_TRUE(holds(refusal(*model), "book.state")) << length;
  }
  std::filesystem::remove(file_);
  EXPECT_TRUE(holds(refusal(*model), "book.state"));
}

TEST_F(GeneratorFileTest, OtherFilesAndVersionsAreRefused) {
  const auto model = this->model();
  write_token_file(file_, {10});
  EXPECT_TRUE(holds(refusal(*model), "is not a state"));
  std::filesystem::remove(file_);
  Hdf5File file = Hdf5File::create(file_);
  file.write_attribute("format", "palimpsest generator state");
  file.write_attribute("format_version", 3);
  file.close();
  EXPECT_TRUE(holds(refusal(*model), "version 3"));
}

TEST_F(GeneratorFileTest, WhatCannotBeWrittenLeavesTheEarlierOne) {
  const auto model = this->model();
  EXPECT_THROW(save_generator(directory_ / "no/such/folder.state", reader(*model, 3)), WriteError);
  EXPECT_THROW(save_generator(directory_.path(), reader(*model, 3)), WriteError);
}

}  // namespace
}  // namespace palimpsest
