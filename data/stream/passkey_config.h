// Options of training on passkey prompts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace palimpsest {

/// One stage of the curriculum.
struct PasskeyStage {
  std::int64_t segments = 2;        // of a prompt
  std::int64_t virtual_length = 1;  // the most that a segment of filler writes to the memory, as if it came so often
  std::int64_t keys = 0;            // hidden in a prompt; 0: all
  std::int64_t questions = 1;       // asked at the end of a prompt, if the last segment holds so many
};

struct PasskeyConfig {
  std::string tokenizer = "passkey";  // as for `palimpsest pack`; with a filler file that file's; see MixtureEntry, too
  std::string filler = {};            // token file; empty: the paper's sentences
  std::int64_t digits = 4;
  std::int64_t keys = 1;
  std::int64_t updates = 0;        // so often is each key replaced later on
  double across_borders = 0.3;     // share of the statements that are moved onto a segment's border
  double question_anywhere = 0.7;  // share of the questions that stand anywhere in the last segment
  double text_loss = 0.2;          // weight of the mean loss over all tokens beside that over the answer's
  double advance_at = 0.93;        // share of the answer's tokens that are right when the next stage begins
  std::int64_t advance_over = 20;  // steps over which that share is taken
  double earlier_lengths = 0.2;    // share of the steps whose prompts have a length drawn from the stages so far
  std::vector<PasskeyStage> stages = {};
  /// Without stages, prompts of 2, 4, 8 ... segments up to the sequence, then up to so many repetitions by powers of
  /// ten.
  std::int64_t virtual_length = 10'000;
};

}  // namespace palimpsest
