// metadata.csv, by which a corpus in PG19's layout names its books: a line of id, title, year and url for each.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "data/text/corpus.h"

namespace palimpsest {

/// By the documents' names, which are the ids.
using CorpusMetadata = std::map<std::string, DocumentOrigin>;

/// A field may stand in quotes, with commas, line ends and doubled quotes inside; lines may end in CRLF; a first line
/// of names that begins with "id" is passed over. `name` begins messages. Throws DataError, which names the line, on
/// anything else.
CorpusMetadata parse_corpus_metadata(std::string_view text, const std::string& name);

/// Throws FileError, too, when the file cannot be read.
CorpusMetadata read_corpus_metadata(const std::filesystem::path& path);

/// Gives the files that it knows their origin.
void set_origins(const CorpusMetadata& metadata, std::vector<CorpusFile>& files);

}  // namespace palimpsest
