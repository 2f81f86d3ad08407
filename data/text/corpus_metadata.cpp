#include "data/text/corpus_metadata.h"

#include <charconv>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/io/json_file.h"
#include "core/printable.h"
#include "data/text/utf8.h"

namespace palimpsest {

namespace {

/// Records of comma-separated values (RFC 4180), one after the other.
class RecordReader {
 public:
  RecordReader(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  bool at_end() const { return at_ == text_.size(); }
  /// Of the record read last.
  std::int64_t line() const { return line_; }

  std::vector<std::string> next() {
    line_ = next_line_;
    std::vector<std::string> fields;
    do {
      fields.push_back(field());
    } while (take(","));
    if (!take("\r\n") && !take("\n") && !at_end()) fail("a quote in the midst of a field");
    ++next_line_;
    return fields;
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw DataError(fmt::format("{}: line {}: {}, expected id,title,year,url", name_, line_, what));
  }

 private:
  bool take(std::string_view token) {
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }

  std::string field() {
    std::string value;
    if (!take("\"")) {
      while (!at_end() && std::string_view(",\n\"").find(text_[at_]) == std::string_view::npos &&
             !text_.substr(at_).starts_with("\r\n")) {
        value += text_[at_++];
      }
      return value;
    }
    for (;;) {
      if (at_end()) fail("a quote that does not end");
      const char character = text_[at_++];
      if (character == '"' && !take("\"")) return value;
      if (character == '\n') ++next_line_;
      value += character;
    }
  }

  std::string_view text_;
  const std::string& name_;
  std::size_t at_ = 0;
  std::int64_t line_ = 1, next_line_ = 1;
};

std::optional<std::int64_t> year_of(const std::string& field) {
  std::int64_t year = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), year);
  if (field.empty()) return 0;
  if (error != std::errc() || end != field.data() + field.size()) return std::nullopt;
  return year;
}

}  // namespace

CorpusMetadata parse_corpus_metadata(std::string_view text, const std::string& name) {
  if (const auto offset = find_invalid_utf8(text)) {
    throw DataError(fmt::format("{}: is not UTF-8 at offset {}", name, *offset));
  }
  CorpusMetadata metadata;
  RecordReader records(text, name);
  while (!records.at_end()) {
    std::vector<std::string> fields = records.next();
    if (records.line() == 1 && fields.front() == "id") continue;
    if (fields.size() != 4) records.fail(fmt::format("{} fields", fields.size()));
    if (fields[0].empty()) records.fail("no id");
    if (fields[1].find('\0') != std::string::npos) records.fail("a zero byte in the title");
    const auto year = year_of(fields[2]);
    if (!year) records.fail(fmt::format("the year \"{}\"", printable(fields[2], 24)));
    if (!metadata.emplace(fields[0], DocumentOrigin{std::move(fields[1]), *year}).second) {
      records.fail(fmt::format("{} a second time", printable(fields[0], 24)));
    }
  }
  return metadata;
}

CorpusMetadata read_corpus_metadata(const std::filesystem::path& path) {
  return parse_corpus_metadata(read_text_file(path), path.string());
}

void set_origins(const CorpusMetadata& metadata, std::vector<CorpusFile>& files) {
  for (CorpusFile& file : files) {
    if (const auto known = metadata.find(file.name); known != metadata.end()) file.origin = known->second;
  }
}

}  // namespace palimpsest
