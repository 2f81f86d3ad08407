// Runs and judgements of searches: the first byte says which.
#include "launch/measures/trec_files.h"
#include "tests/fuzz/target.h"

namespace palimpsest::fuzz {

std::vector<std::string> seeds() {
  return {"r\xEF\xBB\xBFq Q0 d 1 2.5 tag\n#q Q0 d 1 1 tag\n\nq Q0 e 2 -1e-3 tag more\r\n", "j1 0 a 1\n1 0 b -1\n",
          "jquery-id\tcorpus-id\tscore\n1\ta b\t2\n"};
}

void run(std::string_view input) {
  if (input.empty()) return;
  if (input.front() != 'r') {
    if (parse_judgements(input.substr(1), "judgements").empty()) __builtin_trap();
    return;
  }
  // What was read is written and read as the same.
  const Ranking ranking = parse_run(input.substr(1), "run");
  if (parse_run(format_run(ranking, "run"), "run") != ranking) __builtin_trap();
}

}  // namespace palimpsest::fuzz
