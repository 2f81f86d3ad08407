// Texts that are measured against others: files of references and of candidates, and which of them belong together.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace palimpsest {

struct NamedTexts {
  std::string id;                  // empty where the file gives none
  std::vector<std::string> texts;  // valid UTF-8; several where one text has several references
};

/// What a user means by a path:
///   - a folder: every *.txt file in it and below is a text, named by its path there without ".txt";
///   - a file named .jsonl or .json: an object a line, with the text, or a list of them, under the key `field`, and
///     perhaps an "id" or "_id", a text or a whole number;
///   - another file: a text a line, the empty ones too; or where `whole_file` the one text that it is.
/// A byte order mark before the first byte of a file belongs to no text.
/// Throws FileError, starting with the path and line, on what cannot be read, is not UTF-8 or lacks the key; DataError
/// on an id given twice and on no texts at all.
std::vector<NamedTexts> read_texts(const std::filesystem::path& path, const std::string& field, bool whole_file);

struct TextPair {
  std::string id;  // or its number, from 1
  std::vector<std::string> references;
  std::string candidate;
};

/// By their ids where all on both sides have one, in the references' order; else one after the other. Throws DataError,
/// starting with the paths, on a text without its like on the other side, and on a candidate of several texts.
std::vector<TextPair> pair_texts(const std::filesystem::path& references_path, std::vector<NamedTexts> references,
                                 const std::filesystem::path& candidates_path, std::vector<NamedTexts> candidates);

}  // namespace palimpsest
