// metrics.jsonl as a report reads it: whatever is accepted has columns of one length and steps that ascend.
#include <cstdlib>
#include <sstream>

#include "launch/report/run_history.h"
#include "tests/fuzz/target.h"

namespace palimpsest::fuzz {

std::vector<std::string> seeds() {
  return {
      "{\"kind\":\"step\",\"step\":1,\"loss\":2.5,\"x\":{\"y\":1},\"gates\":[[0.5,0.25]]}\n"
      "{\"kind\":\"evaluation\",\"step\":1,\"split\":\"validation\"}\n{\"kind\":\"step\",\"step\":4,\"loss\":null}\n",
      "{\"kind\":\"gates\",\"step\":1,\"gates\":[[0.5],[1,null]]}\n{\"kind\":\"st"};
}

void run(std::string_view input) {
  std::istringstream lines{std::string(input)};
  const RunHistory history = read_history(lines, "metrics.jsonl");
  for (const auto& column : history.columns) {
    if (column.size() != history.steps()) std::abort();
  }
  const auto* steps = history.column("step");
  for (std::size_t i = 1; i < history.steps(); ++i) {
    if ((*steps)[i - 1] > (*steps)[i]) std::abort();
  }
}

}  // namespace palimpsest::fuzz
