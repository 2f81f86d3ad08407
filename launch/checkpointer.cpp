#include "launch/checkpointer.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <span>
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

CheckpointManifest::Entry describe(const StateDictionary::Entry& entry) {
  return {entry.name, entry.tensor.shape(), std::string(name_of(entry.tensor.data_type()))};
}

/// Writes this rank's share of a checkpoint.
CheckpointManifest::File write_file(const fs::path& directory, int rank, int ranks, const StateDictionary& replicated,
                                    const StateDictionary& owned) {
  CheckpointManifest::File result;
  result.name = checkpoint_file_name(rank);
  const fs::path path = directory / result.name;
  Hdf5File file = Hdf5File::create(path);
  const auto write = [&](const StateDictionary::Entry& entry) {
    file.write(entry.name, entry.tensor);
    result.entries.push_back(describe(entry));
  };
  const std::vector<int> writers = assign_entries(replicated, ranks);
  for (std::size_t i = 0; i < writers.size(); ++i) {
    if (writers[i] == rank) write(replicated.entries()[i]);
  }
  for (const auto& entry : owned) write(entry);
  file.close();
  synchronize_to_disk(path);
  result.fingerprint = fingerprint_file(path);
  return result;
}

/// Every entry has to be there once, in a file that this rank sees too.
void check_complete(const fs::path& directory, const std::vector<CheckpointManifest::File>& files,
                    const StateDictionary& replicated) {
  std::set<std::string> names;
  for (std::size_t rank = 0; rank < files.size(); ++rank) {
    std::error_code error;
    const std::uintmax_t bytes = fs::file_size(directory / files[rank].name, error);
    if (error || bytes != files[rank].fingerprint.bytes) {
      throw WriteError(
          fmt::format("{}: rank {} wrote {} bytes there, rank 0 sees {}. Checkpoints need a file system "
                      "that all hosts share",
                      (directory / files[rank].name).string(), rank, files[rank].fingerprint.bytes,
                      error ? "no file" : fmt::format("{} bytes", bytes)));
    }
    for (const auto& entry : files[rank].entries) {
      if (!names.insert(entry.name).second) {
        throw WriteError(fmt::format("{}: the entry '{}' was written twice", directory.string(), entry.name));
      }
    }
  }
  for (const auto& entry : replicated) {
    if (!names.contains(entry.name)) {
      throw WriteError(fmt::format("{}: no rank wrote the entry '{}'", directory.string(), entry.name));
    }
  }
}

void write_manifest(const fs::path& directory, const CheckpointManifest& manifest) {
  const std::string text = manifest.to_text();
  FileHash hash;
  hash.update(std::as_bytes(std::span(text)));
  write_file_atomically(directory / CheckpointManifest::hash_file_name,
                        fmt::format("{}  {}\n", hash.digest(), CheckpointManifest::file_name));
  write_file_atomically(directory / CheckpointManifest::file_name, text);
}

/// Removes a directory in such a way that it never stands there half removed under its own name.
void remove_checkpoint(const fs::path& path) {
  const fs::path doomed = AtomicDirectory::temporary_for(path);
  fs::remove_all(doomed);
  fs::rename(path, doomed);
  fs::remove_all(doomed);
}

}  // namespace

std::vector<int> assign_entries(const StateDictionary& entries, int ranks) {
  std::vector<std::size_t> order(entries.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto bytes = [&](std::size_t i) { return entries.entries()[i].tensor.bytes(); };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return bytes(a) > bytes(b); });
  std::set<std::pair<std::size_t, int>> loads;  // (bytes, rank), the lightest first
  for (int rank = 0; rank < ranks; ++rank) loads.emplace(0, rank);
  std::vector<int> result(entries.size());
  for (const std::size_t i : order) {
    const auto [load, rank] = *loads.begin();
    loads.erase(loads.begin());
    loads.emplace(load + bytes(i), rank);
    result[i] = rank;
  }
  return result;
}

Checkpointer::Checkpointer(fs::path directory, Communicator& communicator, std::int64_t keep_last)
    : directory_(std::move(directory)), communicator_(communicator), keep_last_(keep_last) {}

fs::path Checkpointer::path_of(std::int64_t step) const { return directory_ / checkpoint_directory_name(step); }

void Checkpointer::save(std::int64_t step, const StateDictionary& replicated, const StateDictionary& owned,
                        const nlohmann::json& training_state, const std::string& config_yaml) {
  const fs::path temporary = AtomicDirectory::temporary_for(path_of(step));
  std::optional<AtomicDirectory> building;  // on rank 0; removed again on every way out but commit
  agree<WriteError>(communicator_, [&] {
    if (communicator_.is_root()) building.emplace(path_of(step), AtomicDirectory::Existing::replace);
  });

  std::string description;
  agree<WriteError>(communicator_, [&] {
    const auto file = write_file(temporary, communicator_.rank(), communicator_.size(), replicated, owned);
    description = CheckpointManifest::file_to_json(file).dump();
  });

  const auto descriptions = communicator_.all_gather(std::as_bytes(std::span(description)));
  agree<WriteError>(communicator_, [&] {
    if (!communicator_.is_root()) return;
    CheckpointManifest manifest{step, {}, training_state, config_yaml};
    for (const auto& bytes : descriptions) {
      const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      manifest.files.push_back(CheckpointManifest::file_from_json(nlohmann::json::parse(text)));
    }
    check_complete(temporary, manifest.files, replicated);
    write_manifest(temporary, manifest);
    building->commit();
    tidy_up(step);
  });
}

void Checkpointer::tidy_up(std::int64_t step) {
  // The checkpoint is safe by now: nothing below may turn the save into a failure.
  try {
    write_file_atomically(directory_ / hint_name, checkpoint_directory_name(step) + "\n");
    std::vector<std::int64_t> kept = steps();
    // Later ones can only be damaged ones that `newest` passed over: they must not push out this one.
    std::erase_if(kept, [&](std::int64_t other) { return other > step; });
    for (std::size_t i = 0; keep_last_ > 0 && i + static_cast<std::size_t>(keep_last_) < kept.size(); ++i) {
      remove_checkpoint(path_of(kept[i]));
    }
    for (const fs::path& left : leftovers()) fs::remove_all(left);
  } catch (const std::exception& error) {
    spdlog::warn("checkpoint {} is saved, but tidying up failed: {}", path_of(step).string(), error.what());
  }
}

/// The names in the directory; none when it does not exist.
std::vector<fs::path> Checkpointer::contents() const {
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

std::vector<std::int64_t> Checkpointer::steps() const {
  std::vector<std::int64_t> result;
  for (const fs::path& path : contents()) {
    const std::int64_t step = checkpoint_step(path.filename().string());
    if (step >= 0) result.push_back(step);
  }
  std::sort(result.begin(), result.end());
  return result;
}

std::vector<fs::path> Checkpointer::leftovers() const {
  std::vector<fs::path> result = contents();
  std::erase_if(result, [](const fs::path& path) { return !path.filename().string().starts_with(temporary_prefix); });
  return result;
}

std::optional<Checkpoint> Checkpointer::newest() {
  std::string listing;
  agree<FileError>(communicator_, [&] {
    if (!communicator_.is_root()) return;
    for (const fs::path& left : leftovers()) spdlog::warn("{}: left by an interrupted save, ignored", left.string());
    listing = nlohmann::json(steps()).dump();
  });
  // Rank 0 decides what there is: directories listed over a network may differ for a while.
  listing = broadcast_text(communicator_, std::move(listing), 0);
  std::vector<std::int64_t> candidates = nlohmann::json::parse(listing).get<std::vector<std::int64_t>>();
  std::reverse(candidates.begin(), candidates.end());

  std::string reasons;
  for (const std::int64_t step : candidates) {
    try {
      Checkpoint found = Checkpoint::open(path_of(step), communicator_);
      if (found.step() == step) return found;
      throw FileError(fmt::format("{}: is a checkpoint of step {}", path_of(step).string(), found.step()));
    } catch (const FileError& error) {
      if (communicator_.is_root()) spdlog::warn("passing over a checkpoint that is not whole: {}", error.what());
      reasons += fmt::format("\n  {}", error.what());
    }
  }
  if (candidates.empty()) return std::nullopt;
  throw FileError(fmt::format("{}: none of the {} checkpoints is whole; restore one, or remove them to start afresh:{}",
                              directory_.string(), candidates.size(), reasons));
}

}  // namespace palimpsest
