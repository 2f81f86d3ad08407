#include "launch/training/run_directory.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <fcntl.h>

#include <fmt/format.h>

#include "configs/yaml.h"
#include "core/error.h"
#include "core/io/atomic_directory.h"
#include "core/io/descriptor.h"
#include "core/io/temporary_file.h"

namespace palimpsest {

namespace {

// A run whose checkpoint says otherwise here is another run. The stream's cursor looks after
// data.train: its content counts, not its path.
constexpr std::array<std::string_view, 16> must_agree = {"model.",
                                                         "data.kind",
                                                         "data.train[].kind",
                                                         "data.train[].weight",
                                                         "data.segments_before_targets",
                                                         "optimizer.kind",
                                                         "train.seed",
                                                         "train.batch_size",
                                                         "train.sequence_length",
                                                         "train.carry_memory",
                                                         "train.interleave",
                                                         "train.fresh_memory",
                                                         "train.trainable",
                                                         "distillation.share",
                                                         "distillation.attention",
                                                         "distillation.window"};
// These change no bit of a step, or (train.steps, by way of the decay) only as the user means it. The teacher's
// weights, unlike its path, are in the checkpoint by their hash.
constexpr auto may_differ = std::to_array<std::string_view>({"data.train",
                                                             "data.train[].file",
                                                             "data.train[].filler",
                                                             "data.train[].tokenizer",
                                                             "data.train[].name",
                                                             "data.validation",
                                                             "data.test",
                                                             "data.filler",
                                                             "data.tokenizer",
                                                             "data.corpus",
                                                             "distillation.teacher",
                                                             "evaluation.",
                                                             "checkpoint.",
                                                             "optimizer.sharded",
                                                             "train.run_directory",
                                                             "train.initial_weights",
                                                             "train.allow_unused_weights",
                                                             "train.steps",
                                                             "train.log_every",
                                                             "train.tensorboard",
                                                             "train.recompute",
                                                             "train.overlap_gradients",
                                                             "train.gradient_bucket",
                                                             "train.overlap_memory",
                                                             "train.time_limit",
                                                             "train.watchdog_timeout",
                                                             "train.max_skipped_steps"});

/// Without the numbers of list entries: "data.train[2].file: ..." is "data.train[].file: ...".
std::string without_numbers(std::string difference) {
  const std::size_t open = difference.find('['), close = difference.find(']');
  if (open < difference.find(':') && close != std::string::npos) difference.erase(open + 1, close - open - 1);
  return difference;
}

template <std::size_t count>
bool is_one_of(const std::string& difference, const std::array<std::string_view, count>& keys) {
  return std::ranges::any_of(keys, [&](std::string_view key) {
    if (!difference.starts_with(key)) return false;
    return key.ends_with('.') || difference.substr(key.size()).starts_with(':');
  });
}

/// Throws WriteError where something stands that a file put in its place would destroy: a device, a pipe, or a link to
/// an open file, as /dev/stdout is, or to such a link. A file takes the place of a link to another file.
void require_replaceable(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    throw WriteError(fmt::format("{}: is {}, expected a file's name", path.string(),
                                 std::filesystem::is_directory(status) ? "a folder" : "no regular file"));
  }
  constexpr int most_links = 40;  // as the system follows; some lead in a circle
  std::filesystem::path at = path;
  for (int links = 0; links < most_links; ++links) {
    const std::filesystem::path target = std::filesystem::read_symlink(at, error);
    if (error) return;
    if (target.string().starts_with("/proc/")) {
      throw WriteError(fmt::format("{}: is a link to {}, expected a file's name", path.string(), target.string()));
    }
    at = at.parent_path() / target;
  }
}

}  // namespace

void RunDirectory::create() const {
  std::error_code error;
  std::filesystem::create_directories(path_, error);
  if (error) throw WriteError(fmt::format("{}: cannot be created: {}", path_.string(), error.message()));
}

void write_result(const std::filesystem::path& path, const std::string& content) {
  try {
    RunDirectory(path.has_parent_path() ? path.parent_path() : ".").create();
    require_replaceable(path);
    write_file_atomically(path, content);
  } catch (const FileError& error) {
    throw WriteError(error.what());
  }
}

void require_writable(const std::filesystem::path& path) {
  require_replaceable(path);
  std::error_code error;
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  if (!std::filesystem::is_directory(folder, error)) {
    throw WriteError(fmt::format("{}: cannot be created: {} is no folder", path.string(), folder.string()));
  }
  const std::filesystem::path beside = temporary_file_for(path);
  Descriptor::for_writing(beside, O_CREAT | O_WRONLY).close();
  std::filesystem::remove(beside, error);
}

void require_writable_result(const std::filesystem::path& path) {
  RunDirectory(path.has_parent_path() ? path.parent_path() : ".").create();
  require_writable(path);
}

std::vector<std::string> check_resumable(const RunConfig& saved, const RunConfig& asked) {
  std::vector<std::string> refused, noted;
  // Whether there is a copy of the first weights in the checkpoint.
  const bool pulled = saved.optimizer.decay_toward_initial > 0, pulls = asked.optimizer.decay_toward_initial > 0;
  for (const std::string& difference : differences(saved, asked)) {
    const bool about_pull = difference.starts_with("optimizer.decay_toward_initial:");
    if ((about_pull && pulled != pulls) || is_one_of(without_numbers(difference), must_agree)) {
      refused.push_back(difference);
    } else if (!is_one_of(without_numbers(difference), may_differ)) {
      noted.push_back(difference);
    }
  }
  if (!refused.empty()) {
    throw ConfigError(
        fmt::format("{}: holds a checkpoint of another configuration (saved -> asked for): {}. Undo the "
                    "change, or choose another train.run_directory for a new run",
                    asked.train.run_directory, fmt::join(refused, "; ")));
  }
  return noted;
}

}  // namespace palimpsest
