// A rule that shares the files of a folder among the splits train, validation and test.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/text/corpus.h"

namespace palimpsest {

/// By a hash of each file's name alone: a file stays in its split whatever else is added or taken away.
struct HashSplit {
  std::array<std::uint64_t, 3> shares{};  // of train, validation and test

  /// "train", "validation" or "test": the first 16 hexadecimal digits of the name's XXH3-128, as a number modulo the
  /// sum of the shares, lie in the first, second or third of them.
  std::string_view split_of(std::string_view name) const;
  /// Those that have a share.
  std::vector<std::string> splits() const;
  /// The files of one split, and all files of records, which are shared out one by one.
  std::vector<CorpusFile> select(const std::vector<CorpusFile>& files, std::string_view split) const;
};

/// "hash:98/1/1". Throws ConfigError.
HashSplit parse_hash_split(const std::string& rule);

}  // namespace palimpsest
