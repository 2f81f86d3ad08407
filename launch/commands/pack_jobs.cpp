#include "launch/commands/pack_jobs.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <span>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "launch/output/progress.h"
#include "launch/output/table.h"

namespace palimpsest {

namespace {

/// Shows how far packing is, at most ten times a second, and once in ten seconds as a line that stays.
class PackProgress {
 public:
  PackProgress(RunLog& log, std::string name) : log_(log), name_(std::move(name)) {}

  void operator()(const PackReport& report) {
    const auto now = Clock::now();
    if (now - shown_ < std::chrono::milliseconds(100)) return;
    shown_ = now;
    const bool lasting = now - lasted_ > std::chrono::seconds(10);
    if (lasting) lasted_ = now;
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    const double rate = static_cast<double>(report.bytes_read) / std::max(seconds, 1e-3);
    const auto left = static_cast<double>(report.bytes_found - std::min(report.bytes_read, report.bytes_found));
    log_.progress(fmt::format("{}: {} of {} files, {}B of {}B, {} tokens, {:.2f} MB/s, {} left", name_,
                              report.files_read, report.files, format_count(static_cast<double>(report.bytes_read)),
                              format_count(static_cast<double>(report.bytes_found)),
                              format_count(static_cast<double>(report.tokens)), rate / 1e6,
                              format_duration(rate > 0 ? left / rate : -1)),
                  lasting);
  }

 private:
  using Clock = std::chrono::steady_clock;
  RunLog& log_;
  std::string name_;
  Clock::time_point begin_ = Clock::now(), shown_{}, lasted_ = begin_;
};

nlohmann::json to_json(const PackReport& report) {
  nlohmann::json problems = nlohmann::json::array(), lossy = nlohmann::json::array();
  for (const CorpusProblem& problem : report.problems) {
    problems.push_back({static_cast<int>(problem.kind), problem.path, problem.reason});
  }
  for (const LossyDocument& document : report.lossy) lossy.push_back({document.name, document.difference});
  return {{"files", report.files},
          {"files_read", report.files_read},
          {"bytes_found", report.bytes_found},
          {"bytes_read", report.bytes_read},
          {"documents", report.documents},
          {"words", report.words},
          {"bytes", report.bytes},
          {"tokens", report.tokens},
          {"unknown_tokens", report.unknown_tokens},
          {"lossy_documents", report.lossy_documents},
          {"problems", problems},
          {"lossy", lossy}};
}

PackReport report_from_json(const nlohmann::json& json) {
  PackReport report;
  json.at("files").get_to(report.files);
  json.at("files_read").get_to(report.files_read);
  json.at("bytes_found").get_to(report.bytes_found);
  json.at("bytes_read").get_to(report.bytes_read);
  json.at("documents").get_to(report.documents);
  json.at("words").get_to(report.words);
  json.at("bytes").get_to(report.bytes);
  json.at("tokens").get_to(report.tokens);
  json.at("unknown_tokens").get_to(report.unknown_tokens);
  json.at("lossy_documents").get_to(report.lossy_documents);
  for (const auto& problem : json.at("problems")) {
    report.problems.push_back(
        {static_cast<CorpusProblem::Kind>(problem.at(0).get<int>()), problem.at(1), problem.at(2)});
  }
  for (const auto& document : json.at("lossy")) report.lossy.push_back({document.at(0), document.at(1)});
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
  const auto ranks = static_cast<std::size_t>(communicator.size());
  nlohmann::json own = nlohmann::json::array();
  for (auto i = static_cast<std::size_t>(communicator.rank()); i < jobs.size(); i += ranks) {
    own.push_back(
        to_json(pack_folder(jobs[i].folder, jobs[i].output, tokenizer, options, PackProgress(log, jobs[i].name))));
    log.end_progress();
  }
  // Names are bytes that need not be UTF-8, which text in JSON has to be.
  const std::vector<std::uint8_t> message = nlohmann::json::to_cbor(own);
  std::vector<nlohmann::json> reports;
  for (const auto& of_rank : communicator.all_gather(std::as_bytes(std::span(message)))) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(of_rank.data());
    reports.push_back(nlohmann::json::from_cbor(bytes, bytes + of_rank.size()));
  }
  std::vector<PackReport> all;
  for (std::size_t i = 0; i < jobs.size(); ++i) all.push_back(report_from_json(reports[i % ranks].at(i / ranks)));
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
