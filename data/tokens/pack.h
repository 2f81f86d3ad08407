// From text files and files of records to a token file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/text/corpus.h"
#include "data/text/hash_split.h"
#include "data/text/json_records.h"
#include "data/text/tokenizer.h"
#include "data/tokens/pack_report.h"

namespace palimpsest {

struct PackOptions {
  bool strict = false;        // refuse the folder over any file that cannot be used, rather than pass it over
  bool overwrite = false;     // replace the output file when it exists
  bool may_be_empty = false;  // no usable file: no output, and no error
  bool allow_lossy = false;   // pack documents, too, that the tokenizer does not give back as they were
  LineEnds line_ends = LineEnds::keep;
  RecordFormat records = {};               // its line ends are those above
  std::optional<HashSplit> split_by = {};  // of records, only those that it gives to `split`
  std::string split = {};
  int threads = 1;  // that read and encode documents; any number gives the same file
  // So much text may be in work or wait for an earlier document at a time. Encoding needs some fifty times as much
  // memory as a text has bytes, what waits about four times as much.
  std::uint64_t bytes_in_flight = std::uint64_t{32} << 20;
};

/// Packs these files into the token file `output`, in this order; `name` stands for all of them in messages.
/// `progress` is called after every file. Throws WriteError when the output cannot be written, DataError when there is
/// no usable file and over a record that is none; when strict, naming the unusable ones; and unless allow_lossy, naming
/// documents that decoding would not give back: text that is lost costs no bits and flatters whatever is measured per
/// word or byte. No output is left then, and an output that existed is untouched.
PackReport pack_files(const std::string& name, std::span<const CorpusFile> files, const std::filesystem::path& output,
                      const Tokenizer& tokenizer, const PackOptions& options,
                      const std::function<void(const PackReport&)>& progress = {},
                      const std::vector<CorpusProblem>& problems = {});

/// The text files and files of records of a folder (data/text/corpus.h), one at least, or one such file. Throws
/// FileError when it cannot be read, DataError when there are none.
CorpusListing list_texts(const std::filesystem::path& folder);

/// pack_files of all of them.
PackReport pack_folder(const std::filesystem::path& folder, const std::filesystem::path& output,
                       const Tokenizer& tokenizer, const PackOptions& options,
                       const std::function<void(const PackReport&)>& progress = {});

}  // namespace palimpsest
