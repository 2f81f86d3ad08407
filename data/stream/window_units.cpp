#include "data/stream/window_units.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace palimpsest {

std::int64_t longest_prompt(const TokenFile& file, std::int64_t document) {
  const DocumentInfo info = file.document(document);
  const std::int64_t end = info.begin + info.tokens;
  std::int64_t longest = 0, prompt = 0;
  for (const TokenSpan& span : file.masked(info.begin, end)) {
    if (span.end == end || span.end - span.begin <= longest) continue;
    longest = span.end - span.begin;
    prompt = span.end - info.begin;
  }
  return prompt;
}

std::vector<WindowUnit> window_units(const TokenFile& file, std::int64_t window, std::int64_t context,
                                     std::int64_t least) {
  std::vector<WindowUnit> units;
  for (std::int64_t document = 0; document < file.document_count(); ++document) {
    const DocumentInfo info = file.document(document);
    const std::int64_t prompt = longest_prompt(file, document);
    if (prompt <= context && !units.empty() && static_cast<std::int64_t>(units.size()) >= least) {
      WindowUnit& last = units.back();
      if (last.front + last.tokens + info.tokens <= last.windows * window) {
        last.tokens += info.tokens;
        continue;
      }
    }
    const std::int64_t before = std::max<std::int64_t>(prompt - context, 0);
    const std::int64_t front = (window - before % window) % window;
    units.push_back({document, info.begin, info.tokens, front, (front + info.tokens + window - 1) / window});
  }
  return units;
}

std::vector<std::vector<std::size_t>> balanced_groups(const std::vector<WindowUnit>& units, std::int64_t groups) {
  std::vector<std::size_t> by_length(units.size());
  std::iota(by_length.begin(), by_length.end(), std::size_t{0});
  std::ranges::stable_sort(by_length,
                           [&](std::size_t a, std::size_t b) { return units[a].windows > units[b].windows; });
  std::vector<std::vector<std::size_t>> shared(static_cast<std::size_t>(groups));
  std::vector<std::int64_t> windows(shared.size(), 0);
  for (const std::size_t unit : by_length) {  // the longest first, each to who has least
    const auto least = std::ranges::min_element(windows) - windows.begin();
    shared[static_cast<std::size_t>(least)].push_back(unit);
    windows[static_cast<std::size_t>(least)] += units[unit].windows;
  }
  for (std::vector<std::size_t>& group : shared) std::ranges::sort(group);
  return shared;
}

}  // namespace palimpsest
