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
  for (const int documents : {1, 3}) {
    const auto path = directory / std::to_string(documents);
    TokenFileWriter writer(path, ByteTokenizer());
    for (int i = 0; i < documents; ++i) {
      writer.add_document("name " + std::to_string(i), ByteTokenizer().encode("one two three"), 3, 13);
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
  for (std::int64_t i = 0; i < file.document_count(); ++i) file.document(i);
  file.tokenizer();
}

}  // namespace palimpsest::fuzz
