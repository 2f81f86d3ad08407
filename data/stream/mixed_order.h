// The order in which documents of several token files are read, when each file is due a share of the tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "data/tokens/token_file.h"

namespace palimpsest {

/// A token file in a mixture.
struct MixedFile {
  std::shared_ptr<const TokenFile> file;
  double share = 1;           // of the tokens, positive; those of all files add up to 1
  double virtual_length = 1;  // the most that a segment writes to the memory (data/stream/virtual_length.h)
  std::size_t source = 0;     // its number among all sources of the mixture
};

/// How many tokens of each file a span of the mixture has: as its share says, to the nearest token. A span is long
/// enough that every file is read through, unless that takes more than `most_tokens`: then, that the file which is read
/// through first is.
class MixedSpan {
 public:
  static constexpr std::int64_t most_tokens = std::int64_t{1} << 24;

  explicit MixedSpan(std::span<const MixedFile> files);
  std::int64_t tokens(std::size_t file) const { return tokens_[file]; }
  std::int64_t tokens() const { return all_; }

 private:
  std::vector<std::int64_t> tokens_;
  std::int64_t all_ = 0;
};

/// The documents of one span, laid end to end. Every file's own sequence is its documents, shuffled anew for each of
/// its epochs (DocumentOrder); a span takes up where the one before has left each of them, so only the documents at its
/// ends may be parts. Among each other the documents lie so that any stretch of the span holds the files' shares, to
/// within a document or two.
class MixedOrder {
 public:
  /// A document, or a part of one.
  struct Part {
    std::size_t file = 0;
    std::int64_t begin = 0;  // where it begins in the span
    std::int64_t token = 0;  // and among the file's tokens
    std::int64_t count = 0;
    std::int64_t document_end = 0;  // where the document ends among the file's tokens
  };

  MixedOrder(std::span<const MixedFile> files, const MixedSpan& span, std::uint64_t seed, std::int64_t number);

  /// The part that token `position` of the span lies in, 0 <= position < tokens of the span.
  const Part& at(std::int64_t position) const;

 private:
  std::vector<Part> parts_;
};

}  // namespace palimpsest
