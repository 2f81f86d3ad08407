#include "launch/commands/inspect_tokens.h"

#include <vector>

#include <fmt/format.h>

#include "data/tokens/token_shards.h"
#include "launch/output/progress.h"
#include "launch/output/table.h"

namespace palimpsest {

namespace fs = std::filesystem;

bool is_token_file(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return fs::exists(path / shard_index_name, ignored);
  return path.extension() == ".h5" && fs::exists(path, ignored);
}

std::string describe(const TokenFile& file) {
  std::vector<std::vector<std::string>> rows = {{"document", "year", "words", "bytes", "tokens", "title"}};
  const auto row = [&](const std::string& name, std::int64_t year, std::int64_t words, std::int64_t bytes,
                       std::int64_t tokens, std::string_view title) {
    rows.push_back({name, year == 0 ? "" : std::to_string(year), std::to_string(words), std::to_string(bytes),
                    std::to_string(tokens), std::string(title)});
  };
  for (std::int64_t i = 0; i < file.document_count(); ++i) {
    const DocumentInfo document = file.document(i);
    row(std::string(document.name), document.year, document.words, document.bytes, document.tokens, document.title);
  }
  row("all " + format_plural(file.document_count(), "document"), 0, file.word_count(), file.byte_count(),
      file.token_count(), "");
  return fmt::format(
             "token file  {}, {}\n"
             "tokenizer   {}, vocabulary of {}\n"
             "checksum    {}\n"
             "lossy       {} of {}\n\n",
             file.path().string(), format_plural(file.shard_count(), "shard"), file.tokenizer_identity(),
             file.vocab_size(), file.checksum(), file.lossy_documents(),
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
          {"documents", documents}};
}

}  // namespace palimpsest
