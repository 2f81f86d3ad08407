#include "launch/measures/trec_files.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/io/json_file.h"
#include "core/printable.h"
#include "core/white_space.h"
#include "launch/measures/byte_order_mark.h"

namespace palimpsest {

namespace {

constexpr std::size_t longest_file = std::size_t{4} << 30;

std::vector<std::string_view> columns_of(std::string_view line, std::string_view separators) {
  std::vector<std::string_view> columns;
  while (true) {
    const std::size_t begin = line.find_first_not_of(separators);
    if (begin == std::string_view::npos) return columns;
    const std::size_t end = std::min(line.find_first_of(separators, begin), line.size());
    columns.push_back(line.substr(begin, end - begin));
    line.remove_prefix(end);
  }
}

template <class Number>
std::optional<Number> number_of(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// Calls take(line, "name:number") for each line that says something.
template <class Take>
void for_each_line(std::string_view text, const std::string& name, const Take& take) {
  text = without_byte_order_mark(text);
  std::int64_t taken = 0;
  for (std::int64_t number = 1; !text.empty(); ++number) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (is_blank(line)) continue;
    if (line.ends_with('\r')) line.remove_suffix(1);
    take(line, fmt::format("{}:{}", name, number));
    ++taken;
  }
  if (taken == 0) throw FileError(fmt::format("{}: is empty", name));
}

[[noreturn]] void refuse(const std::string& where, std::string_view line, std::string_view expected) {
  throw FileError(fmt::format("{}: \"{}\": expected {}", where, printable(line), expected));
}

}  // namespace

void sort_ranking(std::vector<RankedDocument>& documents) {
  std::ranges::sort(documents, [](const RankedDocument& a, const RankedDocument& b) {
    return a.score != b.score ? a.score > b.score : a.document > b.document;
  });
}

Ranking parse_run(std::string_view text, const std::string& name) {
  Ranking ranking;
  for_each_line(text, name, [&](std::string_view line, const std::string& where) {
    const auto columns = columns_of(line, white_space);
    const auto score = columns.size() < 6 ? std::nullopt : number_of<double>(columns[4]);
    if (!score || std::isnan(*score)) refuse(where, line, "QUERY Q0 DOCUMENT RANK SCORE RUN, the score a number");
    ranking[std::string(columns[0])].push_back({std::string(columns[2]), *score});
  });
  for (auto& [query, documents] : ranking) {
    std::ranges::sort(documents, {}, &RankedDocument::document);
    const auto twice = std::ranges::adjacent_find(documents, {}, &RankedDocument::document);
    if (twice != documents.end()) {
      throw FileError(
          fmt::format("{}: has document {} twice for query {}", name, printable(twice->document), printable(query)));
    }
    sort_ranking(documents);
  }
  return ranking;
}

Judgements parse_judgements(std::string_view text, const std::string& name) {
  Judgements judgements;
  bool first = true, beir = false;
  for_each_line(text, name, [&](std::string_view line, const std::string& where) {
    std::vector<std::string_view> columns = columns_of(line, beir ? "\t" : white_space);
    if (std::exchange(first, false) && columns.size() == 3 && !number_of<std::int64_t>(columns[2])) {
      beir = true;
      return;
    }
    const std::size_t wanted = beir ? 3 : 4;
    const auto relevance = columns.size() != wanted ? std::nullopt : number_of<std::int64_t>(columns.back());
    if (!relevance) {
      refuse(where, line,
             beir ? "QUERY, DOCUMENT and RELEVANCE with tabs between, the last a whole number"
                  : "QUERY ITERATION DOCUMENT RELEVANCE, the last a whole number, or a first line of names "
                    "(query-id, corpus-id, score)");
    }
    const std::string query(columns[0]), document(columns[wanted - 2]);
    if (!judgements[query].emplace(document, *relevance).second) {
      throw FileError(
          fmt::format("{}: judges document {} twice for query {}", where, printable(document), printable(query)));
    }
  });
  if (judgements.empty()) throw FileError(fmt::format("{}: has no judgements", name));
  return judgements;
}

Ranking read_run(const std::filesystem::path& path) {
  return parse_run(read_text_file(path, longest_file), path.string());
}

Judgements read_judgements(const std::filesystem::path& path) {
  return parse_judgements(read_text_file(path, longest_file), path.string());
}

std::string format_run(const Ranking& ranking, std::string_view run_name) {
  std::string text;
  for (const auto& [query, documents] : ranking) {
    for (std::size_t i = 0; i < documents.size(); ++i) {
      text += fmt::format("{} Q0 {} {} {} {}\n", query, documents[i].document, i + 1, documents[i].score, run_name);
    }
  }
  // The first mark is skipped by who reads it: one that belongs to an id needs another before it.
  if (text.starts_with(byte_order_mark)) text.insert(0, byte_order_mark);
  return text;
}

}  // namespace palimpsest
