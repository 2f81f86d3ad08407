// Which changes let a run go on, what stops it, which exit code an error has.
#include "launch/training/run_directory.h"

#include <csignal>
#include <filesystem>
#include <string>

#include <sys/stat.h>

#include <gtest/gtest.h>

#include "core/error.h"
#include "launch/output/exit_codes.h"
#include "launch/training/stop_request.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

std::string message_of(const auto& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Resumable, NothingChanged) { EXPECT_TRUE(check_resumable({}, {}).empty()); }

TEST(Resumable, LengthAndCadenceAreFree) {
  RunConfig asked;
  asked.train.steps = 5000;
  asked.train.log_every = 1;
  asked.train.recompute = Recompute::segment;
  asked.train.run_directory = "moved";
  asked.evaluation.every = 3;
  asked.checkpoint.every = 7;
  asked.data.validation = "other";
  EXPECT_TRUE(check_resumable({}, asked).empty());
}

TEST(Resumable, WhatMakesAnotherRunIsRefusedAndShown) {
  const auto refused = [](auto change) {
    RunConfig asked;
    change(asked);
    return message_of([&] { check_resumable({}, asked); });
  };
  EXPECT_NE(refused([](RunConfig& c) { c.model.hidden_size = 64; }).find("model.hidden_size: 512 -> 64"),
            std::string::npos);
  EXPECT_NE(refused([](RunConfig& c) { c.train.seed = 9; }).find("train.seed: 1 -> 9"), std::string::npos);
  EXPECT_NE(refused([](RunConfig& c) { c.train.batch_size = 9; }).find("train.batch_size"), std::string::npos);
  EXPECT_NE(refused([](RunConfig& c) { c.train.sequence_length = 9; }).find("train.sequence_length"),
            std::string::npos);
  EXPECT_NE(refused([](RunConfig& c) { c.train.carry_memory = false; }).find("train.carry_memory"), std::string::npos);
  EXPECT_NE(refused([](RunConfig& c) { c.optimizer.kind = OptimizerKind::adafactor; }).find("optimizer.kind"),
            std::string::npos);
}

TEST(Resumable, TrainsTheSameParametersTowardTheSameWeights) {
  RunConfig saved;
  saved.train.trainable = {"memory"};
  RunConfig asked = saved;
  asked.train.trainable = {"memory", "*norm*"};
  EXPECT_NE(message_of([&] {
              check_resumable(saved, asked);
            }).find("train.trainable: [\"memory\"] -> [\"memory\", \"*norm*\"]"),
            std::string::npos);
  asked = saved;
  asked.optimizer.decay_toward_initial = 0.1;
  for (const auto& [before, after] : {std::pair{saved, asked}, std::pair{asked, saved}}) {
    EXPECT_NE(message_of([&, before = before, after = after] {
                check_resumable(before, after);
              }).find("optimizer.decay_toward_initial"),
              std::string::npos);
  }
  saved.optimizer.decay_toward_initial = 0.2;  // to another strength: the weights to go toward are there
  EXPECT_EQ(check_resumable(saved, asked).size(), 1u);
}

TEST(Resumable, AMixtureKeepsItsSourcesAndWeights) {
  RunConfig saved;
  saved.data.mixture.resize(2);
  RunConfig asked = saved;
  asked.data.mixture[1].file = "moved.h5";
  EXPECT_TRUE(check_resumable(saved, asked).empty()) << "their content counts";
  asked.data.mixture[1].virtual_length = 10;
  EXPECT_EQ(check_resumable(saved, asked), std::vector<std::string>{"data.train[1].virtual_length: 1 -> 10"});
  asked.data.mixture[1].weight = 3;
  EXPECT_NE(message_of([&] { check_resumable(saved, asked); }).find("data.train[1].weight: 1 -> 3"), std::string::npos);
  EXPECT_NE(message_of([&] { check_resumable(saved, {}); }).find("data.train[0].kind: text -> none"),
            std::string::npos);
}

TEST(Resumable, WhatChangesBitsIsNoted) {
  RunConfig asked;
  asked.optimizer.learning_rate = 0.5;
  asked.train.threads = 3;
  const auto noted = check_resumable({}, asked);
  ASSERT_EQ(noted.size(), 2u);
  EXPECT_NE(noted[0].find("train.threads: 0 -> 3"), std::string::npos);
  EXPECT_NE(noted[1].find("optimizer.learning_rate"), std::string::npos);
  asked = {};
  asked.data.virtual_length = 50;
  asked.data.train = asked.data.validation = "elsewhere.h5";
  ASSERT_EQ(check_resumable({}, asked).size(), 1u);
  EXPECT_NE(check_resumable({}, asked)[0].find("data.virtual_length"), std::string::npos);
}

TEST(Resumable, AnotherKindOfDataIsAnotherRun) {
  RunConfig asked;
  asked.data.kind = DataKind::passkey;
  EXPECT_NE(message_of([&] { check_resumable({}, asked); }).find("data.kind: text -> passkey"), std::string::npos);
}

TEST(RunDirectory, NamesWhatItCannotCreate) {
  const std::string message = message_of([] { RunDirectory("/proc/no-such-run").create(); });
  EXPECT_NE(message.find("/proc/no-such-run"), std::string::npos);
}

TEST(Result, TakesThePlaceOfNoDevice) {
  const TemporaryDirectory directory;
  const auto refused = [&](const std::string& name) {
    const std::filesystem::path path = directory / name;
    EXPECT_THROW(require_writable(path), WriteError);
    try {
      write_result(path, "text");
    } catch (const WriteError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  // As /dev/stdout, behind which a file may lie.
  std::filesystem::create_symlink("/proc/self/exe", directory / "stdout");
  EXPECT_NE(refused("stdout").find("stdout: is a link to /proc/self/exe"), std::string::npos);
  std::filesystem::create_symlink("stdout", directory / "link");
  EXPECT_NE(refused("link").find("link: is a link to /proc/self/exe"), std::string::npos);
  EXPECT_TRUE(std::filesystem::is_symlink(directory / "stdout") && std::filesystem::is_symlink(directory / "link"));
  ASSERT_EQ(mkfifo((directory / "pipe").c_str(), 0600), 0);
  EXPECT_NE(refused("pipe").find("pipe: is no regular file"), std::string::npos);
  write_result(directory / "new" / "result", "text");
  std::filesystem::create_symlink("new/result", directory / "latest");
  std::filesystem::create_symlink("circle", directory / "circle");
  for (const char* name : {"new/result", "latest", "circle"}) {
    write_result(directory / name, "other text");
    EXPECT_TRUE(std::filesystem::is_regular_file(std::filesystem::symlink_status(directory / name))) << name;
  }
}

TEST(StopRequest, NotesTheFirstSignalAndSurvivesMore) {
  {
    const StopRequest request;
    EXPECT_EQ(request.signal(), 0);
    raise(SIGTERM);
    raise(SIGINT);
    EXPECT_EQ(request.signal(), SIGTERM);
  }
  const StopRequest next;
  EXPECT_EQ(next.signal(), 0);
}

TEST(ExitCodes, EveryTypedErrorHasItsOwn) {
  EXPECT_EQ(exit_code_of(ConfigError("")), 2);
  EXPECT_EQ(exit_code_of(FileError("")), 3);
  EXPECT_EQ(exit_code_of(DataError("")), 3);
  EXPECT_EQ(exit_code_of(WriteError("")), 4);
  EXPECT_EQ(exit_code_of(NumericalError("")), 5);
  EXPECT_EQ(exit_code_of(CommunicationError("")), 6);
  EXPECT_EQ(exit_code_of(ShapeError("")), 1);
  EXPECT_EQ(exit_code_of(std::runtime_error("")), 1);
}

}  // namespace
}  // namespace palimpsest
