// The model that a run learns from: what of it is taken, and what is refused.
#include "launch/training/teacher.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "launch/benchmark/benchmark.h"
#include "tests/file_damage.h"
#include "tests/launch/tiny_model.h"

namespace palimpsest {
namespace {

class TeacherTest : public testing::Test {
 protected:
  TeacherTest() {
    config_.model = tiny_config();
    config_.distillation.share = 0.5;
    config_.train.initial_weights = "begun-with";
  }
  std::optional<Teacher> open(const ModelConfig& of_stored, const std::vector<std::string>& made_up = {}) {
    const auto open_stored = [&](const std::filesystem::path& path, Communicator&, MemoryPool& pool) {
      StoredModel stored{
          .path = path, .config = {}, .tokenizer_identity = "bytes", .model = nullptr, .made_up = made_up};
      stored.config.model = of_stored;
      stored.model = std::make_unique<LanguageModel>(pool, of_stored, DataType::float32);
      stored.model->initialize(seed_);
      return stored;
    };
    return open_teacher(config_, open_stored, tokenizer_, DataType::float32, pool_, *communicator_);
  }

  MemoryPool pool_;
  RunConfig config_;
  std::string tokenizer_ = "bytes";
  std::uint64_t seed_ = 1;
  std::unique_ptr<Communicator> communicator_ = single_process();
};

TEST_F(TeacherTest, IsAModelOfItsOwnShapeThatSeesAllOfADocument) {
  ModelConfig wider = tiny_config();
  wider.hidden_size = 24;
  wider.attention.memory_decay = true;
  const std::optional<Teacher> teacher = open(wider);
  ASSERT_TRUE(teacher);
  EXPECT_EQ(teacher->path, "begun-with");
  const ModelConfig& model = teacher->model->config();
  EXPECT_EQ(model.hidden_size, 24);
  EXPECT_EQ(model.attention, AttentionConfig{.kind = AttentionKind::full});
  EXPECT_EQ(model.segment_length, 8);
  for (const Parameter& parameter : teacher->model->parameters()) {
    EXPECT_FALSE(parameter.trained());
    EXPECT_FALSE(parameter.name.find("memory") != std::string::npos);
  }
  LanguageModel stored(pool_, wider, DataType::float32);
  stored.initialize(1);
  EXPECT_EQ(teacher->model->parameters().find("layers.1.mlp.up_proj.weight").master.to_doubles(),
            stored.parameters().find("layers.1.mlp.up_proj.weight").master.to_doubles());
  config_.distillation = {.share = 1, .teacher = "named", .attention = AttentionKind::local, .window = 32};
  const std::optional<Teacher> named = open(wider);
  EXPECT_EQ(named->path, "named");
  EXPECT_EQ(named->model->config().segment_length, 32);
  EXPECT_EQ(named->model->config().attention.kind, AttentionKind::local);
  config_.distillation.share = 0;
  EXPECT_FALSE(open(wider));
}

TEST_F(TeacherTest, KnowsTheRunsTokensAndHasAllParameters) {
  ModelConfig other = tiny_config();
  other.vocab_size = 300;
  EXPECT_TRUE(
      holds(message_of<ConfigError>([&] { open(other); }), "its vocabulary 300, those of this run bytes and 258"));
  EXPECT_TRUE(holds(message_of<ConfigError>([&] { open(tiny_config(), {"layers.0.mlp.up_proj.weight"}); }),
                    "train.initial_weights begun-with: the teacher has no parameter layers.0.mlp.up_proj.weight"));
  EXPECT_TRUE(open(tiny_config(), {"layers.0.self_attn.memory_gate"}));
  tokenizer_ = "words";
  EXPECT_TRUE(holds(message_of<ConfigError>([&] { open(tiny_config()); }), "tokenizer is bytes"));
}

TEST_F(TeacherTest, ThatIsGoneIsNamed) {
  const auto gone = [&] {
    const auto open_stored = [](const std::filesystem::path& path, Communicator&, MemoryPool&) -> StoredModel {
      throw FileError(path.string() + ": no such file or directory");
    };
    open_teacher(config_, open_stored, tokenizer_, DataType::float32, pool_, *communicator_);
  };
  EXPECT_EQ(message_of<FileError>(gone),
            "begun-with: no such file or directory (the teacher, train.initial_weights begun-with)");
  config_.distillation.teacher = "named";
  EXPECT_EQ(message_of<FileError>(gone), "named: no such file or directory (the teacher, distillation.teacher named)");
}

TEST_F(TeacherTest, NothingThatIsSaidOfItIsIgnored) {
  EXPECT_NO_THROW(validate(config_));
  config_.distillation.window = 24;
  EXPECT_TRUE(holds(message_of<ConfigError>([&] { validate(config_); }),
                    "distillation.window 24 needs distillation.attention local, found full"));
  config_.distillation.attention = AttentionKind::local;
  EXPECT_NO_THROW(validate(config_));
  EXPECT_TRUE(holds(message_of<ConfigError>([&] { run_benchmark(config_, {}, *communicator_); }),
                    "bench measures training without a teacher: distillation.share is 0.5"));
  config_.distillation.share = 0;
  config_.data.kind = DataKind::queries;
  config_.data.queries.contrast.weight = 0.25;
  EXPECT_TRUE(holds(message_of<ConfigError>([&] { run_benchmark(config_, {}, *communicator_); }),
                    "bench measures training without contrast: data.contrast is 0.25"));
}

TEST_F(TeacherTest, IsTheSameWhenARunResumes) {
  const std::optional<Teacher> first = open(tiny_config()), again = open(tiny_config());
  EXPECT_NO_THROW(TeacherComponent(*again).restore(TeacherComponent(*first).state()));
  seed_ = 2;
  const std::optional<Teacher> other = open(tiny_config());
  EXPECT_TRUE(
      holds(message_of<ConfigError>([&] { TeacherComponent(*other).restore(TeacherComponent(*first).state()); }),
            "the run's teacher was begun-with, whose weights are not those of begun-with now"));
}

}  // namespace
}  // namespace palimpsest
