// Records: what a line of JSON gives, how a file of them is cut into lines, and how it is packed.
#include "data/text/json_records.h"

#include <algorithm>
#include <functional>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "data/text/line_blocks.h"
#include "data/tokens/pack.h"
#include "data/tokens/shard_packing.h"
#include "data/tokens/token_file.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

/// The text of a record with what is masked in brackets, or why it has none.
std::string shown(const std::string& line, const RecordFormat& format = {}) {
  const Record record = parse_record(line, "a", format);
  if (const auto* problem = std::get_if<CorpusProblem>(&record.document)) return problem->reason;
  std::string text;
  for (const TextPart& part : parts_of(std::get<CorpusDocument>(record.document))) {
    text += part.masked ? fmt::format("[{}]", part.text) : std::string(part.text);
  }
  return text;
}

std::string refusal(const std::string& line, const RecordFormat& format = {}) {
  return message_of<Error>([&] { parse_record(line, "a.jsonl: line 3", format); });
}

TEST(JsonRecords, AreTextsPromptsAndConversations) {
  EXPECT_EQ(shown(R"({"text": "one two", "score": 3})"), "one two");
  EXPECT_EQ(shown(R"({"body": "one", "text": "two"})", {.text_field = "body"}), "one");
  EXPECT_EQ(shown(R"({"prompt": "2 + 2 = ", "completion": "4\r\n"})"), "[2 + 2 = ]4\r\n");
  EXPECT_EQ(shown(R"({"prompt": "a\r\nb", "completion": "4\r\n"})", {.line_ends = LineEnds::lf}), "[a\nb]4\n");
  EXPECT_EQ(shown(R"({"prompt": "", "completion": "4"})"), "4");
  const std::string chat =
      R"({"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "Bye!"}]})";
  EXPECT_EQ(shown(chat),
            "[system:\nBe kind.\n\nuser:\nHi\n\nassistant:\n]Hello\n\n[user:\nBye\n\nassistant:\n]Bye!\n\n");
  EXPECT_EQ(shown(chat, {.turn = parse_turn_template("<{role}>{content}</{role}>")}),
            "[<system>Be kind.</system><user>Hi</user><assistant>]Hello</assistant>[<user>Bye</user><assistant>]"
            "Bye!</assistant>");
  const auto record = parse_record(R"({"_id": 12, "title": "T", "year": 1901, "text": "x"})", "a", {});
  EXPECT_EQ(record.id, "12");
  EXPECT_EQ(record.origin, (DocumentOrigin{"T", 1901}));
  EXPECT_EQ(parse_record(R"({"id": "n", "title": ["T"], "year": "x", "text": "x"})", "a", {}).origin, DocumentOrigin{});
}

TEST(JsonRecords, AreDocumentsWithTheirSummaries) {
  const TemporaryDirectory directory;
  overwrite_file(directory / "a book.txt", "It was\r\nlong.");
  RecordFormat format{.kind = RecordKind::summary};
  EXPECT_EQ(shown(R"({"document": "A text.", "summary": "T."})", format), "[A text.\n\nSummary:\n]T.");
  format.line_ends = LineEnds::lf;
  format.pair = parse_pair_template("<{document}> = <{summary}>");
  const std::string line = R"({"document": "a book.txt", "summary": "Long."})";
  const Record record = parse_record(line, "a", format, directory.path());
  EXPECT_EQ(std::get<CorpusDocument>(record.document).text, "<It was\nlong.> = <Long.>");
  EXPECT_EQ(std::get<CorpusDocument>(record.document).masked, (std::vector<TextSpan>{{0, 18}}));
  EXPECT_EQ(referenced_bytes(line, directory.path()), 13u);
  EXPECT_EQ(referenced_bytes(R"({"document": "A text.\n.txt"})", directory.path()), 0u);
  EXPECT_EQ(referenced_bytes("{", directory.path()), 0u);
  fs::remove(directory / "a book.txt");
  const std::string message =
      message_of<DataError>([&] { parse_record(line, "pairs.jsonl: line 2", format, directory.path()); });
  EXPECT_TRUE(message.starts_with("pairs.jsonl: line 2: the document ") && holds(message, "a book.txt cannot be read"))
      << message;
  // Never by itself: other data have such fields, too.
  EXPECT_TRUE(holds(refusal(R"({"document": "x", "summary": "y"})"), "a record without a text"));
  for (const char* wrong : {"{document}", "{summary}", "{summary}{document}", "{document}{document}{summary}"}) {
    EXPECT_THROW(parse_pair_template(wrong), ConfigError) << wrong;
  }
}

TEST(JsonRecords, WithoutAWordToPredictGiveNoDocument) {
  EXPECT_EQ(shown(R"({"text": " \n"})"), "holds nothing but white space");
  EXPECT_EQ(shown(R"({"text": ""})"), "holds nothing but white space");
  EXPECT_EQ(shown(R"({"prompt": "a", "completion": " "})"), "has no word to predict");
  EXPECT_EQ(shown(R"({"messages": [{"role": "user", "content": "Hi"}]})"), "has no word to predict");
  EXPECT_EQ(shown(R"({"messages": []})"), "holds nothing but white space");
}

TEST(JsonRecords, SayWhatIsWrongAndWhatIsExpected) {
  const auto expect = [](const std::string& line, const std::string& part, const RecordFormat& format = {}) {
    const std::string message = refusal(line, format);
    EXPECT_TRUE(message.starts_with("a.jsonl: line 3: ") && holds(message, part)) << message << "\n" << part;
  };
  expect(R"({"text": "x")", "not JSON at byte");
  expect("{\"text\": \"\xE9\"}", "not JSON at byte");
  expect(R"({"text": "x", "text": "y"})", "the key 'text' is given twice");
  expect("[1]", "a JSON array, expected an object");
  expect("{}", R"(a record without a text, expected one of "text" (--text-field), "prompt" with "completion", and)");
  expect(R"({"text": null})", "a record without a text");
  expect(R"({"text": "x", "messages": []})", R"(has "text" and "messages", expected one of)");
  expect(R"({"text": 7})", "\"text\" is 7, expected a text");
  expect(R"({"completion": "x"})", "\"prompt\" is missing, expected a text");
  expect(R"({"text": "x"})", "\"prompt\" is missing", {.kind = RecordKind::completion});
  expect(R"({"messages": 3})", "\"messages\" is missing or no list");
  expect(R"({"messages": [{"role": "user", "content": "x"}, 3]})", "turn 2 of \"messages\": a JSON number");
  expect(R"({"messages": [{"role": "user"}]})", "turn 1 of \"messages\": \"content\" is missing");
  expect(R"({"id": [], "text": "x"})", "\"id\" is [], expected a text or a whole number");
  expect(R"({"id": "a\u0000", "text": "x"})", "a zero byte in \"id\"");
  EXPECT_THROW(parse_turn_template("{role}"), ConfigError);
  EXPECT_THROW(parse_turn_template("{content}{content}"), ConfigError);
}

TEST(LineBlocks, EveryRangeHasTheLinesThatBeginInIt) {
  const TemporaryDirectory directory;
  const std::string text = "one\n\nthree\nfour is longer\r\n5\nlast";
  overwrite_file(directory / "a", text);
  const auto read = [&](std::uint64_t begin, std::uint64_t end, std::size_t block) {
    std::string all;
    LineBlocks blocks(directory / "a", begin, end, block, 100);
    while (const auto lines = blocks.next()) {
      EXPECT_EQ(text.substr(lines->offset, lines->text.size()), lines->text);
      EXPECT_TRUE(lines->text.ends_with('\n') || lines->text.ends_with("last"));
      all += lines->text;
    }
    return all;
  };
  for (std::uint64_t first = 0; first <= text.size() + 1; ++first) {
    for (std::uint64_t second = first; second <= text.size() + 1; ++second) {
      for (const std::size_t block : {1, 7, 1000}) {
        const std::string all = read(0, first, block) + read(first, second, block) + read(second, 1000, block);
        ASSERT_EQ(all, text) << first << " " << second << " " << block;
      }
    }
  }
  EXPECT_EQ(read(4, 5, 10), "\n");
  EXPECT_EQ(read(5, 12, 10), "three\nfour is longer\r\n");
  EXPECT_EQ(line_at(directory / "a", 0), 1);
  EXPECT_EQ(line_at(directory / "a", 5), 3);
  LineBlocks narrow(directory / "a", 0, 1000, 1, 9);
  narrow.next();
  narrow.next();
  narrow.next();
  EXPECT_TRUE(holds(message_of<DataError>([&] { narrow.next(); }), "line 4 has more than 9 bytes"));
}

/// Texts, and files of records of every kind: more than one block of them.
struct Fixture {
  TemporaryDirectory directory;
  fs::path corpus = directory / "corpus";
  ByteTokenizer tokenizer;

  Fixture() {
    fs::create_directory(corpus);
    overwrite_file(corpus / "plain.txt", "a plain text");
    std::string lines;
    for (int i = 0; i < 3000; ++i) {
      lines += fmt::format(R"({{"prompt": "question {} {}", "completion": "answer"}})", i,
                           std::string(static_cast<std::size_t>(i * 7919 % 900), 'x'));
      lines += i % 3 == 0 ? "\r\n" : "\n";
    }
    overwrite_file(corpus / "many.jsonl", lines);
    overwrite_file(
        corpus / "few.jsonl",
        "{\"id\": \"first\", \"title\": \"One\", \"text\": \"one\"}\n\n{\"text\": \" \"}\n{\"text\": \"four\"}");
  }
  std::string pack(const std::string& name, PackOptions options = {}) {
    pack_folder(corpus, directory / name, tokenizer, options);
    return file_content(directory / name);
  }
};

TEST(RecordPacking, GivesADocumentALineWhateverTheThreads) {
  Fixture fixture;
  const std::string one = fixture.pack("one.h5");
  for (const int threads : {2, 5}) {
    const std::string name = fmt::format("{}.h5", threads);
    EXPECT_TRUE(fixture.pack(name, {.threads = threads, .bytes_in_flight = 1'500'000}) == one) << threads;
  }
  const TokenFile file(fixture.directory / "one.h5");
  file.verify();
  ASSERT_EQ(file.document_count(), 3003);
  EXPECT_EQ(file.document(0).name, "first");
  EXPECT_EQ(file.document(0).title, "One");
  EXPECT_EQ(file.document(1).name, "few@62");
  EXPECT_EQ(file.document(2).name, "many@0");
  EXPECT_EQ(file.document(3002).name, "plain");
  EXPECT_EQ(file.targets(2).bytes, 6);
  EXPECT_EQ(file.targets(2).words, 1);
  EXPECT_EQ(file.document(2).words, 3);
  const auto masked = file.masked(file.document(3).begin, file.document(4).begin);
  ASSERT_EQ(masked.size(), 1u);
  EXPECT_EQ(masked[0].begin, file.document(3).begin + 1);
  EXPECT_EQ(masked[0].end - masked[0].begin, file.document(3).bytes - 6);
}

TEST(RecordPacking, NamesTheLineOfWhatIsNoRecord) {
  Fixture fixture;
  std::string lines;
  for (int i = 0; i < 40'000; ++i) lines += "{\"text\": \"as it should be, and so on and on\"}\n";
  overwrite_file(fixture.corpus / "bad.jsonl", lines + "{\"text\": 3}\n");
  const std::string message = message_of<DataError>([&] { fixture.pack("bad.h5", {.threads = 3}); });
  EXPECT_TRUE(holds(message, "bad.jsonl: line 40001: \"text\" is 3, expected a text")) << message;
  EXPECT_FALSE(fs::exists(fixture.directory / "bad.h5"));
}

TEST(RecordPacking, PassesOverWhatIsEmptyUnlessStrict) {
  Fixture fixture;
  const PackReport report = pack_folder(fixture.corpus, fixture.directory / "a.h5", fixture.tokenizer, {});
  ASSERT_EQ(report.problems.size(), 1u);
  EXPECT_TRUE(holds(report.problems[0].path, "few.jsonl: the record at byte 48"));
  EXPECT_EQ(report.files_read, 3);
  EXPECT_EQ(report.bytes_read, report.bytes_found);
  EXPECT_THROW(fixture.pack("strict.h5", {.strict = true}), DataError);
}

TEST(RecordPacking, SplitsByRecord) {
  Fixture fixture;
  const HashSplit rule = parse_hash_split("hash:80/10/10");
  std::int64_t documents = 0;
  for (const std::string split : {"train", "validation", "test"}) {
    fixture.pack(split + ".h5", {.split_by = rule, .split = split});
    const TokenFile file(fixture.directory / (split + ".h5"));
    for (std::int64_t i = 0; i < file.document_count(); ++i) {
      const std::string name(file.document(i).name);
      if (name == "plain") continue;
      EXPECT_EQ(rule.split_of(name), split);
      ++documents;
    }
  }
  EXPECT_EQ(documents, 3002);
  fs::remove(fixture.corpus / "plain.txt");
  fs::remove(fixture.corpus / "many.jsonl");
  const std::string message = message_of<DataError>(
      [&] { fixture.pack("none.h5", {.split_by = parse_hash_split("hash:0/0/1"), .split = "train"}); });
  EXPECT_TRUE(holds(message, "none of 1 files has a record that falls to the split train")) << message;
}

TEST(RecordPacking, ShardsCutFilesAtLines) {
  Fixture fixture;
  fixture.pack("whole.h5");
  const fs::path folder = fixture.directory / "set.h5.packing";
  fs::create_directory(folder);
  const auto files = cut_records(list_corpus(fixture.corpus, CorpusKinds::all).files, 100'000);
  EXPECT_GT(files.size(), 10u);
  std::vector<PackReport> reports;
  PackOptions options;
  for (const auto& shard : plan_shards(files, 100'000)) {
    const ShardTask task{folder, reports.size(), shard};
    reports.push_back(pack_shard(task, fixture.tokenizer, options));
    EXPECT_TRUE(finished_shard(task, fixture.tokenizer, options));
    PackOptions others = options;
    others.records.text_field = "body";
    EXPECT_EQ(finished_shard(task, fixture.tokenizer, others).has_value(), shard[0].format == CorpusFormat::text);
  }
  EXPECT_GT(reports.size(), 10u);
  finish_shards(folder, reports, fixture.directory / "set.h5", false);
  const TokenFile set(fixture.directory / "set.h5"), whole(fixture.directory / "whole.h5");
  set.verify();
  EXPECT_EQ(set.checksum(), whole.checksum());
  EXPECT_EQ(set.masked_tokens(), whole.masked_tokens());
}

}  // namespace
}  // namespace palimpsest
