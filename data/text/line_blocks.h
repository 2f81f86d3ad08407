// A file of lines, read in pieces of whole lines.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/text/byte_input.h"

namespace palimpsest {

/// Some lines, each with its line end but for the file's last.
struct LineBlock {
  std::string text;
  std::uint64_t offset = 0;  // of its first byte in the file as it is when decompressed
};

class LineBlocks {
 public:
  /// The lines that begin in bytes [begin, end) of a file; all of them, where it is compressed. A block has so many
  /// bytes or a few more, and one line at least. Throws FileError when the file cannot be read.
  LineBlocks(const std::filesystem::path& path, std::uint64_t begin, std::uint64_t end, std::size_t block_bytes,
             std::uint64_t longest_line);

  /// The next lines; nothing when there are no more. Throws FileError, also over compressed data that is damaged,
  /// and DataError, naming the line, where one is longer than it may be.
  std::optional<LineBlock> next();
  /// How many bytes of a compressed file have been taken for the blocks so far.
  std::uint64_t consumed() const { return input_->consumed(); }

 private:
  /// Reads on behind `pending_`. False at the end of the file.
  bool read_more();
  void skip_line();
  /// Throws unless the line that ends, so far, at byte `end` of `pending_` is as short as it has to be.
  void require_short_line(std::size_t end) const;

  std::filesystem::path path_;
  std::unique_ptr<ByteInput> input_;
  std::uint64_t end_;
  std::size_t block_bytes_;
  std::uint64_t longest_line_;
  std::string pending_;       // read and not handed out
  std::uint64_t offset_ = 0;  // of its first byte
};

/// Which line of a file the byte at `offset` is in, counted from 1.
std::int64_t line_at(const std::filesystem::path& path, std::uint64_t offset);

}  // namespace palimpsest
