#include "launch/checkpoint/checkpoint.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "core/comm/agreement.h"
#include "core/error.h"
#include "core/io/json_file.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

/// The manifest's text, compared with its own hash.
std::string read_manifest(const fs::path& directory) {
  const fs::path path = directory / CheckpointManifest::file_name;
  std::string text = read_text_file(path, CheckpointManifest::max_bytes);
  const std::string stated = read_text_file(directory / CheckpointManifest::hash_file_name, 4096);
  if (const std::string found = CheckpointManifest::hash_line(text); stated != found) {
    throw FileError(fmt::format("{}: damaged: its hash is {}, {} says '{}'", path.string(),
                                found.substr(0, found.find(' ')), CheckpointManifest::hash_file_name,
                                stated.substr(0, stated.find('\n'))));
  }
  return text;
}

}  // namespace

Checkpoint::Checkpoint(fs::path directory, CheckpointManifest manifest)
    : directory_(std::move(directory)), manifest_(std::move(manifest)), entries_(entries_of(manifest_, directory_)) {}

Checkpoint Checkpoint::open(const fs::path& directory, Communicator& communicator) {
  std::string text;
  agree<FileError>(communicator, [&] {
    if (communicator.is_root()) text = read_manifest(directory);
  });
  text = broadcast_text(communicator, std::move(text), 0);

  // The text is the same everywhere, and so is what comes of it.
  return {directory, CheckpointManifest::from_text(text, directory / CheckpointManifest::file_name)};
}

void Checkpoint::require_section(const std::string& section, const std::vector<std::string>& names) const {
  const std::string prefix = section + "/";
  const std::set<std::string> expected(names.begin(), names.end());
  for (auto entry = entries_.lower_bound(prefix); entry != entries_.end(); ++entry) {
    if (!entry->first.starts_with(prefix)) break;
    if (!expected.contains(entry->first.substr(prefix.size()))) {
      throw FileError(fmt::format("{}: has an entry '{}' that is not expected", directory_.string(), entry->first));
    }
  }
  for (const std::string& name : names) {
    if (!entries_.contains(prefix + name)) {
      throw FileError(fmt::format("{}: has no entry '{}'", directory_.string(), prefix + name));
    }
  }
}

std::vector<std::vector<Destination>> Checkpoint::destinations(const StateDictionary& targets) const {
  std::vector<std::vector<Destination>> result(manifest_.files.size());
  for (const StateDictionary::Entry& target : targets) {
    const auto found = entries_.find(target.name);
    if (found == entries_.end()) {
      throw FileError(fmt::format("{}: has no entry '{}'", directory_.string(), target.name));
    }
    const CheckpointEntry& entry = found->second;
    if (entry.shape != target.shape || entry.type != target.tensor.data_type()) {
      throw FileError(fmt::format("{}: entry '{}' is {} {}, expected {} {}", directory_.string(), target.name,
                                  name_of(entry.type), entry.shape.to_string(), name_of(target.tensor.data_type()),
                                  target.shape.to_string()));
    }
    Tensor tensor = target.tensor;
    const std::size_t size = size_of(entry.type);
    for (const auto& [file, slice] : entry.pieces) {
      const std::int64_t first = std::max(slice.begin, target.begin), last = std::min(slice.end, target.end());
      if (first >= last) continue;
      result[file].push_back({slice.offset + static_cast<std::uint64_t>(first - slice.begin) * size,
                              tensor.raw().subspan(static_cast<std::size_t>(first - target.begin) * size,
                                                   static_cast<std::size_t>(last - first) * size)});
    }
  }
  return result;
}

void Checkpoint::read_file(std::size_t index, std::vector<Destination> destinations) const {
  const CheckpointManifest::File& file = manifest_.files[index];
  const fs::path path = directory_ / file.name;
  try {
    read_verified(path, file.fingerprint, std::move(destinations));
  } catch (const FileError& error) {
    std::error_code ignored;
    if (fs::file_size(path, ignored) != file.fingerprint.bytes) throw;
    const std::vector<std::string> damaged = damaged_slices(path, file.slices);
    throw FileError(
        fmt::format("{} (the damage is {})", error.what(),
                    damaged.empty() ? "outside the tensors" : fmt::format("in '{}'", fmt::join(damaged, "', '"))));
  }
}

void Checkpoint::load(const StateDictionary& targets, Communicator& communicator) const {
  agree<FileError>(communicator, [&] {
    std::vector<std::vector<Destination>> wanted = destinations(targets);
    const auto rank = static_cast<std::size_t>(communicator.rank()),
               ranks = static_cast<std::size_t>(communicator.size());
    for (std::size_t file = 0; file < wanted.size(); ++file) {
      if (!wanted[file].empty() || file % ranks == rank) read_file(file, std::move(wanted[file]));
    }
  });
}

}  // namespace palimpsest
