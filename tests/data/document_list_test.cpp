// Documents named one by one: texts and lines of records, in their order, and what is wrong with them.
#include "data/text/document_list.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

class DocumentListTest : public testing::Test {
 protected:
  fs::path file(const std::string& name, const std::string& content) {
    overwrite_file(directory_ / name, content);
    return directory_ / name;
  }
  /// "id: document" of each.
  static std::vector<std::string> read(const std::vector<fs::path>& paths, LineEnds line_ends = LineEnds::keep) {
    std::vector<std::string> found;
    DocumentList list(paths);
    while (const auto document = list.next()) {
      const SummaryPair pair = read_document(*document, SummaryField::ignored, line_ends);
      found.push_back(fmt::format("{}: {}", fs::path(pair.id).filename().string(), pair.document));
    }
    return found;
  }

  TemporaryDirectory directory_;
};

TEST_F(DocumentListTest, TextsAndLinesInTheirOrder) {
  const fs::path book = file("a book.txt", "It was\r\nlong."), other = file("notes", "No ending.");
  const fs::path records = file("pairs.jsonl",
                                "{\"id\": 7, \"document\": \"a book.txt\"}\n\n"
                                "{\"document\": \"One.\", \"summary\": 1}\n{\"_id\": \"x\", \"document\": \"Two.\"}");
  EXPECT_EQ(read({book, records, other, file("none.jsonl", "\n"), records}, LineEnds::lf),
            (std::vector<std::string>{"a book.txt: It was\nlong.", "7: It was\nlong.", "pairs@37: One.", "x: Two.",
                                      "notes: No ending.", "7: It was\nlong.", "pairs@37: One.", "x: Two."}));
  EXPECT_EQ(read({}), std::vector<std::string>{});
}

TEST_F(DocumentListTest, LinesOverTheEndsOfWhatIsReadAtOnce) {
  std::string content;
  std::vector<std::string> documents;
  while (content.size() < 2'500'000) {
    const std::string document(documents.size() % 7 * 50'000 + 1, static_cast<char>('a' + documents.size() % 26));
    documents.push_back(fmt::format("many@{}: {}", content.size(), document));
    content += fmt::format("{{\"document\": \"{}\"}}\n", document);
  }
  EXPECT_EQ(read({file("many.jsonl", content)}), documents);
}

TEST_F(DocumentListTest, PairsAreADocumentAndASummary) {
  DocumentList list({file("pairs.jsonl", "{\"document\": \"A text.\", \"summary\": \"T.\"}")});
  const SummaryPair pair = read_document(*list.next(), SummaryField::required);
  EXPECT_EQ(pair.document, "A text.");
  EXPECT_EQ(pair.summary, "T.");
}

TEST_F(DocumentListTest, NamesWhatIsWrong) {
  const auto refusal = [&](const fs::path& path, SummaryField summary = SummaryField::ignored) {
    return message_of<Error>([&] {
      DocumentList list({path});
      while (const auto document = list.next()) read_document(*document, summary);
    });
  };
  const auto ends = [](const std::string& message, const std::string& end) {
    EXPECT_TRUE(message.ends_with(end)) << message;
  };
  ends(refusal(directory_ / "gone.txt"), "gone.txt: is not there");
  ends(refusal(directory_.path()), ": is no file");
  ends(refusal(file("empty.txt", " \n")), "empty.txt: holds nothing but white space");
  const std::string good = "{\"document\": \"x\", \"summary\": \"y\"}\n\n";
  ends(refusal(file("a.jsonl", good + "{\"text\": \"x\"}")),
       "a.jsonl: line 3: \"document\" is missing, expected a text");
  ends(refusal(file("a.jsonl", good + "{\"document\": \"\\t\"}")),
       "a.jsonl: line 3: \"document\" holds nothing but white space");
  EXPECT_NE(refusal(file("a.jsonl", good + "{\"document\": \"lost.txt\"}")).find("a.jsonl: line 3: the document "),
            std::string::npos);
  EXPECT_NE(refusal(file("a.jsonl", good + "{\"document\": ")).find("a.jsonl: line 3: "), std::string::npos);
  const auto pair = SummaryField::required;
  ends(refusal(file("a.jsonl", good + "{\"document\": \"x\"}"), pair),
       "line 3: \"summary\" is missing, expected a text");
  ends(refusal(file("a.jsonl", good + "{\"document\": \"x\", \"summary\": \"\"}"), pair),
       "line 3: \"summary\" holds nothing but white space");
  ends(refusal(file("a.txt", "x"), pair), "a.txt: is a text, expected *.jsonl with a document and a summary a line");
}

TEST(Templates, AreWrittenWithoutLineEnds) {
  EXPECT_EQ(unescaped(R"(a\nb\tc\\n\x\)"), "a\nb\tc\\n\\x\\");
  EXPECT_EQ(unescaped(""), "");
}

}  // namespace
}  // namespace palimpsest
