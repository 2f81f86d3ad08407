#include "launch/checkpoint.h"

#include <algorithm>
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
  std::string text = read_text_file(path);
  FileHash hash;
  hash.update(std::as_bytes(std::span(text)));
  const std::string stated = read_text_file(directory / CheckpointManifest::hash_file_name, 4096);
  if (stated.substr(0, stated.find(' ')) != hash.digest()) {
    throw FileError(fmt::format("{}: damaged: its hash is {}, {} says '{}'", path.string(), hash.digest(),
                                CheckpointManifest::hash_file_name, stated.substr(0, stated.find('\n'))));
  }
  return text;
}

void verify(const fs::path& directory, const CheckpointManifest::File& file) {
  const fs::path path = directory / file.name;
  std::error_code error;
  const std::uintmax_t bytes = fs::file_size(path, error);
  if (!error && bytes != file.fingerprint.bytes) {
    throw FileError(
        fmt::format("{}: damaged: {} bytes, the manifest says {}", path.string(), bytes, file.fingerprint.bytes));
  }
  const FileFingerprint found = fingerprint_file(path);
  if (found != file.fingerprint) {
    throw FileError(fmt::format("{}: damaged: its hash is {}, the manifest says {}", path.string(), found.hash,
                                file.fingerprint.hash));
  }
}

}  // namespace

Checkpoint::Checkpoint(fs::path directory, CheckpointManifest manifest)
    : directory_(std::move(directory)), manifest_(std::move(manifest)) {
  for (std::size_t file = 0; file < manifest_.files.size(); ++file) {
    for (const auto& entry : manifest_.files[file].entries) {
      if (!locations_.emplace(entry.name, Location{file, entry}).second) {
        throw FileError(fmt::format("{}: the manifest lists the entry '{}' twice", directory_.string(), entry.name));
      }
    }
  }
}

Checkpoint Checkpoint::open(const fs::path& directory, Communicator& communicator) {
  std::string text;
  agree<FileError>(communicator, [&] {
    if (communicator.is_root()) text = read_manifest(directory);
  });
  text = broadcast_text(communicator, std::move(text), 0);

  CheckpointManifest manifest;
  agree<FileError>(communicator, [&] {
    manifest = CheckpointManifest::from_text(text, directory / CheckpointManifest::file_name);
    const auto ranks = static_cast<std::size_t>(communicator.size());
    for (auto file = static_cast<std::size_t>(communicator.rank()); file < manifest.files.size(); file += ranks) {
      verify(directory, manifest.files[file]);
    }
  });
  return {directory, std::move(manifest)};
}

std::vector<CheckpointManifest::Entry> Checkpoint::entries() const {
  std::vector<CheckpointManifest::Entry> result;
  for (const auto& [name, location] : locations_) result.push_back(location.entry);
  return result;
}

const Checkpoint::Location& Checkpoint::locate(const std::string& name) const {
  const auto found = locations_.find(name);
  if (found == locations_.end()) throw FileError(fmt::format("{}: has no entry '{}'", directory_.string(), name));
  return found->second;
}

void Checkpoint::read(const std::string& name, Tensor& target) const {
  Hdf5File::open(directory_ / manifest_.files[locate(name).file].name).read(name, target);
}

void Checkpoint::read_section(const std::string& section, const StateDictionary& targets) const {
  const std::string prefix = section + "/";
  for (auto entry = locations_.lower_bound(prefix); entry != locations_.end(); ++entry) {
    if (!entry->first.starts_with(prefix)) break;
    if (!targets.contains(std::string_view(entry->first).substr(prefix.size()))) {
      throw FileError(fmt::format("{}: has an entry '{}' that is not expected", directory_.string(), entry->first));
    }
  }
  std::map<std::size_t, Hdf5File> files;  // each opened once
  for (const auto& target : targets) {
    const std::size_t index = locate(prefix + target.name).file;
    auto file = files.find(index);
    if (file == files.end()) {
      file = files.emplace(index, Hdf5File::open(directory_ / manifest_.files[index].name)).first;
    }
    Tensor tensor = target.tensor;
    file->second.read(prefix + target.name, tensor);
  }
}

}  // namespace palimpsest
