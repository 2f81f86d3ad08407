#include "data/text/hash_split.h"

#include <charconv>
#include <numeric>

#include <fmt/format.h>

#include "core/error.h"
#include "core/io/file_hash.h"

namespace palimpsest {

namespace {

constexpr std::array<std::string_view, 3> names = {"train", "validation", "test"};
constexpr std::uint64_t largest_share = 1'000'000;

}  // namespace

std::string_view HashSplit::split_of(std::string_view name) const {
  FileHash hash;
  hash.update(std::as_bytes(std::span(name)));
  const std::string digits = hash.digest();
  std::uint64_t number = 0;
  std::from_chars(digits.data(), digits.data() + 16, number, 16);
  number %= std::accumulate(shares.begin(), shares.end(), std::uint64_t{0});
  if (number < shares[0]) return names[0];
  return number < shares[0] + shares[1] ? names[1] : names[2];
}

std::vector<std::string> HashSplit::splits() const {
  std::vector<std::string> splits;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (shares[i] > 0) splits.emplace_back(names[i]);
  }
  return splits;
}

std::vector<CorpusFile> HashSplit::select(const std::vector<CorpusFile>& files, std::string_view split) const {
  std::vector<CorpusFile> selected;
  for (const CorpusFile& file : files) {
    if (is_records(file) || split_of(file.name) == split) selected.push_back(file);
  }
  return selected;
}

HashSplit parse_hash_split(const std::string& rule) {
  const auto fail = [&]() -> HashSplit {
    throw ConfigError(
        fmt::format("\"{}\" is no rule to split by, expected hash: and shares of train, validation and "
                    "test from 0 to {}, like hash:98/1/1",
                    rule, largest_share));
  };
  constexpr std::string_view kind = "hash:";
  if (!rule.starts_with(kind)) return fail();
  HashSplit split;
  const char* at = rule.data() + kind.size();
  const char* const end = rule.data() + rule.size();
  for (std::size_t i = 0; i < split.shares.size(); ++i) {
    if (i > 0 && (at == end || *at++ != '/')) return fail();
    const auto [stop, error] = std::from_chars(at, end, split.shares[i]);
    if (error != std::errc() || split.shares[i] > largest_share) return fail();
    at = stop;
  }
  if (at != end || split.splits().empty()) return fail();
  return split;
}

}  // namespace palimpsest
