#include "launch/search/search_report.h"

#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/printable.h"
#include "core/white_space.h"
#include "launch/measures/text_pairs.h"
#include "launch/output/table.h"

namespace palimpsest {

namespace {

void require_run_id(const std::string& id, const char* what) {
  if (id.empty() || id.find_first_of(white_space) != std::string::npos) {
    throw DataError(
        fmt::format("{} \"{}\" cannot stand in a run file: expected an id without white space (--json takes any)", what,
                    printable(id)));
  }
}

}  // namespace

std::string format_results(const std::vector<SearchResult>& results, std::int64_t top) {
  constexpr std::size_t longest_title = 100, longest_sentence = 300;
  std::string text;
  for (const SearchResult& result : results) {
    if (!text.empty()) text += '\n';
    if (results.size() > 1) text += fmt::format("{}: {}\n", printable(result.query.id), printable(result.query.text));
    if (result.hits.empty()) {
      text += "nothing found\n";
      continue;
    }
    // The title stands last and is not aligned: a table of the others, and then the lines joined.
    std::vector<std::vector<std::string>> rows = {{"rank", "score", "log-likelihood", "BM25"}};
    std::vector<std::string> titles = {"document"};
    for (const SearchHit& hit : result.hits) {
      if (static_cast<std::int64_t>(titles.size()) > top) break;
      rows.push_back({std::to_string(titles.size()), fmt::format("{:.4f}", hit.score),
                      hit.log_likelihood ? fmt::format("{:.4f}", *hit.log_likelihood) : "-",
                      hit.bm25 ? fmt::format("{:.4f}", *hit.bm25) : "-"});
      const std::string id = printable(hit.document, longest_title);
      titles.push_back(hit.title.empty() ? id : fmt::format("{} ({})", printable(hit.title, longest_title), id));
      if (hit.sentence.empty()) continue;
      titles.back() += fmt::format("\n      {}", printable(hit.sentence, longest_sentence));
    }
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i].push_back("");
    const std::string table = format_table(rows);
    std::size_t begin = 0;
    for (const std::string& title : titles) {
      const std::size_t end = table.find('\n', begin);
      text += table.substr(begin, end - begin) + "  " + title + '\n';
      begin = end + 1;
    }
  }
  return text;
}

void require_run_ids(const std::vector<SearchQuery>& queries, const IndexManifest& index) {
  for (const SearchQuery& query : queries) require_run_id(query.id, "query");
  for (const IndexShard& shard : index.shards) {
    for (const IndexedDocument& document : shard.documents) require_run_id(document.id, "document");
  }
}

std::string run_of(const std::vector<SearchResult>& results) {
  Ranking ranking;
  for (const SearchResult& result : results) {
    require_run_id(result.query.id, "query");
    std::vector<RankedDocument>& documents = ranking[result.query.id];
    for (const SearchHit& hit : result.hits) {
      require_run_id(hit.document, "document");
      documents.push_back({hit.document, hit.score});
    }
  }
  return format_run(ranking, "palimpsest");
}

std::string json_lines_of(const std::vector<SearchResult>& results) {
  std::string lines;
  for (const SearchResult& result : results) {
    nlohmann::ordered_json json = {
        {"id", result.query.id}, {"query", result.query.text}, {"documents", nlohmann::ordered_json::array()}};
    for (const SearchHit& hit : result.hits) {
      nlohmann::ordered_json document = {{"id", hit.document}, {"title", hit.title}, {"score", hit.score}};
      if (hit.log_likelihood) document["log_likelihood"] = *hit.log_likelihood;
      if (hit.bm25) document["bm25"] = *hit.bm25;
      if (!hit.sentence.empty()) document["sentence"] = hit.sentence;
      json["documents"].push_back(std::move(document));
    }
    lines += json.dump() + '\n';
  }
  return lines;
}

std::vector<SearchQuery> read_queries(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    throw FileError(fmt::format("{}: is a folder: expected a file of queries", path.string()));
  }
  std::vector<SearchQuery> queries;
  for (NamedTexts& query : read_texts(path, "text", /*whole_file=*/false)) {
    SearchQuery found{std::move(query.id), std::move(query.texts.front())};
    if (found.id.empty()) found.id = std::to_string(queries.size() + 1);
    if (query.texts.size() != 1 || is_blank(found.text)) {
      throw DataError(
          fmt::format("{}: query {} is empty, or several texts: expected one", path.string(), printable(found.id)));
    }
    queries.push_back(std::move(found));
  }
  return queries;
}

}  // namespace palimpsest
