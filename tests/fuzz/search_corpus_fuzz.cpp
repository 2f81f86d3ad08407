// Corpora of a search: a document a line.
#include "launch/search/search_corpus.h"
#include "tests/fuzz/input_file.h"
#include "tests/fuzz/target.h"

namespace palimpsest::fuzz {

std::vector<std::string> seeds() {
  return {
      "{\"_id\": \"1\", \"title\": \"One\", \"text\": \"a text\", \"metadata\": {}}\n\n{\"_id\": \"2\", \"text\": "
      "\"\"}",
      "{\"_id\": \"\\u00e9\", \"text\": \"a\\nb\"}\r\n"};
}

void run(std::string_view input) {
  const InputFile file(input, ".jsonl");
  const SearchCorpus corpus(file.path());
  for (std::int64_t i = 0; i < corpus.size(); ++i) {
    const SearchDocument document = corpus.document(i);
    if (document.id.empty() || document.id != corpus.id(i)) __builtin_trap();
    if (document.whole_text().size() < document.text.size()) __builtin_trap();
  }
}

}  // namespace palimpsest::fuzz
