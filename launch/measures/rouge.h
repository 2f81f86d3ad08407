// ROUGE (Lin, "ROUGE: a package for automatic evaluation of summaries", 2004): how much a text has in common with one
// that people have written, counted as Google's scorer rouge_score counts.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "launch/measures/stemmer.h"

namespace palimpsest {

/// What is common, divided by what the reference has and by what the candidate has, and their harmonic mean. 0 where
/// there is nothing to divide by.
struct RougeScore {
  double recall = 0, precision = 0, f1 = 0;

  bool operator==(const RougeScore&) const = default;
};

/// By rouge_score's names.
inline constexpr std::array<std::string_view, 4> rouge_names = {"rouge1", "rouge2", "rougeL", "rougeLsum"};
/// The members of a RougeScore.
inline constexpr std::array<std::string_view, 3> rouge_parts = {"recall", "precision", "f1"};
/// In the order of the names.
using RougeScores = std::array<RougeScore, 4>;

/// The words of a text: in lower case, split at all that is not a-z or 0-9, so that letters with accents separate
/// words.
std::vector<std::string> rouge_words(std::string_view text);

class RougeScorer {
 public:
  /// `stem`: words of more than three characters lose their endings first.
  explicit RougeScorer(bool stem);

  /// rouge1, rouge2: words and pairs of neighbours, each as often as both have it. rougeL: the longest common
  /// subsequence of words. rougeLsum: with lines as sentences, the words of a reference's sentences that are in the
  /// longest common subsequence with any sentence of the candidate, none counted more often than either text has it.
  /// Throws DataError on sentences so long that their table has more than 2^35 cells.
  RougeScores score(std::string_view reference, std::string_view candidate) const;
  /// Of several references, for each measure the one with the highest F1.
  RougeScores score(std::span<const std::string> references, std::string_view candidate) const;

 private:
  std::vector<std::string> words(std::string_view text) const;

  std::optional<PorterStemmer> stemmer_;
};

}  // namespace palimpsest
