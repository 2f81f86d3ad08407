// Packing a corpus into shards, each of which is kept when the process that packs is killed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/text/corpus.h"
#include "data/text/tokenizer.h"
#include "data/tokens/pack.h"

namespace palimpsest {

/// Cuts files of records into ranges of at most so many bytes, whose lines follow each other; those that are compressed
/// stay whole, since they can only be read from the beginning.
std::vector<CorpusFile> cut_records(const std::vector<CorpusFile>& files, std::uint64_t shard_bytes);

/// Cuts a corpus into runs of files with at most so many bytes together; a longer file stands alone. What comes out
/// depends on the files alone.
std::vector<std::span<const CorpusFile>> plan_shards(std::span<const CorpusFile> files, std::uint64_t shard_bytes);

/// Shard number `index` of a set that is being packed in `folder`.
struct ShardTask {
  std::filesystem::path folder;
  std::size_t index = 0;
  std::span<const CorpusFile> files;
};

/// What a shard is made of: the names, origins, sizes and times of change of its files, the ranges of records in them
/// and how these are read, the line ends and the tokenizer.
std::string shard_source(const ShardTask& task, const Tokenizer& tokenizer, const PackOptions& options);

/// The report of a shard that an earlier process has finished, from the same source; nothing when there is none.
std::optional<PackReport> finished_shard(const ShardTask& task, const Tokenizer& tokenizer, const PackOptions& options);

/// Packs a shard and notes beside it that it is finished. Without a usable file there is no shard, which is noted, too.
/// Throws as pack_files does.
PackReport pack_shard(const ShardTask& task, const Tokenizer& tokenizer, const PackOptions& options,
                      const std::function<void(const PackReport&)>& progress = {});

/// Once every shard in `folder` is finished: makes the token file `output` of them, whole or not at all, and removes
/// `folder`. Throws DataError when there is no document in any of them, WriteError also when the output exists and
/// `overwrite` is false.
void finish_shards(const std::filesystem::path& folder, std::span<const PackReport> reports,
                   const std::filesystem::path& output, bool overwrite);

}  // namespace palimpsest
