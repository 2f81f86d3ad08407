#include "launch/commands/pack_jobs.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/io/file_hash.h"
#include "data/text/corpus.h"
#include "data/text/corpus_metadata.h"
#include "data/tokens/shard_packing.h"
#include "launch/output/progress.h"
#include "launch/output/table.h"

namespace palimpsest {

namespace fs = std::filesystem;

namespace {

/// What one rank does in one piece: a job, or a shard of one.
struct PackTask {
  const PackJob* job = nullptr;
  std::span<const CorpusFile> files;
  ShardTask shard;  // of a job in shards
  std::optional<PackReport> finished;
};

/// Where the shards of a job are until all of them are finished.
fs::path shard_folder(const PackJob& job) { return job.output.string() + ".packing"; }

/// Shows how far a rank is with all its tasks, at most ten times a second.
class PackProgress {
 public:
  /// With so many bytes and files to read in all.
  PackProgress(RunLog& log, std::uint64_t bytes, std::int64_t files) : log_(log), bytes_(bytes), files_(files) {}

  /// Of the task in work.
  void show(const PackJob& job, const PackReport& report) {
    const auto now = Clock::now();
    if (now - shown_ < std::chrono::milliseconds(100)) return;
    shown_ = now;
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    const std::uint64_t read = done_.bytes_read + report.bytes_read;
    const double rate = static_cast<double>(read) / std::max(seconds, 1e-3);
    const auto left = static_cast<double>(bytes_ - std::min(read, bytes_));
    log_.progress(fmt::format("{}: {} of {} files, {}B of {}B, {} tokens, {:.2f} MB/s, {} left", job.name,
                              done_.files_read + report.files_read, files_, format_count(static_cast<double>(read)),
                              format_count(static_cast<double>(bytes_)),
                              format_count(static_cast<double>(done_.tokens + report.tokens)), rate / 1e6,
                              format_duration(rate > 0 ? left / rate : -1)),
                  lasting_.due(seconds));
  }
  void end_task(const PackReport& report) {
    done_.add(report);
    log_.end_progress();
  }

 private:
  using Clock = std::chrono::steady_clock;
  RunLog& log_;
  std::uint64_t bytes_;
  std::int64_t files_;
  PackReport done_;
  Clock::time_point begin_ = Clock::now(), shown_{};
  LastingLines lasting_;
};

/// The listings of all jobs, which must outlive the tasks, and the tasks.
struct Plan {
  std::vector<CorpusListing> listings;
  std::vector<PackTask> tasks;
};

/// The texts of a job, with what is known of them.
CorpusListing list_job(const PackJob& job) {
  CorpusListing listing = list_texts(job.folder);
  if (job.split_by) {
    listing.files = job.split_by->select(listing.files, job.name);
    if (listing.files.empty()) {
      throw DataError(fmt::format("{}: none of its texts falls to the split {}", job.folder.string(), job.name));
    }
  }
  if (!job.metadata.empty()) set_origins(read_corpus_metadata(job.metadata), listing.files);
  if (job.shard_bytes > 0) listing.files = cut_records(listing.files, job.shard_bytes);
  return listing;
}

PackOptions options_of(const PackJob& job, const PackOptions& options) {
  PackOptions own = options;
  own.split_by = job.split_by;
  own.split = job.name;
  return own;
}

Plan plan_tasks(const std::vector<PackJob>& jobs) {
  Plan plan;
  for (const PackJob& job : jobs) plan.listings.push_back(list_job(job));
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const std::vector<CorpusFile>& files = plan.listings[i].files;
    if (jobs[i].shard_bytes == 0) {
      plan.tasks.push_back({&jobs[i], files, {}, {}});
      continue;
    }
    for (const auto& shard : plan_shards(files, jobs[i].shard_bytes)) {
      const std::size_t index =
          plan.tasks.empty() || plan.tasks.back().job != &jobs[i] ? 0 : plan.tasks.back().shard.index + 1;
      plan.tasks.push_back({&jobs[i], shard, {shard_folder(jobs[i]), index, shard}, {}});
    }
  }
  return plan;
}

/// Throws DataError unless every rank has found the same files: else a shard would be missing, or there twice.
void require_same_plan(const Plan& plan, const Tokenizer& tokenizer, const PackOptions& options,
                       Communicator& communicator) {
  FileHash hash;
  for (const PackTask& task : plan.tasks) {
    const std::string source = shard_source({{}, 0, task.files}, tokenizer, options_of(*task.job, options));
    hash.update(std::as_bytes(std::span(source)));
  }
  const std::string own = hash.digest();
  for (const auto& of_rank : communicator.all_gather(std::as_bytes(std::span(own)))) {
    if (!std::ranges::equal(of_rank, std::as_bytes(std::span(own)))) {
      throw DataError(fmt::format("{}: the ranks see different files there", plan.tasks.front().job->folder.string()));
    }
  }
}

PackReport run_task(const PackTask& task, const std::vector<CorpusProblem>& problems, const Tokenizer& tokenizer,
                    const PackOptions& common, PackProgress& progress) {
  const auto show = [&](const PackReport& report) { progress.show(*task.job, report); };
  const PackJob& job = *task.job;
  const PackOptions options = options_of(job, common);
  PackReport report = job.shard_bytes > 0
                          ? pack_shard(task.shard, tokenizer, options, show)
                          : pack_files(job.folder.string(), task.files, job.output, tokenizer, options, show, problems);
  progress.end_task(report);
  return report;
}

/// "3 (1 empty, 2 not UTF-8)"
std::string describe_skipped(const std::vector<CorpusProblem>& problems) {
  if (problems.empty()) return "0";
  std::map<CorpusProblem::Kind, int> counts;
  for (const CorpusProblem& problem : problems) ++counts[problem.kind];
  std::vector<std::string> kinds;
  for (const auto& [kind, count] : counts) kinds.push_back(fmt::format("{} {}", count, name_of(kind)));
  return fmt::format("{} ({})", problems.size(), fmt::join(kinds, ", "));
}

std::vector<std::string> table_row(const std::string& name, const PackReport& report) {
  return {name,
          std::to_string(report.documents),
          std::to_string(report.words),
          std::to_string(report.bytes),
          std::to_string(report.tokens),
          fmt::format("{:.2f}", static_cast<double>(report.bytes) / static_cast<double>(report.tokens)),
          describe_skipped(report.problems)};
}

}  // namespace

std::vector<PackReport> run_pack_jobs(const std::vector<PackJob>& jobs, const Tokenizer& tokenizer,
                                      const PackOptions& options, Communicator& communicator, RunLog& log) {
  Plan plan = plan_tasks(jobs);
  require_same_plan(plan, tokenizer, options, communicator);
  std::vector<PackTask*> own;
  std::uint64_t bytes = 0;
  std::int64_t files = 0, kept = 0, shards = 0;
  for (std::size_t i = 0; i < plan.tasks.size(); ++i) {
    PackTask& task = plan.tasks[i];
    if (i % static_cast<std::size_t>(communicator.size()) != static_cast<std::size_t>(communicator.rank())) continue;
    own.push_back(&task);
    if (task.job->shard_bytes > 0) {
      ++shards;
      task.finished = finished_shard(task.shard, tokenizer, options_of(*task.job, options));
    }
    if (task.finished) {
      ++kept;
      continue;
    }
    files += static_cast<std::int64_t>(task.files.size());
    for (const CorpusFile& file : task.files) bytes += file.bytes;
  }
  if (kept > 0) log.note(fmt::format("{} of {} are finished already", kept, format_plural(shards, "shard")));
  PackProgress progress(log, bytes, files);
  std::string message;
  for (const PackTask* task : own) {
    const auto job = static_cast<std::size_t>(task->job - jobs.data());
    const std::string report = to_bytes(
        task->finished ? *task->finished : run_task(*task, plan.listings[job].problems, tokenizer, options, progress));
    message += fmt::format("{:016}", report.size()) + report;
  }

  std::vector<std::string> messages;
  for (const auto& of_rank : communicator.all_gather(std::as_bytes(std::span(message)))) {
    messages.emplace_back(reinterpret_cast<const char*>(of_rank.data()), of_rank.size());
  }
  std::vector<std::vector<PackReport>> parts(jobs.size());
  std::vector<std::size_t> at(messages.size(), 0);
  for (std::size_t i = 0; i < plan.tasks.size(); ++i) {
    const std::size_t rank = i % messages.size();
    const std::string_view text = std::string_view(messages[rank]).substr(at[rank]);
    const std::size_t size = std::stoull(std::string(text.substr(0, 16)));
    parts[static_cast<std::size_t>(plan.tasks[i].job - jobs.data())].push_back(
        report_from_bytes(text.substr(16, size)));
    at[rank] += 16 + size;
  }
  std::vector<PackReport> all(jobs.size());
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    for (const PackReport& part : parts[i]) all[i].add(part);
    if (jobs[i].shard_bytes == 0) continue;
    all[i].problems.insert(all[i].problems.begin(), plan.listings[i].problems.begin(), plan.listings[i].problems.end());
    if (!communicator.is_root()) continue;
    if (options.strict && !all[i].problems.empty()) {
      const CorpusProblem& first = all[i].problems.front();
      throw DataError(fmt::format("{}: {}", first.path, first.reason));
    }
    log.note(fmt::format("Putting {} of {} together",
                         format_plural(static_cast<std::int64_t>(parts[i].size()), "shard"), jobs[i].output.string()));
    finish_shards(shard_folder(jobs[i]), parts[i], jobs[i].output, options.overwrite);
  }
  return all;
}

void warn_of(const PackReport& report, const Tokenizer& tokenizer, RunLog& log) {
  constexpr std::size_t shown = named_documents;
  for (std::size_t i = 0; i < std::min(report.problems.size(), shown); ++i) {
    log.warn(fmt::format("skipped {}: {}", report.problems[i].path, report.problems[i].reason));
  }
  if (report.problems.size() > shown) log.warn(fmt::format("skipped {} more", report.problems.size() - shown));
  if (report.lossy_documents > 0) {
    log.warn(
        fmt::format("{} of {} documents do not come back from their tokens as they were; their perplexity per word and "
                    "bits per byte will look better than they are. The token file says so",
                    report.lossy_documents, report.documents));
    for (const LossyDocument& document : report.lossy) {
      log.warn(fmt::format("lossy: {}: {}", document.name, document.difference));
    }
  }
  if (report.unknown_tokens > 0) {
    log.warn(
        fmt::format("{} of {} tokens are the unknown token {}: the tokenizer cannot express that text, and "
                    "perplexities per word or byte will look better than they are",
                    report.unknown_tokens, report.tokens, tokenizer.unknown_id()));
  }
}

std::string format_pack_reports(const std::vector<PackJob>& jobs, const std::vector<PackReport>& reports) {
  std::vector<std::vector<std::string>> table = {
      {"file", "documents", "words", "bytes", "tokens", "bytes/token", "skipped"}};
  PackReport all;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const PackReport& report = reports[i];
    table.push_back(table_row(jobs[i].output.string(), report));
    all.documents += report.documents;
    all.words += report.words;
    all.bytes += report.bytes;
    all.tokens += report.tokens;
    all.problems.insert(all.problems.end(), report.problems.begin(), report.problems.end());
  }
  if (jobs.size() > 1) table.push_back(table_row("all", all));
  return format_table(table);
}

}  // namespace palimpsest
