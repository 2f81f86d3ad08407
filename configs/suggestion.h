// The known name that a misspelt one was probably meant to be.
#pragma once

#include <span>
#include <string_view>

namespace palimpsest {

/// The candidate with the least edit distance (insertions, deletions, substitutions and swaps of
/// neighbours) to `word`, if that is at most a third of the word's length (at least 1); else empty.
std::string_view nearest_name(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace palimpsest
