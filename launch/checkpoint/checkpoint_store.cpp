#include "launch/checkpoint/checkpoint_store.h"

#include <algorithm>
#include <set>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "core/comm/agreement.h"
#include "core/error.h"
#include "core/io/atomic_directory.h"
#include "core/io/json_file.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view hint_name = "latest";

/// Removes a directory in such a way that it never stands there half removed under its own name.
void remove_checkpoint(const fs::path& path) {
  const fs::path doomed = AtomicDirectory::temporary_for(path);
  fs::remove_all(doomed);
  if (const auto error = rename_into_place(path, doomed))
    throw fs::filesystem_error("cannot rename", path, doomed, error);
  fs::remove_all(doomed);
}

}  // namespace

CheckpointStore::CheckpointStore(fs::path directory, CheckpointRetention retention, Warn warn)
    : directory_(std::move(directory)), retention_(retention), warn_(std::move(warn)) {
  if (!warn_) warn_ = [](const std::string& text) { spdlog::warn("{}", text); };
}

fs::path CheckpointStore::path_of(std::int64_t step) const {
  const fs::path path = directory_ / checkpoint_directory_name(step);
  // Where a file system cannot exchange names, a crash in between leaves the earlier one so.
  const fs::path replaced = path.string() + std::string(replaced_suffix);
  std::error_code error;
  return !fs::exists(path, error) && fs::exists(replaced, error) ? replaced : path;
}

/// The names in the directory; none when it does not exist.
std::vector<fs::path> CheckpointStore::contents() const {
  std::vector<fs::path> result;
  std::error_code error;
  for (fs::directory_iterator entry(directory_, error), end; !error && entry != end; entry.increment(error)) {
    result.push_back(entry->path());
  }
  if (error == std::errc::no_such_file_or_directory) return {};
  if (error) throw FileError(fmt::format("{}: cannot list: {}", directory_.string(), error.message()));
  std::sort(result.begin(), result.end());
  return result;
}

std::vector<std::int64_t> CheckpointStore::steps() const {
  std::set<std::int64_t> result;
  for (const fs::path& path : contents()) {
    std::string name = path.filename().string();
    if (name.ends_with(replaced_suffix)) name.resize(name.size() - replaced_suffix.size());
    const std::int64_t step = checkpoint_step(name);
    if (step >= 0) result.insert(step);
  }
  return {result.begin(), result.end()};
}

std::vector<fs::path> CheckpointStore::leftovers() const {
  std::vector<fs::path> result;
  for (const fs::path& path : contents()) {
    const std::string name = path.filename().string();
    std::error_code error;
    const bool replaced = name.ends_with(replaced_suffix) &&
                          fs::exists(directory_ / name.substr(0, name.size() - replaced_suffix.size()), error);
    if (name.starts_with(temporary_prefix) || replaced) result.push_back(path);
  }
  return result;
}

std::vector<std::string> CheckpointStore::tidy_up(std::int64_t step) const {
  std::vector<std::string> failures;
  const auto attempt = [&](const fs::path& path, const auto& action) {
    try {
      action();
    } catch (const std::exception& error) {
      failures.push_back(fmt::format("tidying up {}: {}", path.string(), error.what()));
    }
  };
  attempt(directory_ / hint_name,
          [&] { write_file_atomically(directory_ / hint_name, checkpoint_directory_name(step) + "\n"); });
  std::vector<std::int64_t> kept;
  attempt(directory_, [&] { kept = steps(); });
  // Later ones can only be damaged ones that `newest` passed over: they must not push out this one.
  std::erase_if(kept, [&](std::int64_t other) { return other > step; });
  const auto last = static_cast<std::size_t>(retention_.keep_last);
  for (std::size_t i = 0; last > 0 && i + last < kept.size(); ++i) {
    if (retention_.keep_every > 0 && kept[i] % retention_.keep_every == 0) continue;
    attempt(path_of(kept[i]), [&] { remove_checkpoint(path_of(kept[i])); });
  }
  attempt(directory_, [&] {
    for (const fs::path& left : leftovers()) attempt(left, [&] { fs::remove_all(left); });
  });
  return failures;
}

/// Rank 0 decides what there is: directories listed over a network may differ for a while.
std::vector<std::int64_t> CheckpointStore::agreed_steps(Communicator& communicator) const {
  std::string listing;
  agree<FileError>(communicator, [&] {
    if (communicator.is_root()) listing = nlohmann::json(steps()).dump();
  });
  listing = broadcast_text(communicator, std::move(listing), 0);
  return nlohmann::json::parse(listing).get<std::vector<std::int64_t>>();
}

Checkpoint CheckpointStore::open(std::int64_t step, Communicator& communicator, const Load& load) const {
  std::string path = communicator.is_root() ? path_of(step).string() : std::string();
  path = broadcast_text(communicator, std::move(path), 0);
  Checkpoint found = Checkpoint::open(path, communicator);
  if (found.step() != step) throw FileError(fmt::format("{}: is a checkpoint of step {}", path, found.step()));
  load(found);
  return found;
}

std::optional<Checkpoint> CheckpointStore::newest(Communicator& communicator, const Load& load) const {
  const std::vector<std::int64_t> candidates = agreed_steps(communicator);
  agree<FileError>(communicator, [&] {
    if (!communicator.is_root()) return;
    for (const fs::path& left : leftovers()) {
      warn_(fmt::format("{}: left by an interrupted save, ignored", left.string()));
    }
    const fs::path hint = directory_ / hint_name;
    std::error_code error;
    if (candidates.empty() && fs::exists(hint, error)) {
      throw FileError(
          fmt::format("{}: says that there was a checkpoint, and there is none any more; restore one, or "
                      "remove this file to start afresh",
                      hint.string()));
    }
  });

  std::string reasons;
  for (auto step = candidates.rbegin(); step != candidates.rend(); ++step) {
    try {
      return open(*step, communicator, load);
    } catch (const FileError& error) {
      if (communicator.is_root()) {
        warn_(fmt::format("passing over a checkpoint that is not whole: {}", error.what()));
      }
      reasons += fmt::format("\n  {}", error.what());
    }
  }
  if (candidates.empty()) return std::nullopt;
  throw FileError(fmt::format("{}: none of the {} checkpoints is whole; restore one, or remove them to start afresh:{}",
                              directory_.string(), candidates.size(), reasons));
}

Checkpoint CheckpointStore::at(std::int64_t step, Communicator& communicator, const Load& load) const {
  const std::vector<std::int64_t> there = agreed_steps(communicator);
  if (!std::binary_search(there.begin(), there.end(), step)) {
    throw FileError(fmt::format(
        "{}: there is no checkpoint of step {}{}", directory_.string(), step,
        there.empty() ? ", nor of any other" : fmt::format("; there are those of {}", fmt::join(there, ", "))));
  }
  return open(step, communicator, load);
}

}  // namespace palimpsest
