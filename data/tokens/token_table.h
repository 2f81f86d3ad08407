// What a token file holds besides its tokens.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/io/hdf5_file.h"

namespace palimpsest {

/// The documents of a token file, or of several behind each other, and the tokenizer.
struct TokenTable {
  std::int64_t vocab_size = 0;
  std::int32_t begin_id = 0, end_id = 0;
  std::string tokenizer_identity, tokenizer_model;
  std::vector<std::int64_t> offsets{0};  // of each document's begin token, and the number of tokens
  std::vector<std::int64_t> words, bytes;
  std::string names;                // each ends with a zero byte
  std::string titles;               // so do these; empty, like the years, when nothing is known of any document
  std::vector<std::int64_t> years;  // 0 where it is not known
  // Begin and end of each masked span, in tokens of all documents, ascending. The other two say how much of each
  // document's text is not masked. All are empty when nothing is.
  std::vector<std::int64_t> masked, target_words, target_bytes;
  std::int64_t lossy_documents = 0;
  std::string tokens_checksum, checksum;

  /// The checksum of all of it.
  std::string content_checksum() const;
  /// Puts another table's documents behind these. The checksums and the tokenizer stay.
  void append(const TokenTable& other);

 private:
  /// Before its documents are: behind so many tokens.
  void append_masks(const TokenTable& other, std::int64_t tokens);
};

/// Throws DataError, which names `path`, when the words or the bytes of all documents together exceed 63 bits.
void check_sums(const TokenTable& table, const std::filesystem::path& path);

/// Where each of the names begins that end with a zero byte.
std::vector<std::size_t> begins_of_names(const std::string& names);

/// The table of one HDF5 file, with everything checked. Throws FileError when it is not a whole token file of a known
/// version, DataError when its parts contradict each other.
TokenTable read_token_table(const Hdf5File& file);

}  // namespace palimpsest
