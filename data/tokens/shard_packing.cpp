#include "data/tokens/shard_packing.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/io/atomic_directory.h"
#include "core/io/file_hash.h"
#include "core/io/json_file.h"
#include "data/text/compressed_input.h"
#include "data/tokens/token_file.h"
#include "data/tokens/token_shards.h"

namespace palimpsest {

namespace fs = std::filesystem;

namespace {

/// The note beside a shard: the shard's checksum and its source, a line each, and the report.
fs::path note_path(const ShardTask& task) { return task.folder / fmt::format("{:05}.finished", task.index); }
fs::path shard_path(const ShardTask& task) { return task.folder / shard_name(task.index); }

/// What a note says of a shard: its checksum, if it is there and whole.
std::string checksum_of(const fs::path& shard) {
  std::error_code ignored;
  if (!fs::exists(shard, ignored)) return "none";
  try {
    return TokenFile(shard).checksum();
  } catch (const Error&) {
    return "damaged";
  }
}

}  // namespace

std::vector<CorpusFile> cut_records(const std::vector<CorpusFile>& files, std::uint64_t shard_bytes) {
  std::vector<CorpusFile> pieces;
  for (const CorpusFile& file : files) {
    const bool compressed = compression_of(file.path) != Compression::none;
    if (!is_records(file) || compressed || file.bytes <= shard_bytes) {
      pieces.push_back(file);
      continue;
    }
    for (std::uint64_t begin = 0; begin < file.bytes; begin += shard_bytes) {
      CorpusFile piece = file;
      piece.begin = begin;
      piece.bytes = std::min(shard_bytes, file.bytes - begin);
      if (begin + piece.bytes < file.bytes) piece.end = begin + piece.bytes;
      pieces.push_back(std::move(piece));
    }
  }
  return pieces;
}

std::vector<std::span<const CorpusFile>> plan_shards(std::span<const CorpusFile> files, std::uint64_t shard_bytes) {
  std::vector<std::span<const CorpusFile>> shards;
  std::size_t begin = 0;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (i > begin && files[i].bytes > shard_bytes - std::min(bytes, shard_bytes)) {
      shards.push_back(files.subspan(begin, i - begin));
      begin = i;
      bytes = 0;
    }
    bytes += files[i].bytes;
  }
  if (begin < files.size()) shards.push_back(files.subspan(begin));
  return shards;
}

std::string shard_source(const ShardTask& task, const Tokenizer& tokenizer, const PackOptions& options) {
  FileHash hash;
  const auto add = [&](const std::string& text) {
    hash.update(std::as_bytes(std::span(text.c_str(), text.size() + 1)));
  };
  add(tokenizer.identity());
  add(options.line_ends == LineEnds::lf ? "lf" : "keep");
  for (const CorpusFile& file : task.files) {
    std::error_code unknown;
    const auto changed = fs::last_write_time(file.path, unknown).time_since_epoch().count();
    add(file.name);
    add(fmt::format("{} {} {}", file.bytes, changed, file.origin.year));
    add(file.origin.title);
    if (is_records(file)) add(fmt::format("lines from {} to {}", file.begin, file.end));
  }
  if (std::ranges::any_of(task.files, is_records)) {
    add(fmt::format("records {}", static_cast<int>(options.records.kind)));
    add(options.records.text_field);
    add(to_string(options.records.turn));
    add(to_string(options.records.pair));
    if (options.split_by) add(fmt::format("{} of {}", options.split, fmt::join(options.split_by->shares, "/")));
  }
  return hash.digest();
}

std::optional<PackReport> finished_shard(const ShardTask& task, const Tokenizer& tokenizer,
                                         const PackOptions& options) {
  std::error_code ignored;
  if (!fs::exists(note_path(task), ignored)) return std::nullopt;
  try {
    const std::string note = read_text_file(note_path(task));
    const std::string begin =
        fmt::format("{}\n{}\n", checksum_of(shard_path(task)), shard_source(task, tokenizer, options));
    if (!note.starts_with(begin)) return std::nullopt;
    PackReport report = report_from_bytes(std::string_view(note).substr(begin.size()));
    // It may have been packed with other ideas of what is fit to be packed.
    if (report.lossy_documents > 0 && !options.allow_lossy) return std::nullopt;
    if (!report.problems.empty() && options.strict) return std::nullopt;
    return report;
  } catch (const Error&) {  // a note that is not whole says nothing
    return std::nullopt;
  }
}

PackReport pack_shard(const ShardTask& task, const Tokenizer& tokenizer, const PackOptions& options,
                      const std::function<void(const PackReport&)>& progress) {
  std::error_code ignored;
  fs::remove(note_path(task), ignored);
  fs::remove(shard_path(task), ignored);
  const std::string source = shard_source(task, tokenizer, options);
  PackOptions shard_options = options;
  shard_options.overwrite = true;
  shard_options.may_be_empty = true;
  const PackReport report =
      pack_files(task.folder.string(), task.files, shard_path(task), tokenizer, shard_options, progress);
  write_file_atomically(note_path(task),
                        fmt::format("{}\n{}\n", checksum_of(shard_path(task)), source) + to_bytes(report));
  return report;
}

void finish_shards(const fs::path& folder, std::span<const PackReport> reports, const fs::path& output,
                   bool overwrite) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < reports.size(); ++i) {
    if (reports[i].documents > 0) names.push_back(shard_name(i));
  }
  if (names.empty()) throw DataError(fmt::format("{}: none of the files can be used", output.string()));
  using Existing = AtomicDirectory::Existing;
  AtomicDirectory set(output, overwrite ? Existing::replace : Existing::refuse);
  for (const std::string& name : names) {
    // A second name, so that a kill leaves the shards where the next attempt looks for them.
    std::error_code cannot;
    fs::create_hard_link(folder / name, set.temporary() / name, cannot);
    if (cannot) fs::rename(folder / name, set.temporary() / name);
  }
  write_shard_index(set.temporary(), names);
  set.commit();
  std::error_code ignored;
  fs::remove_all(folder, ignored);
}

}  // namespace palimpsest
