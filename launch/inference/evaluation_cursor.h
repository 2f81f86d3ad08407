// Which documents of a token file a rank evaluates, and how far it has come.
#pragma once

#include <cstdint>
#include <vector>

#include "core/token_batch.h"
#include "data/tokens/token_file.h"

namespace palimpsest {

/// For each rank its documents, longest first: each document goes to the rank with the fewest
/// tokens so far. `tokens` are the documents' lengths; those of length 0 are left out.
std::vector<std::vector<std::int64_t>> share_documents(const std::vector<std::int64_t>& tokens, int ranks);

/// Reads documents side by side, one in each lane of a batch; a lane that has finished one takes the next.
class EvaluationCursor {
 public:
  /// A lane and how far it has come in its document.
  struct Lane {
    std::size_t place = 0;      // of the document in the list
    std::int64_t document = 0;  // index in the token file
    std::int64_t tokens = 0;    // to be predicted in all
    std::int64_t done = 0;      // predicted so far
    std::int64_t remaining() const { return tokens - done; }
  };

  /// Of `documents` (none of them empty), at most `lanes` at a time. The file must outlive this.
  EvaluationCursor(const TokenFile& file, std::vector<std::int64_t> documents, std::int64_t lanes);

  bool finished() const { return lanes_.empty(); }
  const std::vector<Lane>& lanes() const { return lanes_; }
  /// Tokens read and to be read in all.
  std::int64_t done() const { return done_; }
  std::int64_t all() const { return all_; }

  /// The next tokens of every lane, `most_tokens` at most, those of the longest remainder if that is less. A document
  /// that ends before is followed by tokens without weight: nothing comes after them that they could change.
  /// Throws DataError as TokenFile does.
  TokenBatch batch(std::int64_t most_tokens) const;
  /// Goes on by a batch of so many tokens. Returns the lanes that go on, in order, those with a new document among
  /// them: its index tells the model to begin with empty memory. Lanes without a next document are left out.
  std::vector<std::int64_t> advance(std::int64_t tokens);

 private:
  Lane next_lane();

  const TokenFile& file_;
  std::vector<std::int64_t> documents_;
  std::size_t next_ = 0;  // the first document that no lane has had
  std::vector<Lane> lanes_;
  std::int64_t done_ = 0, all_ = 0;
};

}  // namespace palimpsest
