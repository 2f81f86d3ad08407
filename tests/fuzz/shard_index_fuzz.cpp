// The index of a token file in shards, beside shards that are whole.
#include <fstream>
#include <iterator>

#include "data/tokens/token_file.h"
#include "data/tokens/token_shards.h"
#include "tests/fuzz/target.h"
#include "tests/temporary_directory.h"

namespace palimpsest::fuzz {

namespace {

/// A folder of two shards.
void write_shards(const TemporaryDirectory& directory) {
  for (const std::size_t shard : {0, 1}) {
    TokenFileWriter writer(directory / shard_name(shard), ByteTokenizer());
    writer.add_document("name", ByteTokenizer().encode("one two three"), 3, 13);
    writer.finish();
  }
}

}  // namespace

std::vector<std::string> seeds() {
  const TemporaryDirectory directory;
  write_shards(directory);
  write_shard_index(directory.path(), {shard_name(0), shard_name(1)});
  std::ifstream file(directory / shard_index_name, std::ios::binary);
  return {std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>())};
}

void run(std::string_view input) {
  static const TemporaryDirectory directory;
  static const bool written = (write_shards(directory), true);
  static_cast<void>(written);
  std::ofstream(directory / shard_index_name, std::ios::binary | std::ios::trunc) << input;
  TokenFile(directory.path()).verify();
}

}  // namespace palimpsest::fuzz
