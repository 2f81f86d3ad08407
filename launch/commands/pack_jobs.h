// Token files and shards packed by one rank each, and what came of them told to all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/comm/communicator.h"
#include "data/text/hash_split.h"
#include "data/text/tokenizer.h"
#include "data/tokens/pack.h"
#include "launch/training/run_log.h"

namespace palimpsest {

/// One folder of texts and records, or one such file, and the token file it becomes.
struct PackJob {
  std::string name;
  std::filesystem::path folder, output;
  std::uint64_t shard_bytes = 0;        // of text in each shard; 0: no shards
  std::optional<HashSplit> split_by;    // only the files and records that it gives to the split `name`
  std::filesystem::path metadata = {};  // titles and years; empty: none
};

/// Collective. Packs each job, or each shard of it, on one of the ranks, whose progress `log` shows. Shards that an
/// earlier attempt has finished are kept. The reports of all jobs, on every rank. Throws what pack_folder and
/// pack_shard throw, on the rank that it fails on.
std::vector<PackReport> run_pack_jobs(const std::vector<PackJob>& jobs, const Tokenizer& tokenizer,
                                      const PackOptions& options, Communicator& communicator, RunLog& log);

/// Skipped files, lossy documents and unknown tokens.
void warn_of(const PackReport& report, const Tokenizer& tokenizer, RunLog& log);

/// Documents, words, bytes and tokens of every job and, of several, in all.
std::string format_pack_reports(const std::vector<PackJob>& jobs, const std::vector<PackReport>& reports);

}  // namespace palimpsest
