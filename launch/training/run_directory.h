// The directory of a training run:
//   config.yaml     the resolved configuration
//   metrics.jsonl   one JSON object per logged step and evaluation
//   gates.jsonl     the memory gates at some of these steps
//   train.log       what was printed, with the time
//   checkpoints/    step-*: complete checkpoints only
//   heartbeats/     what each rank is doing (launch/ranks/heartbeat.h)
//   tensorboard/    the same numbers as event files (launch/training/event_log.h), if asked for
//   evaluation/     results of `palimpsest eval`, JSON
//   lock            held by the trainer that writes here (launch/training/run_lock.h)
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "configs/run_config.h"

namespace palimpsest {

class RunDirectory {
 public:
  explicit RunDirectory(std::filesystem::path path) : path_(std::move(path)) {}

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path config() const { return path_ / "config.yaml"; }
  std::filesystem::path metrics() const { return path_ / "metrics.jsonl"; }
  std::filesystem::path log() const { return path_ / "train.log"; }
  std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }
  std::filesystem::path heartbeats() const { return path_ / "heartbeats"; }
  std::filesystem::path tensorboard() const { return path_ / "tensorboard"; }
  std::filesystem::path evaluation() const { return path_ / "evaluation"; }

  /// Creates it with its parents. Throws WriteError.
  void create() const;

 private:
  std::filesystem::path path_;
};

/// Writes a result whole or not at all, creating missing parents. Throws WriteError.
void write_result(const std::filesystem::path& path, const std::string& content);

/// Whether a file can come there, as far as that can be told before there is anything to write: what takes hours to
/// compute is not to end at a mistyped path. Throws WriteError.
void require_writable(const std::filesystem::path& path);
/// The same for what write_result will write: creates missing parents.
void require_writable_result(const std::filesystem::path& path);

/// Compares the configuration that a checkpoint was written with to the one it is to be resumed
/// with. Throws ConfigError, listing the differences, when they describe another model, optimiser or
/// order of samples. Returns the differences after which the run goes on, but not to the same
/// bits. What only says when to stop, log, evaluate or save may differ freely.
std::vector<std::string> check_resumable(const RunConfig& saved, const RunConfig& asked);

}  // namespace palimpsest
