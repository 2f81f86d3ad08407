#include "launch/commands/inspect_tokens.h"

#include <algorithm>
#include <memory>

#include <fmt/format.h>

#include "data/tokens/token_shards.h"
#include "launch/output/progress.h"
#include "launch/output/table.h"

namespace palimpsest {

namespace fs = std::filesystem;
using namespace token_file_format;

namespace {

constexpr std::int64_t read_at_once = 1 << 16;

std::int64_t version_of(const TokenFile& file) { return file.has_masks() ? masked_version : plain_version; }

std::string describe_format(const TokenFile& file) {
  if (!file.has_masks()) return fmt::format("{}, nothing masked", version_of(file));
  return fmt::format("{}, {} of {} masked, in {}", version_of(file), file.masked_tokens(),
                     format_plural(file.token_count(), "token"), format_plural(file.masked_spans(), "span"));
}

/// The end token among them.
std::int64_t count_masked(const TokenFile& file, const DocumentInfo& document) {
  std::int64_t count = 0;
  for (const TokenSpan& span : file.masked(document.begin, document.begin + document.tokens)) {
    count += span.end - span.begin;
  }
  return count;
}

}  // namespace

bool is_token_file(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return fs::exists(path / shard_index_name, ignored);
  return path.extension() == ".h5" && fs::exists(path, ignored);
}

std::string describe(const TokenFile& file) {
  std::vector<std::vector<std::string>> rows = {{"document", "year", "words", "bytes", "tokens", "title"}};
  if (file.has_masks()) rows.front().insert(rows.front().end() - 1, "masked");
  const auto row = [&](const std::string& name, std::int64_t year, std::int64_t words, std::int64_t bytes,
                       std::int64_t tokens, std::int64_t masked, std::string_view title) {
    rows.push_back({name, year == 0 ? "" : std::to_string(year), std::to_string(words), std::to_string(bytes),
                    std::to_string(tokens), std::string(title)});
    if (file.has_masks()) rows.back().insert(rows.back().end() - 1, std::to_string(masked));
  };
  for (std::int64_t i = 0; i < file.document_count(); ++i) {
    const DocumentInfo document = file.document(i);
    row(std::string(document.name), document.year, document.words, document.bytes, document.tokens,
        count_masked(file, document), document.title);
  }
  row("all " + format_plural(file.document_count(), "document"), 0, file.word_count(), file.byte_count(),
      file.token_count(), file.masked_tokens(), "");
  return fmt::format(
             "token file  {}, {}\n"
             "tokenizer   {}, vocabulary of {}\n"
             "checksum    {}\n"
             "format      {}\n"
             "lossy       {} of {}\n\n",
             file.path().string(), format_plural(file.shard_count(), "shard"), file.tokenizer_identity(),
             file.vocab_size(), file.checksum(), describe_format(file), file.lossy_documents(),
             format_plural(file.document_count(), "document")) +
         format_table(rows);
}

nlohmann::ordered_json describe_as_json(const TokenFile& file) {
  nlohmann::ordered_json documents = nlohmann::ordered_json::array();
  for (std::int64_t i = 0; i < file.document_count(); ++i) {
    const DocumentInfo document = file.document(i);
    nlohmann::ordered_json json = {{"name", document.name}};
    if (!document.title.empty()) json["title"] = document.title;
    if (document.year != 0) json["year"] = document.year;
    json.update({{"words", document.words}, {"bytes", document.bytes}, {"tokens", document.tokens}});
    if (file.has_masks()) json["masked_tokens"] = count_masked(file, document);
    documents.push_back(json);
  }
  return {{"token_file", file.path().string()},
          {"shards", file.shard_count()},
          {"tokenizer", file.tokenizer_identity()},
          {"vocab_size", file.vocab_size()},
          {"checksum", file.checksum()},
          {"lossy_documents", file.lossy_documents()},
          {"words", file.word_count()},
          {"bytes", file.byte_count()},
          {"tokens", file.token_count()},
          {"format_version", version_of(file)},
          {"masked_tokens", file.masked_tokens()},
          {"documents", documents}};
}

std::vector<DocumentPart> parts_of(const TokenFile& file, std::int64_t document) {
  const std::unique_ptr<Tokenizer> tokenizer = file.tokenizer();
  const DocumentInfo info = file.document(document);
  const std::int64_t begin = info.begin + 1, end = info.begin + info.tokens - 1;
  TokenDecoder decoder(*tokenizer);
  std::vector<DocumentPart> parts;
  const auto add = [&](std::int64_t from, std::int64_t to, bool masked) {
    if (from >= to) return;
    DocumentPart part = {masked, to - from, {}};
    for (std::int64_t at = from; at < to; at += read_at_once) {
      std::vector<std::int32_t> tokens(static_cast<std::size_t>(std::min(read_at_once, to - at)));
      file.read(at, tokens);
      for (const std::int32_t token : tokens) part.text += decoder.append(token);
    }
    if (to == end) part.text += decoder.finish();
    parts.push_back(std::move(part));
  };
  std::int64_t at = begin;
  for (const TokenSpan& span : file.masked(begin, end)) {
    add(at, span.begin, false);
    add(span.begin, span.end, true);
    at = span.end;
  }
  add(at, end, false);
  return parts;
}

std::string describe_document(const TokenFile& file, std::int64_t document) {
  const DocumentInfo info = file.document(document);
  const DocumentTargets targets = file.targets(document);
  std::string text =
      fmt::format("document    {}\ntokens      {}, {} of them to predict: {}, {}\n", info.name, info.tokens,
                  targets.tokens, format_plural(targets.words, "word"), format_plural(targets.bytes, "byte"));
  for (const DocumentPart& part : parts_of(file, document)) {
    text += fmt::format("\n--- {}, {} ---\n{}", part.masked ? "masked" : "to predict",
                        format_plural(part.tokens, "token"), part.text);
    if (!text.ends_with('\n')) text += '\n';
  }
  return text;
}

nlohmann::ordered_json describe_document_as_json(const TokenFile& file, std::int64_t document) {
  const DocumentInfo info = file.document(document);
  const DocumentTargets targets = file.targets(document);
  nlohmann::ordered_json parts = nlohmann::ordered_json::array();
  for (const DocumentPart& part : parts_of(file, document)) {
    parts.push_back({{"masked", part.masked}, {"tokens", part.tokens}, {"text", part.text}});
  }
  return {{"name", info.name},
          {"title", info.title},
          {"tokens", info.tokens},
          {"target_tokens", targets.tokens},
          {"target_words", targets.words},
          {"target_bytes", targets.bytes},
          {"parts", parts}};
}

}  // namespace palimpsest
