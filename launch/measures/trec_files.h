// What a search has found and what people have judged, in the files of the Text Retrieval Conference (TREC), which
// trec_eval reads, and judgements in BEIR's form.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace palimpsest {

struct RankedDocument {
  std::string document;
  double score = 0;

  bool operator==(const RankedDocument&) const = default;
};

/// Of every query its documents, the best first: by score and, where scores are equal, the id that comes later in the
/// order of bytes first, as trec_eval (version 10) has it.
using Ranking = std::map<std::string, std::vector<RankedDocument>>;
/// Of every query how relevant its judged documents are: 0 or less is not relevant.
using Judgements = std::map<std::string, std::map<std::string, std::int64_t>>;

/// Puts documents into the order above.
void sort_ranking(std::vector<RankedDocument>& documents);

/// Lines "QUERY Q0 DOCUMENT RANK SCORE RUN", of which the second, fourth and sixth column mean nothing; empty ones and
/// a byte order mark before the first are left out. There are no comments: an id may begin with any character. `name`
/// and the line start each message. Throws FileError on any other line, on a document given twice for a query and on no
/// line at all.
Ranking parse_run(std::string_view text, const std::string& name);
/// Lines "QUERY ITERATION DOCUMENT RELEVANCE" of white space between; or, after a first line of names (query-id,
/// corpus-id, score), "QUERY DOCUMENT RELEVANCE" with tabs between. Throws FileError as above.
Judgements parse_judgements(std::string_view text, const std::string& name);

/// The same of files.
Ranking read_run(const std::filesystem::path& path);
Judgements read_judgements(const std::filesystem::path& path);

/// The lines of a run, scores with so many digits that they are read as they were. Each id must be free of white space.
std::string format_run(const Ranking& ranking, std::string_view run_name);

}  // namespace palimpsest
