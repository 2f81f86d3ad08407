// ROUGE over many texts: means with their bootstrap intervals, for people and for programs.
#pragma once

#include <string>
#include <vector>

#include "launch/measures/bootstrap.h"
#include "launch/measures/rouge.h"
#include "launch/measures/text_pairs.h"

namespace palimpsest {

struct RougeResult {
  bool stem = false;
  BootstrapOptions bootstrap;
  std::vector<std::string> ids;
  std::vector<RougeScores> scores;  // of each text

  /// Of recall, precision and F1, in this order, of each measure: the mean over the texts. Throws DataError on none.
  std::vector<std::array<MeanEstimate, 3>> means() const;
};

RougeResult measure_rouge(const std::vector<TextPair>& pairs, bool stem, const BootstrapOptions& bootstrap);

/// A table for people.
std::string format_rouge(const RougeResult& result);
/// docs/file-formats.md, "ROUGE", with a line end.
std::string rouge_json(const RougeResult& result);

}  // namespace palimpsest
