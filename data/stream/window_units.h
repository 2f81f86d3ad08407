// How documents fill whole windows, so that a window begins a given number of tokens before a document's first target.
#pragma once

#include <cstdint>
#include <vector>

#include "data/tokens/token_file.h"

namespace palimpsest {

/// Documents of a file that follow each other in it and are read in whole windows. Tokens that are none of theirs stand
/// in front of the first one and behind the last one.
struct WindowUnit {
  std::int64_t first_document = 0;
  std::int64_t begin = 0;    // of its documents among the file's tokens
  std::int64_t tokens = 0;   // of all its documents
  std::int64_t front = 0;    // places in front of them
  std::int64_t windows = 0;  // the last one has places left behind them, perhaps
};

/// Where a document's longest masked part that a target follows ends, in tokens from its begin token; 0 without one.
std::int64_t longest_prompt(const TokenFile& file, std::int64_t document);

/// All documents of a file, in its order, in windows of `window` tokens. One with a longest prompt of more than
/// `context` tokens has `front` so that a window begins exactly `context` tokens before its first target behind that.
/// Any other one that the last window has room for, whole, follows there. The rest begin with a window, and
/// so do all as long as there are fewer units than `least`. 0 < context < window.
std::vector<WindowUnit> window_units(const TokenFile& file, std::int64_t window, std::int64_t context,
                                     std::int64_t least = 0);

/// Shares units out to `groups` groups that have about as many windows: indices, ascending in each. None is empty if
/// there are enough of them.
std::vector<std::vector<std::size_t>> balanced_groups(const std::vector<WindowUnit>& units, std::int64_t groups);

}  // namespace palimpsest
