// From a folder of text files to a token file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "data/corpus.h"
#include "data/tokenizer.h"

namespace palimpsest {

struct PackOptions {
  bool strict = false;     // refuse the folder over any file that cannot be used, rather than pass it over
  bool overwrite = false;  // replace the output file when it exists
};

struct PackReport {
  std::int64_t files = 0;  // found
  std::int64_t files_read = 0;
  std::int64_t documents = 0;
  std::int64_t words = 0;
  std::int64_t bytes = 0;
  std::int64_t tokens = 0;          // begin and end tokens included
  std::int64_t unknown_tokens = 0;  // text that the tokenizer cannot express
  std::vector<CorpusProblem> problems;
};

/// Packs every text file of `folder` (data/corpus.h) into the token file `output`. `progress` is called
/// after every file. Throws FileError when the folder cannot be read, WriteError when the output cannot be written,
/// DataError when there is no usable file, or, when strict, naming the unusable ones. No output is left then,
/// and an output that existed is untouched.
PackReport pack_folder(const std::filesystem::path& folder, const std::filesystem::path& output,
                       const Tokenizer& tokenizer, const PackOptions& options,
                       const std::function<void(const PackReport&)>& progress = {});

}  // namespace palimpsest
