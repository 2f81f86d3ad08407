#include "data/pack.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "core/error.h"
#include "data/token_file.h"

namespace palimpsest {

namespace {

/// One line per problem, at most `shown` of them.
std::string describe(const std::vector<CorpusProblem>& problems, std::size_t shown = 20) {
  std::string lines;
  for (std::size_t i = 0; i < std::min(problems.size(), shown); ++i) {
    lines += fmt::format("\n  {}: {}", problems[i].path, problems[i].reason);
  }
  if (problems.size() > shown) lines += fmt::format("\n  and {} more", problems.size() - shown);
  return lines;
}

}  // namespace

PackReport pack_folder(const std::filesystem::path& folder, const std::filesystem::path& output,
                       const Tokenizer& tokenizer, const PackOptions& options,
                       const std::function<void(const PackReport&)>& progress) {
  CorpusListing listing = list_corpus(folder);
  PackReport report;
  report.files = static_cast<std::int64_t>(listing.files.size());
  report.problems = std::move(listing.problems);
  if (listing.files.empty()) {
    throw DataError(fmt::format("{}: holds no *.txt file{}", folder.string(), describe(report.problems)));
  }
  TokenFileWriter writer(output, tokenizer, options.overwrite);
  for (const CorpusFile& file : listing.files) {
    const auto result = read_corpus_file(file.path);
    ++report.files_read;
    if (const auto* problem = std::get_if<CorpusProblem>(&result)) {
      report.problems.push_back(*problem);
    } else if (!options.strict || report.problems.empty()) {
      // Once a strict run has to fail, it only goes on looking for more to report.
      const auto& document = std::get<CorpusDocument>(result);
      const std::vector<std::int32_t> tokens = tokenizer.encode(document.text);
      writer.add_document(file.name, tokens, document.words, static_cast<std::int64_t>(document.text.size()));
      report.documents = writer.document_count();
      report.tokens = writer.token_count();
      report.words += document.words;
      report.bytes += static_cast<std::int64_t>(document.text.size());
      if (tokenizer.unknown_id() >= 0)
        report.unknown_tokens += std::count(tokens.begin(), tokens.end(), tokenizer.unknown_id());
    }
    if (progress) progress(report);
  }
  if (options.strict && !report.problems.empty()) {
    throw DataError(fmt::format("{}: {} of {} files cannot be used:{}", folder.string(), report.problems.size(),
                                report.files, describe(report.problems)));
  }
  if (report.documents == 0) {
    throw DataError(
        fmt::format("{}: none of {} files can be used:{}", folder.string(), report.files, describe(report.problems)));
  }
  writer.finish();
  return report;
}

}  // namespace palimpsest
