// Token files packed by one rank each, and what came of them told to all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/comm/communicator.h"
#include "data/text/tokenizer.h"
#include "data/tokens/pack.h"
#include "launch/training/run_log.h"

namespace palimpsest {

/// One folder of texts and the token file it becomes.
struct PackJob {
  std::string name;
  std::filesystem::path folder, output;
};

/// Collective. Packs each job on one of the ranks, whose progress `log` shows. The reports of all jobs, on every rank.
/// Throws what pack_folder throws, on the rank that it fails on.
std::vector<PackReport> run_pack_jobs(const std::vector<PackJob>& jobs, const Tokenizer& tokenizer,
                                      const PackOptions& options, Communicator& communicator, RunLog& log);

/// Skipped files, lossy documents and unknown tokens.
void warn_of(const PackReport& report, const Tokenizer& tokenizer, RunLog& log);

/// Documents, words, bytes and tokens of every job and, of several, in all.
std::string format_pack_reports(const std::vector<PackJob>& jobs, const std::vector<PackReport>& reports);

}  // namespace palimpsest
