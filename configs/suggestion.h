// The known names that a misspelt one was probably meant to be.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace palimpsest {

/// The candidate with the least edit distance (insertions, deletions, substitutions and swaps of
/// neighbours) to `word`, if that is at most a third of the word's length (at least 1); else empty.
std::string_view nearest_name(std::string_view word, std::span<const std::string_view> candidates);

/// The `most` candidates with the least edit distance to `word`, the nearest first, whatever it is.
std::vector<std::string> nearest_names(std::string_view word, std::span<const std::string> candidates,
                                       std::size_t most);

}  // namespace palimpsest
