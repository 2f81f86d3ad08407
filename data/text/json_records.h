// Lines of JSON as documents: a text, a prompt with its completion, a conversation, or a document with its summary.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "data/text/corpus.h"

namespace palimpsest {

/// What a record is told by: `automatic` takes the one kind whose fields it has, but for `summary`.
enum class RecordKind { automatic, text, completion, chat, summary };

/// Of a template as people write it: \n, \t and \\ stand for a line end, a tab and a backslash.
std::string unescaped(const std::string& text);

/// The text of each turn of a conversation, in which {role} and {content} stand for what the record says.
struct TurnTemplate {
  std::string before, after;  // of {content}; {role} may be in both
};

/// "{role}:\n{content}\n\n". Throws ConfigError unless {content} is there once.
TurnTemplate parse_turn_template(const std::string& text);
std::string to_string(const TurnTemplate& turn);

/// A document and its summary in one text, in which {document} and {summary} stand for them.
struct PairTemplate {
  std::string before, between, after;
};

/// "{document}\n\nSummary:\n{summary}". Throws ConfigError unless both are there once, in this order.
PairTemplate parse_pair_template(const std::string& text);
std::string to_string(const PairTemplate& pair);

struct RecordFormat {
  RecordKind kind = RecordKind::automatic;
  std::string text_field = "text";
  TurnTemplate turn = {"{role}:\n", "\n\n"};
  PairTemplate pair = {"", "\n\nSummary:\n", ""};
  LineEnds line_ends = LineEnds::keep;
};

/// One line of JSON: an object with one of
/// - the text field;
/// - `prompt` and `completion`, which follow each other, the prompt masked;
/// - `messages`, a list of turns with `role` and `content`, each as the template says. Masked is what is not the
///   content of an assistant, or behind it in its turn;
/// - `document` and `summary`, joined by the template, all before the summary masked. A document that is one line, and
///   ends in .txt, .txt.gz or .txt.zst, is the path of its text, from the folder of the records on.
///
/// It is called by its `id` or `_id`, a text or a whole number; a `title` that is text and a `year` that is a whole
/// number are taken. All else is left aside.
struct Record {
  std::string id;  // empty: it has none
  DocumentOrigin origin;
  std::variant<CorpusDocument, CorpusProblem> document;  // of the problems only `empty`: there is no word to predict
};

/// `name` begins messages; `folder` is that of the records. Throws FileError on what is not JSON, DataError on what is
/// not such a record.
Record parse_record(std::string_view line, const std::string& name, const RecordFormat& format,
                    const std::filesystem::path& folder = {});

/// What a record of kind `summary` says, before a template joins it.
struct SummaryPair {
  std::string id;        // empty: it has none
  std::string document;  // its text, in a file of its own or not
  std::string summary;
};

/// What the record must have besides its document.
enum class SummaryField { required, ignored };

/// Throws as parse_record does, and DataError on a document, or a summary that is required, of nothing but white space.
SummaryPair parse_summary_pair(std::string_view line, const std::string& name, SummaryField summary, LineEnds line_ends,
                               const std::filesystem::path& folder = {});

/// About how many bytes the document has that a record of kind `summary` names by its path; 0 where it names none.
std::uint64_t referenced_bytes(std::string_view line, const std::filesystem::path& folder);

}  // namespace palimpsest
