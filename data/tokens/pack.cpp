#include "data/tokens/pack.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "core/error.h"
#include "data/tokens/document_encoder.h"
#include "data/tokens/token_file.h"

namespace palimpsest {

namespace {

/// One line per problem, at most named_documents of them.
std::string describe(const std::vector<CorpusProblem>& problems) {
  std::string lines;
  for (std::size_t i = 0; i < std::min(problems.size(), named_documents); ++i) {
    lines += fmt::format("\n  {}: {}", problems[i].path, problems[i].reason);
  }
  if (problems.size() > named_documents) lines += fmt::format("\n  and {} more", problems.size() - named_documents);
  return lines;
}

[[noreturn]] void refuse_losses(const std::string& folder, const PackReport& report, bool all_read) {
  std::string lines;
  for (const LossyDocument& document : report.lossy) {
    lines += fmt::format("\n  {}: {}", document.name, document.difference);
  }
  throw DataError(fmt::format(
      "{}: the tokenizer does not give {}{} of the {} documents back as they were, so results per word and byte would "
      "look better than they are; a lossless tokenizer does (`palimpsest tokenizer train`), --allow-lossy packs them "
      "all the same:{}",
      folder, all_read ? "" : "at least ", report.lossy_documents, report.documents, lines));
}

void add_document(EncodedDocument document, const Tokenizer& tokenizer, TokenFileWriter& writer, PackReport& report) {
  EncodedText& text = document.text;
  writer.add_document(document.name, text.tokens, document.words, document.bytes, document.origin, text.masks);
  report.documents = writer.document_count();
  report.tokens = writer.token_count();
  report.words += document.words;
  report.bytes += document.bytes;
  if (tokenizer.unknown_id() >= 0)
    report.unknown_tokens += std::count(text.tokens.begin(), text.tokens.end(), tokenizer.unknown_id());
  if (!text.difference) return;
  ++report.lossy_documents;
  if (report.lossy.size() < named_documents) report.lossy.push_back({document.name, std::move(*text.difference)});
}

[[noreturn]] void refuse_nothing(const std::string& folder, const PackReport& report, const PackOptions& options) {
  if (report.problems.empty()) {
    throw DataError(fmt::format("{}: none of {} files has a record{}", folder, report.files,
                                options.split_by ? fmt::format(" that falls to the split {}", options.split) : ""));
  }
  throw DataError(fmt::format("{}: none of {} files can be used:{}", folder, report.files, describe(report.problems)));
}

}  // namespace

PackReport pack_files(const std::string& name, std::span<const CorpusFile> files, const std::filesystem::path& output,
                      const Tokenizer& tokenizer, const PackOptions& options,
                      const std::function<void(const PackReport&)>& progress,
                      const std::vector<CorpusProblem>& problems) {
  PackReport report;
  report.files = static_cast<std::int64_t>(files.size());
  report.problems = problems;
  for (const CorpusFile& file : files) report.bytes_found += file.bytes;
  TokenFileWriter writer(output, tokenizer, options.overwrite);
  DocumentEncoder encoder(files, tokenizer,
                          {.threads = options.threads,
                           .bytes_in_flight = options.bytes_in_flight,
                           .line_ends = options.line_ends,
                           .records = options.records,
                           .split_by = options.split_by,
                           .split = options.split});
  if (options.strict && !problems.empty()) encoder.only_check();
  while (auto piece = encoder.next()) {
    report.files_read += piece->ends_file;
    report.bytes_read += piece->bytes;
    for (EncodingResult& result : piece->documents) {
      // Once a strict run has to fail, it only goes on looking for more to report.
      const bool fails = options.strict && !report.problems.empty();
      if (auto* problem = std::get_if<CorpusProblem>(&result)) {
        report.problems.push_back(std::move(*problem));
        if (options.strict) encoder.only_check();
      } else if (!fails) {
        add_document(std::get<EncodedDocument>(std::move(result)), tokenizer, writer, report);
      }
    }
    if (progress) progress(report);
    // A tokenizer that loses text loses it in most documents: no need to read them all.
    if (!options.allow_lossy && report.lossy.size() == named_documents) break;
  }
  if (options.strict && !report.problems.empty()) {
    const bool records = std::ranges::any_of(files, is_records);
    throw DataError(fmt::format("{}: {} {} cannot be used:{}", name, report.problems.size(),
                                records ? "texts" : fmt::format("of {} files", report.files),
                                describe(report.problems)));
  }
  if (report.documents == 0 && options.may_be_empty) return report;
  if (report.documents == 0) refuse_nothing(name, report, options);
  if (report.lossy_documents > 0 && !options.allow_lossy) {
    refuse_losses(name, report, report.files_read == report.files);
  }
  writer.set_lossy_documents(report.lossy_documents);
  writer.finish();
  return report;
}

CorpusListing list_texts(const std::filesystem::path& folder) {
  std::error_code ignored;
  if (std::filesystem::is_regular_file(folder, ignored)) return list_file(folder);
  CorpusListing listing = list_corpus(folder, CorpusKinds::all);
  if (listing.files.empty()) {
    throw DataError(fmt::format("{}: holds no *.txt or *.jsonl file{}", folder.string(), describe(listing.problems)));
  }
  return listing;
}

PackReport pack_folder(const std::filesystem::path& folder, const std::filesystem::path& output,
                       const Tokenizer& tokenizer, const PackOptions& options,
                       const std::function<void(const PackReport&)>& progress) {
  const CorpusListing listing = list_texts(folder);
  return pack_files(folder.string(), listing.files, output, tokenizer, options, progress, listing.problems);
}

}  // namespace palimpsest
