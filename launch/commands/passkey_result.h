// The result file of `palimpsest passkey`: what is there is not read again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/comm/communicator.h"
#include "launch/inference/passkey_evaluation.h"

namespace palimpsest {

/// docs/file-formats.md has its keys. Cells that are not asked for stay in it.
class PasskeyResult {
 public:
  /// An empty path: there is no file, and none is written. `task`: what samples depend on beside length, depth and
  /// number.
  PasskeyResult(std::filesystem::path path, nlohmann::ordered_json task)
      : path_(std::move(path)), task_(std::move(task)) {}

  const std::filesystem::path& path() const { return path_; }

  /// Collective: what rank 0 finds counts. Returns how many samples of the cells were there; with `again` they are not
  /// taken. Throws FileError when the file is no result, and, without `again`, ConfigError when it is that of another
  /// task.
  std::int64_t load(std::vector<PasskeyCell>& cells, bool again, Communicator& communicator);

  /// Throws WriteError.
  void save(const std::vector<PasskeyCell>& cells) const;

 private:
  std::filesystem::path path_;
  nlohmann::ordered_json task_;
  std::vector<PasskeyCell> others_;
};

}  // namespace palimpsest
