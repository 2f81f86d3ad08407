// What a search has found, for people, for measuring tools and for other programs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/search/search.h"

namespace palimpsest {

/// Of each query the first `top` documents: rank, scores, title or else id, and below it the sentence, if there is one.
std::string format_results(const std::vector<SearchResult>& results, std::int64_t top);

/// Throws DataError on an id of a query or of any document with white space, which a run cannot hold: before a search,
/// which may take hours.
void require_run_ids(const std::vector<SearchQuery>& queries, const IndexManifest& index);

/// A TREC run (launch/measures/trec_files.h). Throws DataError on an id with white space, which such a file cannot
/// hold.
std::string run_of(const std::vector<SearchResult>& results);

/// docs/file-formats.md, "Search results": a line of JSON for each query.
std::string json_lines_of(const std::vector<SearchResult>& results);

/// The queries of a file: .jsonl with "_id" (or "id") and "text", or a text file with a query a line, called by its
/// number. Throws FileError, starting with path and line, and DataError on an empty query and an id given twice.
std::vector<SearchQuery> read_queries(const std::filesystem::path& path);

}  // namespace palimpsest
