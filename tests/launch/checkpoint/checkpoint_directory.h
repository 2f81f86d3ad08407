// A directory for checkpoints, saves into it by one process, and what its readers have warned of.
#pragma once

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include "launch/checkpoint/checkpointer.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {

class CheckpointDirectoryTest : public ::testing::Test {
 protected:
  CheckpointDirectoryTest() {
    before_ = spdlog::default_logger();
    spdlog::set_default_logger(
        std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log_)));
  }
  ~CheckpointDirectoryTest() override { spdlog::set_default_logger(before_); }

  Tensor tensor(double value, Shape shape = Shape{2, 3}, DataType type = DataType::float32) {
    Tensor result(pool_, shape, type);
    fill(result, value);
    return result;
  }
  CheckpointStore store(std::int64_t keep_last = 0, std::int64_t keep_every = 0) const {
    return CheckpointStore(checkpoints_, {keep_last, keep_every});
  }
  /// The newest whole checkpoint, with everything verified.
  std::optional<Checkpoint> newest() {
    return store().newest(*communicator_, [&](const Checkpoint& found) { found.verify(*communicator_); });
  }
  std::filesystem::path path_of(std::int64_t step) const { return checkpoints_ / checkpoint_directory_name(step); }
  /// Saves a checkpoint whose tensors hold the step's number.
  Checkpointer::Outcome save(std::int64_t step, std::int64_t keep_last = 0, std::int64_t keep_every = 0,
                             bool asynchronous = true) {
    StateDictionary replicated, owned;
    replicated.add("parameters/a.weight", tensor(static_cast<double>(step)));
    replicated.add("optimizer/a.weight/variance", tensor(static_cast<double>(step) / 2, Shape{7}, DataType::float64));
    owned.add("memory/lane-00001/layers.0/matrix", tensor(static_cast<double>(step) + 1, Shape{2, 2}));
    const nlohmann::json state = {{"cursor", {{"lane", 3}, {"offset", 1234567890123}}}, {"loss_scale", 0.1}};
    return Checkpointer(store(keep_last, keep_every), *communicator_, asynchronous)
        .save(step, replicated, owned, state, "model:\n  hidden_size: 8\n");
  }
  void save_whole(const StateDictionary& replicated) {
    Checkpointer(store(), *communicator_, /*asynchronous=*/false).save(1, replicated, {}, {}, "");
  }
  double first_value(const Checkpoint& checkpoint) {
    StateDictionary target;
    target.add("parameters/a.weight", tensor(-1));
    checkpoint.load(target, *communicator_);
    return target.at("parameters/a.weight").to_doubles()[0];
  }
  std::string warnings() const { return log_.str(); }
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const auto& entry : std::filesystem::directory_iterator(checkpoints_))
      result.push_back(entry.path().filename().string());
    std::sort(result.begin(), result.end());
    return result;
  }

  TemporaryDirectory directory_;
  std::filesystem::path checkpoints_ = directory_ / "run" / "checkpoints";
  MemoryPool pool_;
  std::unique_ptr<Communicator> communicator_ = single_process();
  std::ostringstream log_;
  std::shared_ptr<spdlog::logger> before_;
};

}  // namespace palimpsest
