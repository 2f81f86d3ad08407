// Token files: opening one and reading every token. The HDF5 library itself crashes on some inputs; what is tested
// here is that the program does not.
#include <fstream>
#include <iterator>

#include "data/tokens/token_file.h"
#include "tests/fuzz/input_file.h"
#include "tests/fuzz/target.h"
#include "tests/temporary_directory.h"

namespace palimpsest::fuzz {

std::vector<std::string> seeds() {
  const TemporaryDirectory directory;
  std::vector<std::string> files;
  for (const int documents : {1, 3, 4}) {
    const auto path = directory / std::to_string(documents);
    const bool masked = documents == 4;
    TokenFileWriter writer(path, ByteTokenizer());
    for (int i = 0; i < documents; ++i) {
      writer.add_document("name " + std::to_string(i), ByteTokenizer().encode("one two three"), 3, 13, {},
                          masked && i > 0 ? TextMasks{{{0, 4}, {7, 13}}, 1, 3} : TextMasks{});
    }
    writer.finish();
    std::ifstream file(path, std::ios::binary);
    files.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return files;
}

void run(std::string_view input) {
  const InputFile input_file(input);
  const TokenFile file(input_file.path());
  file.verify();
  std::int64_t masked = 0;
  for (std::int64_t i = 0; i < file.document_count(); ++i) {
    const DocumentInfo document = file.document(i);
    const DocumentTargets targets = file.targets(i);
    if (targets.words > document.words || targets.bytes > document.bytes) __builtin_trap();
    for (const TokenSpan& span : file.masked(document.begin, document.begin + document.tokens)) {
      if (span.begin <= document.begin || span.end > document.begin + document.tokens) __builtin_trap();
      masked += span.end - span.begin;
    }
  }
  if (masked != file.masked_tokens()) __builtin_trap();
  file.tokenizer();
}

}  // namespace palimpsest::fuzz
