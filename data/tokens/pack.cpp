#include "data/tokens/pack.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "core/error.h"
#include "core/printable.h"
#include "data/tokens/token_file.h"

namespace palimpsest {

namespace {

constexpr std::size_t excerpt_bytes = 24;

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

}  // namespace

std::optional<std::string> first_difference(std::string_view text, std::string_view restored) {
  if (text == restored) return std::nullopt;
  const auto mismatch = std::ranges::mismatch(text, restored);
  auto at = static_cast<std::size_t>(mismatch.in1 - text.begin());
  // From the start of the character.
  const auto continues = [&](std::string_view where) {
    return at < where.size() && (static_cast<unsigned char>(where[at]) & 0xC0) == 0x80;
  };
  while (at > 0 && (continues(text) || continues(restored))) --at;
  const auto excerpt = [&](std::string_view of) {
    return at == of.size() ? std::string("nothing") : '"' + printable(of.substr(at), excerpt_bytes) + '"';
  };
  const auto line = std::ranges::count(text.substr(0, at), '\n') + 1;
  return fmt::format("byte {} (line {}): {} comes back as {}", at, line, excerpt(text), excerpt(restored));
}

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
      if (auto difference = first_difference(document.text, tokenizer.decode(tokens))) {
        ++report.lossy_documents;
        if (report.lossy.size() < named_documents) report.lossy.push_back({file.name, std::move(*difference)});
      }
    }
    if (progress) progress(report);
    // A tokenizer that loses text loses it in most documents: no need to read them all.
    if (!options.allow_lossy && report.lossy.size() == named_documents) break;
  }
  if (options.strict && !report.problems.empty()) {
    throw DataError(fmt::format("{}: {} of {} files cannot be used:{}", folder.string(), report.problems.size(),
                                report.files, describe(report.problems)));
  }
  if (report.documents == 0) {
    throw DataError(
        fmt::format("{}: none of {} files can be used:{}", folder.string(), report.files, describe(report.problems)));
  }
  if (report.lossy_documents > 0 && !options.allow_lossy) {
    refuse_losses(folder.string(), report, report.files_read == report.files);
  }
  writer.set_lossy_documents(report.lossy_documents);
  writer.finish();
  return report;
}

}  // namespace palimpsest
