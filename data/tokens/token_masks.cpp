#include "data/tokens/token_masks.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "data/tokens/token_file_format.h"

namespace palimpsest {

using namespace token_file_format;

bool append_spans(std::span<const TokenSpan> spans, std::int64_t begin, std::int64_t tokens,
                  std::vector<std::int64_t>& masked) {
  std::int64_t last = 0, all = 0;
  for (const TokenSpan& span : spans) {
    if (span.begin < last || span.end <= span.begin || span.end > tokens) return false;
    last = span.end;
    all += span.end - span.begin;
  }
  if (all == tokens) return false;
  const std::size_t before = masked.size();
  for (const TokenSpan& span : spans) {
    const std::int64_t end = begin + span.end + (span.end == tokens ? 1 : 0);
    if (masked.size() > before && masked.back() == begin + span.begin) {
      masked.back() = end;
    } else {
      masked.insert(masked.end(), {begin + span.begin, end});
    }
  }
  return true;
}

std::vector<TokenSpan> masked_between(std::span<const std::int64_t> masked, std::int64_t begin, std::int64_t end) {
  std::vector<TokenSpan> spans;
  // Bounds ascend: the first above `begin` ends a span that holds it, or begins the next one.
  auto at = static_cast<std::size_t>(std::ranges::upper_bound(masked, begin) - masked.begin()) / 2 * 2;
  for (; at < masked.size() && masked[at] < end; at += 2) {
    spans.push_back({std::max(begin, masked[at]), std::min(end, masked[at + 1])});
  }
  return spans;
}

void check_masks(const TokenTable& table, const std::filesystem::path& path) {
  const std::vector<std::int64_t>& masked = table.masked;
  if (masked.empty()) return;
  const auto fail = [&](const std::string& message) { throw DataError(fmt::format("{}: {}", path.string(), message)); };
  const std::size_t count = table.words.size();
  if (masked.size() % 2 != 0) fail(fmt::format("{} has {} entries, expected two a span", masked_name, masked.size()));
  if (table.target_words.size() != count || table.target_bytes.size() != count) {
    fail(fmt::format("{} has {} entries, {} {}, expected {}", target_words_name, table.target_words.size(),
                     target_bytes_name, table.target_bytes.size(), count));
  }
  std::size_t at = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::int64_t begin = table.offsets[i], end = table.offsets[i + 1];
    std::int64_t last = begin, left = end - begin - 2;  // tokens of the text that are not masked
    for (; at < masked.size() && masked[at] < end; at += 2) {
      // Not where the last span ends, nor on the begin token.
      if (masked[at] <= last || masked[at + 1] <= masked[at] || masked[at + 1] > end) {
        fail(fmt::format("{}: span {} is {} to {}, expected one behind {} that ends at {} at most, with document {}",
                         masked_name, at / 2, masked[at], masked[at + 1], last, end, i));
      }
      last = masked[at + 1];
      left -= std::min(last, end - 1) - std::min(masked[at], end - 1);
    }
    if (last > begin && left < 1) fail(fmt::format("{}: nothing of document {} is left to predict", masked_name, i));
    const auto check_count = [&](const char* name, std::int64_t found, std::int64_t whole) {
      if (found > whole || found < 0 || (last == begin && found != whole)) {
        fail(fmt::format("{}: entry {} is {}, expected {}{}", name, i, found, last == begin ? "" : "0 to ", whole));
      }
    };
    check_count(target_words_name, table.target_words[i], table.words[i]);
    check_count(target_bytes_name, table.target_bytes[i], table.bytes[i]);
  }
  if (at < masked.size()) {
    fail(fmt::format("{}: span {} begins at {}, but there are {} tokens", masked_name, at / 2, masked[at],
                     table.offsets.back()));
  }
}

}  // namespace palimpsest
