// The directory with the checkpoints of one run: what is there, which of them to read, which to keep.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "launch/checkpoint/checkpoint.h"

namespace palimpsest {

struct CheckpointRetention {
  std::int64_t keep_last = 0;   // how many of the newest; 0: all
  std::int64_t keep_every = 0;  // for ever, those whose step is a multiple of this; 0: none
};

class CheckpointStore {
 public:
  using Warn = std::function<void(const std::string&)>;

  /// `warn` is told what is passed over, on the rank that it is given to; by default spdlog is, on rank 0.
  explicit CheckpointStore(std::filesystem::path directory, CheckpointRetention retention = {}, Warn warn = {});

  const std::filesystem::path& directory() const { return directory_; }
  std::filesystem::path path_of(std::int64_t step) const;
  /// Steps of the checkpoints that are there, whole or not, ascending. Throws FileError.
  std::vector<std::int64_t> steps() const;

  /// Takes from a checkpoint what it needs, by Checkpoint::load. Collective.
  using Load = std::function<void(const Checkpoint&)>;

  /// Collective. The newest checkpoint that `load` accepts: each one that is not whole, or for which `load`
  /// throws a FileError, is passed over with a warning that says why. Nothing when there are no checkpoints;
  /// FileError when there are some and none is good, or when `latest` says that there were some.
  std::optional<Checkpoint> newest(Communicator& communicator, const Load& load) const;
  /// Collective. The checkpoint of that step. Throws FileError, naming the steps that there are, when it
  /// is missing, and when it is not whole.
  Checkpoint at(std::int64_t step, Communicator& communicator, const Load& load) const;

  /// After a checkpoint of `step` has become durable: `latest` names it, those beyond the retention go, and so does
  /// what interrupted saves left behind. Returns what could not be done.
  std::vector<std::string> tidy_up(std::int64_t step) const;

 private:
  std::vector<std::filesystem::path> contents() const;
  /// What interrupted saves left.
  std::vector<std::filesystem::path> leftovers() const;
  std::vector<std::int64_t> agreed_steps(Communicator& communicator) const;
  Checkpoint open(std::int64_t step, Communicator& communicator, const Load& load) const;

  std::filesystem::path directory_;
  CheckpointRetention retention_;
  Warn warn_;
};

}  // namespace palimpsest
