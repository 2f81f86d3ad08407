// Files of records, as pack reads them: the first byte says whether as they are, or as gzip or zstd, or whether they
// are documents with their summaries, as these are measured while training.
#include <sstream>
#include <string>

#include "data/text/document_list.h"
#include "data/text/json_records.h"
#include "data/text/line_blocks.h"
#include "tests/fuzz/input_file.h"
#include "tests/fuzz/target.h"

namespace palimpsest::fuzz {

std::vector<std::string> seeds() {
  // {"text": "one"} and a line end, compressed.
  const std::string gzip(
      "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\x2a\x49\xad\x28\x51\xb2\x52\x50\xca\xcf\x4b\x55\xaa\xe5\x02\x00"
      "\x6d\x03\xd1\x06\x10\x00\x00\x00",
      36);
  const std::string zstd(
      "\x28\xb5\x2f\xfd\x04\x58\x81\x00\x00\x7b\x22\x74\x65\x78\x74\x22\x3a\x20\x22\x6f\x6e\x65\x22\x7d\x0a\xda\x47\x0a"
      "\x1d",
      29);
  return {"j{\"text\": \"one\", \"id\": 3, \"title\": \"One\", \"year\": 1901}\n\n{\"text\": \"two\"}",
          "j{\"prompt\": \"one\", \"completion\": \"two\"}\r\n",
          "j{\"messages\": [{\"role\": \"user\", \"content\": \"one\"}, {\"role\": \"assistant\", \"content\": "
          "\"two\"}]}\n",
          "p{\"document\": \"one\", \"summary\": \"two\"}\n",
          "g" + gzip,
          "z" + zstd};
}

void run(std::string_view input) {
  if (input.empty()) return;
  if (input.front() == 'p') {
    const InputFile file(input.substr(1), ".jsonl");
    DocumentList list({file.path()});
    while (const auto document = list.next()) {
      const SummaryPair pair = read_document(*document, SummaryField::required);
      if (pair.id.empty() || pair.document.empty() || pair.summary.empty()) __builtin_trap();
    }
    return;
  }
  const char* ending = input.front() == 'g' ? ".gz" : input.front() == 'z' ? ".zst" : "";
  const InputFile file(input.substr(1), ending);
  LineBlocks blocks(file.path(), 0, ~std::uint64_t{0}, 16, std::size_t{1} << 20);
  while (const auto block = blocks.next()) {
    std::istringstream lines(block->text);
    for (std::string line; std::getline(lines, line);) {
      const Record record = parse_record(line, "records", {});
      const auto* document = std::get_if<CorpusDocument>(&record.document);
      if (document == nullptr) continue;
      std::string text;
      for (const TextPart& part : parts_of(*document)) {
        if (part.text.empty()) __builtin_trap();
        text += part.text;
      }
      if (text != document->text) __builtin_trap();
    }
  }
}

}  // namespace palimpsest::fuzz
