// Unicode's part in byte-level BPE: normal form C, and the regular expressions that cut text into pieces (ICU).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/text/tokenizer_json.h"

namespace palimpsest {

/// `text` with each malformed sequence, in the longest piece that may begin a character, as U+FFFD.
std::string valid_utf8(std::string_view text);

/// Unicode's normal form C. `text` must be valid UTF-8.
std::string composed(std::string_view text);

/// Immutable; safe to use from several threads.
class PieceSplitter {
 public:
  /// Throws FileError, starting with `name`, on a pattern that is no regular expression, or has something that ICU
  /// takes otherwise than Oniguruma, Hugging Face's library.
  PieceSplitter(const std::vector<PieceRule>& rules, const std::string& name);
  ~PieceSplitter();
  PieceSplitter(PieceSplitter&&) noexcept;

  /// Calls `take` with every piece, in order; all of them are parts of `text`, which must be valid UTF-8 of 2 GiB at
  /// most. Throws DataError when a pattern takes too long on it.
  using Take = std::function<void(std::string_view)>;
  void split(std::string_view text, const Take& take) const;

 private:
  struct Rule;
  class Cut;

  std::vector<std::unique_ptr<Rule>> rules_;
};

}  // namespace palimpsest
