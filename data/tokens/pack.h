// From a folder of text files to a token file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/text/corpus.h"
#include "data/text/tokenizer.h"

namespace palimpsest {

struct PackOptions {
  bool strict = false;       // refuse the folder over any file that cannot be used, rather than pass it over
  bool overwrite = false;    // replace the output file when it exists
  bool allow_lossy = false;  // pack documents, too, that the tokenizer does not give back as they were
  int threads = 1;           // that read and encode documents; any number gives the same file
  // So much text may be in work or wait for an earlier document at a time. Encoding needs some fifty times as much
  // memory as a text has bytes, what waits about four times as much.
  std::uint64_t bytes_in_flight = std::uint64_t{32} << 20;
};

/// A document whose tokens do not give its text back.
struct LossyDocument {
  std::string name;
  std::string difference;  // the first one: "byte 12 (line 1): \"\x0Anext\" comes back as \" next\""
};

struct PackReport {
  std::int64_t files = 0;  // found
  std::int64_t files_read = 0;
  std::uint64_t bytes_found = 0;  // in these files
  std::uint64_t bytes_read = 0;
  std::int64_t documents = 0;
  std::int64_t words = 0;
  std::int64_t bytes = 0;
  std::int64_t tokens = 0;          // begin and end tokens included
  std::int64_t unknown_tokens = 0;  // text that the tokenizer cannot express
  std::vector<CorpusProblem> problems;
  std::int64_t lossy_documents = 0;
  std::vector<LossyDocument> lossy;  // the first of them, named_documents at most
};

/// So many documents are named where something is wrong with more.
inline constexpr std::size_t named_documents = 20;

/// Packs every text file of `folder` (data/text/corpus.h) into the token file `output`. `progress` is called
/// after every file. Throws FileError when the folder cannot be read, WriteError when the output cannot be written,
/// DataError when there is no usable file; when strict, naming the unusable ones; and unless allow_lossy, naming
/// documents that decoding would not give back: text that is lost costs no bits and flatters whatever is measured per
/// word or byte. No output is left then, and an output that existed is untouched.
PackReport pack_folder(const std::filesystem::path& folder, const std::filesystem::path& output,
                       const Tokenizer& tokenizer, const PackOptions& options,
                       const std::function<void(const PackReport&)>& progress = {});

}  // namespace palimpsest
