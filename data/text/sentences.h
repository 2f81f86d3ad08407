// The sentences of a text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace palimpsest {

/// Bytes [begin, end) of a text, without the white space around a sentence.
struct SentencePlace {
  std::size_t begin = 0, end = 0;
};

/// In their order, by Unicode's rules (UAX 29) for what ends one; an empty line does, too, and a line end alone does
/// not. Together they have every word of the text, which is UTF-8. Throws DataError on more than 2 GB.
std::vector<SentencePlace> sentence_places(std::string_view text);

/// The same as texts, with a single space for white space of any kind.
std::vector<std::string> sentences_of(std::string_view text);

/// A sentence of sentences_of, cut between words into parts of about one length, each of at most `most_bytes` bytes, 4
/// or more; within a word, between two characters, where one is longer than that. Itself, if it is not longer.
std::vector<std::string> parts_of(std::string_view sentence, std::size_t most_bytes);

}  // namespace palimpsest
