// Results of evaluations: whatever is accepted has a total that is the sum of its documents.
#include <string>

#include "launch/inference/evaluation_file.h"
#include "tests/fuzz/target.h"

namespace palimpsest::fuzz {

std::vector<std::string> seeds() {
  return {R"({"step": 7, "data": "test.h5", "data_checksum": "abc", "complete": true, "memory": "reset:4",
"window": 8, "stride": 4, "documents": [{"name": "book", "tokens": 9, "words": 2, "bytes": 12,
"negative_log_likelihood": 21.5}], "by_position": [{"begin": 0, "end": 512, "tokens": 9,
"negative_log_likelihood": 21.5}], "by_position_in_segment": [], "by_compressions": []})"};
}

void run(std::string_view input) {
  const SavedEvaluation saved = parse_evaluation(input, "fuzz.json");
  std::int64_t tokens = 0;
  for (const Score& document : saved.documents) tokens += document.tokens;
  if (tokens != saved.total.tokens || tokens < 0) __builtin_trap();
}

}  // namespace palimpsest::fuzz
