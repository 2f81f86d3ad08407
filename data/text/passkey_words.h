// The sentences of the passkey prompt (arXiv 2404.07143, section 4.2), shared by the task and its word list.
#pragma once

#include <array>
#include <string_view>

namespace palimpsest::passkey_words {

inline constexpr std::string_view introduction =
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz you "
    "about the important information there.";
inline constexpr std::string_view filler =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

// {0}: " of NAME" where there are several keys, {1}: the digits. The second form replaces an earlier key.
inline constexpr std::string_view statement = "The pass key{0} is {1}. Remember it. {1} is the pass key{0}.";
inline constexpr std::string_view replacement = "The pass key{0} is now {1}. Remember it. {1} is now the pass key{0}.";
inline constexpr std::string_view question = "What is the pass key{0}? The pass key{0} is";

/// Whose keys they are.
inline constexpr std::array<std::string_view, 16> names = {"Alice", "Bob",   "Carol", "Dan",  "Eve",  "Frank",
                                                           "Grace", "Henry", "Ivy",   "Jack", "Kate", "Leo",
                                                           "Mary",  "Ned",   "Olga",  "Paul"};

}  // namespace palimpsest::passkey_words
