// What of a token file's documents a rank evaluates, and how far it has come.
#pragma once

#include <cstdint>
#include <vector>

#include "core/token_batch.h"
#include "data/tokens/token_file.h"

namespace palimpsest {

/// What is read from empty memory on: tokens [begin, end) of a document's text. Those from `counted` on count; the ones
/// before are there to be seen by them.
struct Stretch {
  std::int64_t document = 0;  // index in the token file
  std::int64_t begin = 0, end = 0;
  std::int64_t counted = 0;

  std::int64_t tokens() const { return end - begin; }
};

/// For each rank its documents, longest first: each document goes to the rank with the fewest
/// tokens so far. `tokens` are the documents' lengths; those of length 0 are left out.
std::vector<std::vector<std::int64_t>> share_documents(const std::vector<std::int64_t>& tokens, int ranks);

/// Reads stretches side by side, one in each lane of a batch; a lane that has finished one takes the next.
class EvaluationCursor {
 public:
  /// A lane and how far it has come in its stretch.
  struct Lane {
    std::size_t place = 0;  // of the stretch in the list
    Stretch stretch;
    std::int64_t position = 0;  // in the document's text, of the next token to be predicted
    std::int64_t remaining() const { return stretch.end - position; }
  };

  /// Of `stretches` (none of them empty), at most `lanes` at a time. The file must outlive this.
  EvaluationCursor(const TokenFile& file, std::vector<Stretch> stretches, std::int64_t lanes);

  bool finished() const { return lanes_.empty(); }
  const std::vector<Lane>& lanes() const { return lanes_; }
  /// Tokens read and to be read in all.
  std::int64_t done() const { return done_; }
  std::int64_t all() const { return all_; }

  /// The next tokens of every lane, `most_tokens` at most, those of the longest remainder if that is less. A stretch
  /// that ends before is followed by tokens without weight: nothing comes after them that they could change.
  /// Throws DataError as TokenFile does.
  TokenBatch batch(std::int64_t most_tokens) const;
  /// Goes on by a batch of so many tokens. Returns the lanes that go on, in order, those with a new stretch among
  /// them: its index tells the model to begin with empty memory. Lanes without a next one are left out.
  std::vector<std::int64_t> advance(std::int64_t tokens);

 private:
  Lane next_lane();

  const TokenFile& file_;
  std::vector<Stretch> stretches_;
  std::size_t next_ = 0;  // the first one that no lane has had
  std::vector<Lane> lanes_;
  std::int64_t done_ = 0, all_ = 0;
};

}  // namespace palimpsest
