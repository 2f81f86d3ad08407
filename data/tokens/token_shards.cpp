#include "data/tokens/token_shards.h"

#include <algorithm>
#include <span>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/io/atomic_directory.h"
#include "core/io/json_file.h"
#include "core/printable.h"
#include "data/tokens/token_file.h"
#include "data/tokens/token_file_format.h"

namespace palimpsest {

namespace fs = std::filesystem;
using namespace token_file_format;

namespace {

constexpr const char* index_format = "palimpsest token shards";
constexpr std::int64_t index_version = 1;

struct IndexedShard {
  std::string name, checksum;
};

struct Index {
  std::string tokens_checksum, checksum;
  std::vector<IndexedShard> shards;
};

Index read_index(const fs::path& folder) {
  const fs::path path = folder / shard_index_name;
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    throw FileError(fmt::format("{}: is a folder without {}, expected a token file; `palimpsest pack` makes them",
                                folder.string(), shard_index_name));
  }
  const nlohmann::json json = parse_json(read_text_file(path), path.string());
  Index index;
  try {
    if (json.at("format") != index_format) {
      throw FileError(fmt::format("{}: is not the index of a token file in shards", path.string()));
    }
    if (json.at("version") != index_version) {
      throw FileError(
          fmt::format("{}: version {}, expected {}", path.string(), json.at("version").dump(), index_version));
    }
    json.at("tokens_checksum").get_to(index.tokens_checksum);
    json.at("checksum").get_to(index.checksum);
    for (const auto& shard : json.at("shards")) index.shards.push_back({shard.at("name"), shard.at("checksum")});
  } catch (const nlohmann::json::exception& error) {
    throw FileError(fmt::format("{}: is not a whole index: {}", path.string(), error.what()));
  }
  if (index.shards.empty()) throw DataError(fmt::format("{}: names no shard", path.string()));
  std::string last;
  for (const IndexedShard& shard : index.shards) {
    // Anything else could lead out of the folder, or to one shard for ever.
    const std::string& name = shard.name;
    const bool plain = name.size() <= 32 && fs::path(name).filename() == name && fs::path(name).extension() == ".h5";
    if (!plain || std::pair(name.size(), name) <= std::pair(last.size(), last)) {
      throw DataError(fmt::format("{}: names a shard \"{}\" after \"{}\", expected names like {} in ascending order",
                                  path.string(), printable(name, 64), last, shard_name(0)));
    }
    last = name;
  }
  return index;
}

/// Opens one more shard and puts its table behind the others.
void add_shard(const fs::path& path, TokenShards& shards) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) throw FileError(fmt::format("{}: this shard is missing", path.string()));
  shards.files.push_back(Hdf5File::open_untrusted(path));
  TokenTable table = read_token_table(shards.files.back());
  TokenTable& all = shards.table;
  shards.begins.push_back(all.offsets.back());
  if (shards.files.size() == 1) {
    all = std::move(table);
    return;
  }
  if (table.tokenizer_identity != all.tokenizer_identity || table.tokenizer_model != all.tokenizer_model ||
      table.vocab_size != all.vocab_size || table.begin_id != all.begin_id || table.end_id != all.end_id) {
    throw DataError(fmt::format("{}: was packed with tokenizer {}, the first shard with {}", path.string(),
                                table.tokenizer_identity, all.tokenizer_identity));
  }
  std::int64_t sum = 0;
  if (__builtin_add_overflow(all.offsets.back(), table.offsets.back(), &sum))
    throw DataError(fmt::format("{}: token counts out of range", path.string()));
  all.append(table);
}

}  // namespace

std::string shard_name(std::size_t index) { return fmt::format("{:05}.h5", index); }

TokenShards open_token_shards(const fs::path& folder) {
  const Index index = read_index(folder);
  TokenShards shards;
  for (const IndexedShard& shard : index.shards) {
    const fs::path path = folder / shard.name;
    add_shard(path, shards);
    const std::string found = shards.files.back().text_attribute("checksum");
    if (found != shard.checksum) {
      throw DataError(fmt::format("{}: is another shard than the one in {}: its checksum is {}, expected {}",
                                  path.string(), shard_index_name, found, shard.checksum));
    }
  }
  check_sums(shards.table, folder / shard_index_name);
  shards.table.tokens_checksum = index.tokens_checksum;
  shards.table.checksum = index.checksum;
  const std::string checksum = shards.table.content_checksum();
  if (checksum != index.checksum) {
    throw DataError(fmt::format("{}: the checksum of the document table is {}, expected {}",
                                (folder / shard_index_name).string(), checksum, index.checksum));
  }
  return shards;
}

void write_shard_index(const fs::path& folder, const std::vector<std::string>& names) {
  TokenShards shards;
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const std::string& name : names) {
    add_shard(folder / name, shards);
    list.push_back({{"name", name},
                    {"tokens", shards.table.offsets.back() - shards.begins.back()},
                    {"checksum", shards.files.back().text_attribute("checksum")}});
  }
  shards.files.clear();
  TokenHash hash(shards.table.vocab_size);
  for (const std::string& name : names) {
    const TokenFile file(folder / name);
    constexpr std::int64_t piece = 1 << 20;
    for (std::int64_t begin = 0; begin < file.token_count(); begin += piece) {
      std::vector<std::int32_t> tokens(static_cast<std::size_t>(std::min(piece, file.token_count() - begin)));
      file.read(begin, tokens);
      hash.update(tokens);
    }
  }
  shards.table.tokens_checksum = hash.digest();
  const nlohmann::ordered_json index = {{"format", index_format},
                                        {"version", index_version},
                                        {"tokenizer", shards.table.tokenizer_identity},
                                        {"documents", shards.table.words.size()},
                                        {"tokens", shards.table.offsets.back()},
                                        {"tokens_checksum", shards.table.tokens_checksum},
                                        {"checksum", shards.table.content_checksum()},
                                        {"shards", list}};
  write_file_atomically(folder / shard_index_name, index.dump(1) + '\n');
}

}  // namespace palimpsest
