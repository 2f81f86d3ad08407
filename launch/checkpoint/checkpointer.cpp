#include "launch/checkpoint/checkpointer.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <set>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "core/comm/agreement.h"
#include "core/elapsed.h"
#include "core/error.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

/// Every entry has to be there whole, in files that this rank sees too.
void check_complete(const fs::path& directory, const CheckpointManifest& manifest,
                    const std::vector<std::string>& replicated) {
  for (std::size_t rank = 0; rank < manifest.files.size(); ++rank) {
    const CheckpointManifest::File& file = manifest.files[rank];
    std::error_code error;
    const std::uintmax_t bytes = fs::file_size(directory / file.name, error);
    if (error || bytes != file.fingerprint.bytes) {
      throw WriteError(
          fmt::format("{}: rank {} wrote {} bytes there, rank 0 sees {}. Checkpoints need a file system "
                      "that all hosts share",
                      (directory / file.name).string(), rank, file.fingerprint.bytes,
                      error ? "no file" : fmt::format("{} bytes", bytes)));
    }
  }
  const auto entries = entries_of(manifest, directory);
  for (const std::string& name : replicated) {
    if (!entries.contains(name)) {
      throw WriteError(fmt::format("{}: no rank wrote the entry '{}'", directory.string(), name));
    }
  }
}

void write_manifest(const fs::path& directory, const CheckpointManifest& manifest) {
  const std::string text = manifest.to_text();
  write_file_atomically(directory / CheckpointManifest::hash_file_name, CheckpointManifest::hash_line(text));
  write_file_atomically(directory / CheckpointManifest::file_name, text);
}

/// How many of `replicated_bytes` each rank takes so that the fullest rank has as little as possible.
std::vector<std::uint64_t> fill_up(std::uint64_t replicated_bytes, const std::vector<std::uint64_t>& owned) {
  std::vector<std::uint64_t> sorted = owned;
  std::sort(sorted.begin(), sorted.end());
  // The `count` ranks that own least are filled to one level.
  std::uint64_t sum = 0, level = 0;
  for (std::size_t count = 1; count <= sorted.size(); ++count) {
    sum += sorted[count - 1];
    level = (replicated_bytes + sum + count - 1) / count;
    if (count == sorted.size() || level <= sorted[count]) break;
  }
  std::vector<std::uint64_t> result;
  std::uint64_t left = replicated_bytes;
  for (const std::uint64_t bytes : owned) {
    result.push_back(std::min(left, level > bytes ? level - bytes : 0));
    left -= result.back();
  }
  return result;
}

}  // namespace

StateDictionary share_of(const StateDictionary& replicated, const std::vector<std::uint64_t>& owned_bytes, int rank) {
  const std::vector<std::uint64_t> parts = fill_up(replicated.bytes(), owned_bytes);
  const std::uint64_t begin = std::accumulate(parts.begin(), parts.begin() + rank, std::uint64_t{0});
  const std::uint64_t end = begin + parts[static_cast<std::size_t>(rank)];
  const bool last = end == replicated.bytes();
  StateDictionary share;
  std::uint64_t position = 0;  // of the entry, among the bytes of all
  for (const StateDictionary::Entry& entry : replicated) {
    const std::uint64_t bytes = entry.tensor.bytes(), size = size_of(entry.tensor.data_type());
    // An element belongs to the rank to whose part its first byte belongs, an empty tensor to the first rank.
    const auto element_at = [&](std::uint64_t border) {
      return static_cast<std::int64_t>((std::clamp(border, position, position + bytes) - position + size - 1) / size);
    };
    const std::int64_t first = element_at(begin), behind = last ? entry.tensor.elements() : element_at(end);
    if (first < behind || (bytes == 0 && rank == 0)) share.add(entry.slice(first, behind));
    position += bytes;
  }
  return share;
}

struct Checkpointer::Save {
  enum class Stage { writing, publishing, failed };

  Stage stage = Stage::writing;
  Outcome outcome;
  fs::path temporary;
  std::optional<AtomicDirectory> building;  // on rank 0; removed again on every way out but commit
  StateDictionary entries;                  // that this rank writes
  std::vector<std::string> replicated;      // the names
  nlohmann::json training_state;
  std::string config_yaml;
  CheckpointManifest::File file;       // what this rank has written
  std::optional<BackgroundTask> task;  // last: it uses the others
};

Checkpointer::Checkpointer(CheckpointStore store, Communicator& communicator, bool asynchronous, Enter enter)
    : store_(std::move(store)), communicator_(communicator), asynchronous_(asynchronous), enter_(std::move(enter)) {}

Checkpointer::~Checkpointer() = default;

void Checkpointer::prepare(std::uint64_t bytes) {
  if (!asynchronous_ || bytes == 0) return;
  preparation_.emplace([this, bytes] {
    constexpr std::uint64_t page = 4096;
    const std::shared_ptr<std::byte> block = copies_.allocate(bytes);
    for (std::uint64_t i = 0; i < bytes; i += page) block.get()[i] = std::byte{0};
  });
}

void Checkpointer::start(std::int64_t step, const StateDictionary& replicated, const StateDictionary& owned,
                         const nlohmann::json& training_state, const std::string& config_yaml) {
  if (busy()) throw WriteError(fmt::format("the checkpoint of step {} is still being saved", save_->outcome.step));
  const Clock::time_point begin = Clock::now();
  preparation_.reset();
  save_ = std::make_unique<Save>();
  Save& save = *save_;
  save.outcome.step = step;
  save.training_state = training_state;
  save.config_yaml = config_yaml;
  for (const auto& entry : replicated) save.replicated.push_back(entry.name);
  const fs::path destination = store_.directory() / checkpoint_directory_name(step);
  save.temporary = AtomicDirectory::temporary_for(destination);

  enter_(Phase::communication);
  const std::uint64_t own = owned.bytes();
  std::vector<std::uint64_t> owned_bytes;
  for (const auto& bytes : communicator_.all_gather(std::as_bytes(std::span(&own, 1)))) {
    std::memcpy(&owned_bytes.emplace_back(), bytes.data(), sizeof(std::uint64_t));
  }
  const auto failure = failure_of_any(communicator_, [&] {
    if (communicator_.is_root()) save.building.emplace(destination, AtomicDirectory::Existing::replace);
    StateDictionary entries = share_of(replicated, owned_bytes, communicator_.rank());
    for (const auto& entry : owned) entries.add(entry);
    save.entries = asynchronous_ ? copy_of(entries, copies_) : std::move(entries);
  });
  save.outcome.error = failure;
  save.outcome.seconds = save.outcome.seconds_waited = seconds_since(begin);
  if (failure) {
    save.stage = Save::Stage::failed;
    return;
  }
  save.task.emplace([this, alone = communicator_.size() == 1] {
    write_file();
    if (alone) publish({CheckpointManifest::file_to_json(save_->file).dump()});  // nobody to wait for
  });
}

void Checkpointer::write_file() {
  const Clock::time_point begin = Clock::now();
  save_->file.name = checkpoint_file_name(communicator_.rank());
  TensorFile written = write_tensor_file(save_->temporary / save_->file.name, save_->entries);
  save_->file.fingerprint = std::move(written.fingerprint);
  save_->file.slices = std::move(written.slices);
  save_->outcome.seconds += seconds_since(begin);
}

std::vector<std::string> Checkpointer::gather_descriptions() {
  const std::string own = CheckpointManifest::file_to_json(save_->file).dump();
  std::vector<std::string> all;
  for (const auto& bytes : communicator_.all_gather(std::as_bytes(std::span(own)))) {
    all.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  return all;
}

void Checkpointer::publish(const std::vector<std::string>& descriptions) {
  const Clock::time_point begin = Clock::now();
  Save& save = *save_;
  CheckpointManifest manifest{save.outcome.step, {}, save.training_state, save.config_yaml};
  for (const std::string& description : descriptions) {
    manifest.files.push_back(CheckpointManifest::file_from_json(nlohmann::json::parse(description)));
  }
  check_complete(save.temporary, manifest, save.replicated);
  write_manifest(save.temporary, manifest);
  save.building->commit();
  // The checkpoint is safe by now: nothing below may turn the save into a failure.
  save.outcome.warnings = store_.tidy_up(save.outcome.step);
  save.outcome.seconds += seconds_since(begin);
}

Checkpointer::Outcome Checkpointer::end(std::optional<std::string> error) {
  Outcome outcome = std::move(save_->outcome);
  outcome.error = std::move(error);
  save_.reset();
  return outcome;
}

std::optional<Checkpointer::Outcome> Checkpointer::advance() {
  if (save_->stage == Save::Stage::failed) return end(save_->outcome.error);
  enter_(Phase::saving);
  if (save_->task) save_->task->wait();
  enter_(Phase::communication);
  auto failure = failure_of_any(communicator_, [&] {
    if (save_->task) save_->task->get();
  });
  if (failure) return end(std::move(failure));
  if (save_->stage == Save::Stage::publishing || communicator_.size() == 1) return end(std::nullopt);
  save_->stage = Save::Stage::publishing;
  save_->entries = {};
  save_->task.reset();
  std::vector<std::string> descriptions = gather_descriptions();
  if (communicator_.is_root()) {
    save_->task.emplace([this, descriptions = std::move(descriptions)] { publish(descriptions); });
  }
  return std::nullopt;
}

std::optional<Checkpointer::Outcome> Checkpointer::poll() {
  if (!busy()) return std::nullopt;
  enter_(Phase::communication);
  std::int64_t working = save_->task && !save_->task->done();
  communicator_.all_reduce_max({&working, 1});
  if (working != 0) return std::nullopt;
  return advance();
}

std::optional<Checkpointer::Outcome> Checkpointer::finish() {
  std::optional<Outcome> outcome;
  while (busy() && !outcome) outcome = advance();  // which waits for the work
  return outcome;
}

Checkpointer::Outcome Checkpointer::save(std::int64_t step, const StateDictionary& replicated,
                                         const StateDictionary& owned, const nlohmann::json& training_state,
                                         const std::string& config_yaml) {
  start(step, replicated, owned, training_state, config_yaml);
  Outcome outcome = finish().value();
  if (outcome.error) throw WriteError(*outcome.error);
  return outcome;
}

}  // namespace palimpsest
