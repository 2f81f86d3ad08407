#include "data/text/json_records.h"

#include <array>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/io/json_file.h"
#include "core/printable.h"
#include "data/text/compressed_input.h"
#include "data/text/utf8.h"

namespace palimpsest {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view role_mark = "{role}", content_mark = "{content}";

constexpr std::string_view document_mark = "{document}", summary_mark = "{summary}";

/// The file that a document is in, if it says so.
std::optional<fs::path> path_of(const std::string& document, const fs::path& folder) {
  if (document.find('\n') != std::string::npos) return std::nullopt;
  for (const std::string_view ending : {".txt", ".txt.gz", ".txt.zst"}) {
    if (document.size() > ending.size() && document.ends_with(ending)) return folder / document;
  }
  return std::nullopt;
}

std::string with_role(std::string text, std::string_view role) {
  for (std::size_t at = 0; (at = text.find(role_mark, at)) != std::string::npos; at += role.size()) {
    text.replace(at, role_mark.size(), role);
  }
  return text;
}

/// Reads the fields of one record.
class RecordParser {
 public:
  RecordParser(std::string_view line, const std::string& name, const RecordFormat& format, const fs::path& folder)
      : name_(name), format_(format), folder_(folder), json_(parse_json(line, name)) {
    if (!json_.is_object()) fail(fmt::format("a JSON {}, expected an object", json_.type_name()));
  }

  Record parse() {
    Record record{id(), origin(), {}};
    switch (kind()) {
      case RecordKind::automatic:
      case RecordKind::text: add(text(json_, format_.text_field), false); break;
      case RecordKind::completion:
        add(text(json_, "prompt"), true);
        add(text(json_, "completion"), false);
        break;
      case RecordKind::chat: add_turns(); break;
      case RecordKind::summary:
        add(format_.pair.before, true);
        add(document_text(), true);
        add(format_.pair.between, true);
        add(text(json_, "summary"), false);
        add(format_.pair.after, false);
        break;
    }
    if (document_.text.empty() || targets() == 0) {
      const char* reason = document_.masked.empty() ? "holds nothing but white space" : "has no word to predict";
      record.document = CorpusProblem{CorpusProblem::Kind::empty, name_, reason};
    } else {
      document_.words = count_words(document_.text);
      record.document = std::move(document_);
    }
    return record;
  }

  SummaryPair parse_pair(SummaryField field) {
    SummaryPair pair{id(), document_text(), field == SummaryField::required ? text(json_, "summary") : std::string()};
    const auto check = [&](std::string& part, const char* key) {
      if (format_.line_ends == LineEnds::lf) drop_carriage_returns(part);
      if (count_words(part) == 0) fail(fmt::format("\"{}\" holds nothing but white space", key));
    };
    check(pair.document, "document");
    if (field == SummaryField::required) check(pair.summary, "summary");
    return pair;
  }

 private:
  [[noreturn]] void fail(const std::string& message) const { throw DataError(fmt::format("{}: {}", name_, message)); }

  const nlohmann::json* find(const nlohmann::json& object, const std::string& key) const {
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
  }

  RecordKind kind() const {
    if (format_.kind != RecordKind::automatic) return format_.kind;
    std::vector<RecordKind> kinds;
    std::vector<std::string> keys;
    for (const auto& [key, kind] : {std::pair{format_.text_field, RecordKind::text},
                                    {std::string("completion"), RecordKind::completion},
                                    {std::string("messages"), RecordKind::chat}}) {
      if (find(json_, key) == nullptr) continue;
      kinds.push_back(kind);
      keys.push_back('"' + printable(key) + '"');
    }
    if (kinds.size() == 1) return kinds.front();
    fail(fmt::format(R"({}, expected one of "{}" (--text-field), "prompt" with "completion", and "messages"{})",
                     keys.empty() ? "a record without a text" : fmt::format("has {}", fmt::join(keys, " and ")),
                     printable(format_.text_field), keys.empty() ? "" : "; --records says which to take"));
  }

  const std::string& text(const nlohmann::json& object, const std::string& key, const std::string& where = {}) const {
    const auto found = object.find(key);
    if (found == object.end()) fail(fmt::format("{}\"{}\" is missing, expected a text", where, printable(key)));
    if (!found->is_string()) {
      fail(fmt::format("{}\"{}\" is {}, expected a text", where, printable(key), printable(found->dump(), 40)));
    }
    return found->get_ref<const std::string&>();
  }

  std::string id() const {
    for (const char* key : {"id", "_id"}) {
      const nlohmann::json* found = find(json_, key);
      if (found == nullptr) continue;
      if (found->is_number_integer()) return found->dump();
      if (!found->is_string()) {
        fail(fmt::format("\"{}\" is {}, expected a text or a whole number", key, printable(found->dump(), 40)));
      }
      const auto& id = found->get_ref<const std::string&>();
      if (id.find('\0') != std::string::npos) fail(fmt::format("a zero byte in \"{}\"", key));
      return id;
    }
    return {};
  }

  DocumentOrigin origin() const {
    DocumentOrigin origin;
    if (const nlohmann::json* title = find(json_, "title"); title != nullptr && title->is_string()) {
      origin.title = title->get<std::string>();
      if (origin.title.find('\0') != std::string::npos) fail("a zero byte in \"title\"");
    }
    const nlohmann::json* year = find(json_, "year");
    if (year != nullptr && year->is_number_integer() && !year->is_number_unsigned())
      origin.year = year->get<std::int64_t>();
    if (year != nullptr && year->is_number_unsigned()) {
      const auto value = year->get<std::uint64_t>();
      if (value <= 9999) origin.year = static_cast<std::int64_t>(value);
    }
    return origin;
  }

  std::string document_text() const {
    const std::string& document = text(json_, "document");
    const auto path = path_of(document, folder_);
    if (!path) return document;
    auto read = read_corpus_file(*path, longest_text, format_.line_ends);
    if (const auto* problem = std::get_if<CorpusProblem>(&read)) {
      fail(fmt::format("the document {} {}", path->string(), problem->reason));
    }
    return std::move(std::get<CorpusDocument>(read).text);
  }

  void add_turns() {
    const auto messages = json_.find("messages");
    if (messages == json_.end() || !messages->is_array()) fail("\"messages\" is missing or no list, expected turns");
    for (std::size_t i = 0; i < messages->size(); ++i) {
      const nlohmann::json& turn = (*messages)[i];
      const std::string where = fmt::format("turn {} of \"messages\": ", i + 1);
      if (!turn.is_object()) fail(fmt::format("{}a JSON {}, expected an object", where, turn.type_name()));
      const std::string& role = text(turn, "role", where);
      const bool masked = role != "assistant";
      add(with_role(format_.turn.before, role), true);
      add(text(turn, "content", where), masked);
      add(with_role(format_.turn.after, role), masked);
    }
  }

  void add(std::string text, bool masked) {
    if (format_.line_ends == LineEnds::lf) drop_carriage_returns(text);
    if (text.empty()) return;
    const auto begin = static_cast<std::int64_t>(document_.text.size());
    document_.text += text;
    if (!masked) return;
    const auto end = static_cast<std::int64_t>(document_.text.size());
    if (!document_.masked.empty() && document_.masked.back().end == begin) {
      document_.masked.back().end = end;
    } else {
      document_.masked.push_back({begin, end});
    }
  }

  /// Words outside the masks.
  std::int64_t targets() const {
    std::int64_t words = 0;
    for (const TextPart& part : parts_of(document_)) words += part.masked ? 0 : count_words(part.text);
    return words;
  }

  const std::string& name_;
  const RecordFormat& format_;
  const fs::path& folder_;
  nlohmann::json json_;
  CorpusDocument document_;
};

}  // namespace

std::string unescaped(const std::string& text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t which =
        text[i] == '\\' && i + 1 < text.size() ? std::string_view("nt\\").find(text[i + 1]) : std::string_view::npos;
    result += which == std::string_view::npos ? text[i] : "\n\t\\"[which];
    if (which != std::string_view::npos) ++i;
  }
  return result;
}

TurnTemplate parse_turn_template(const std::string& text) {
  const std::size_t at = text.find(content_mark);
  if (at == std::string::npos || text.find(content_mark, at + 1) != std::string::npos) {
    throw ConfigError(fmt::format("the turn \"{}\" has {} {}, expected one", printable(text),
                                  at == std::string::npos ? "no" : "more than one", content_mark));
  }
  return {text.substr(0, at), text.substr(at + content_mark.size())};
}

std::string to_string(const TurnTemplate& turn) { return turn.before + std::string(content_mark) + turn.after; }

PairTemplate parse_pair_template(const std::string& text) {
  const std::size_t document = text.find(document_mark), summary = text.find(summary_mark);
  const bool sound = document != std::string::npos && summary != std::string::npos && document < summary &&
                     text.rfind(document_mark) == document && text.rfind(summary_mark) == summary;
  if (!sound) {
    throw ConfigError(fmt::format("the pair \"{}\", expected one {} and behind it one {}", printable(text),
                                  document_mark, summary_mark));
  }
  const std::size_t between = document + document_mark.size();
  return {text.substr(0, document), text.substr(between, summary - between),
          text.substr(summary + summary_mark.size())};
}

std::string to_string(const PairTemplate& pair) {
  return fmt::format("{}{}{}{}{}", pair.before, document_mark, pair.between, summary_mark, pair.after);
}

Record parse_record(std::string_view line, const std::string& name, const RecordFormat& format,
                    const fs::path& folder) {
  return RecordParser(line, name, format, folder).parse();
}

SummaryPair parse_summary_pair(std::string_view line, const std::string& name, SummaryField summary, LineEnds line_ends,
                               const fs::path& folder) {
  const RecordFormat format{.kind = RecordKind::summary, .line_ends = line_ends};
  return RecordParser(line, name, format, folder).parse_pair(summary);
}

std::uint64_t referenced_bytes(std::string_view line, const fs::path& folder) {
  constexpr std::uint64_t growth = 4;  // of what is compressed
  try {
    const nlohmann::json record = parse_json(line, "");
    const auto path = path_of(record.at("document").get<std::string>(), folder);
    if (!path) return 0;
    std::error_code unknown;
    const std::uintmax_t bytes = fs::file_size(*path, unknown);
    if (unknown) return 0;
    return compression_of(*path) == Compression::none ? bytes : growth * bytes;
  } catch (const Error&) {  // what is wrong with the record is said where it is read
    return 0;
  } catch (const nlohmann::json::exception&) {
    return 0;
  }
}

}  // namespace palimpsest
