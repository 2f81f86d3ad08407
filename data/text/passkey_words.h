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

// {0}: the key, which is digits; of several keys each is a name and digits. The second form replaces an earlier key.
inline constexpr std::string_view statement = "The pass key is {0}. Remember it. {0} is the pass key.";
inline constexpr std::string_view replacement = "The pass key is now {0}. Remember it. {0} is now the pass key.";
// {0}: " of NAME", {1}: " NAME"; nothing where there is one key.
inline constexpr std::string_view question = "What is the pass key{0}? The pass key is{1}";

/// What keys are called. The name stands right before the digits: a model of a few layers learns to look for what
/// follows a token, and not for what follows the token after it.
inline constexpr std::array<std::string_view, 16> names = {"Alice", "Bob",   "Carol", "Dan",  "Eve",  "Frank",
                                                           "Grace", "Henry", "Ivy",   "Jack", "Kate", "Leo",
                                                           "Mary",  "Ned",   "Olga",  "Paul"};

}  // namespace palimpsest::passkey_words
