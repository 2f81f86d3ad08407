// YAML configurations: whatever is accepted is written so that it reads back equal.
#include <cstdlib>

#include "configs/yaml.h"
#include "tests/fuzz/target.h"

namespace palimpsest::fuzz {

std::vector<std::string> seeds() {
  return {
      to_yaml(RunConfig()),
      "model: {hidden_size: 64, num_heads: 4, attention: {kind: infini, memory_update: delta}, tie_embeddings: "
      "true}\ndata:\n  train: \"a b\"\n",
      "# comment\ntrain:\n  seed: 18446744073709551615\n  steps: 20\n  carry_memory: false\n---\n",
      "train:\n  <<: &a [*a]\n  ? {x: !!int 1}\n  : |\n    text\noptimizer: {learning_rate: .nan, beta1: 1e-2}\n",
      "data:\n  train: \"\\x41\\u00e9\\U0001F600\\\n    folded\"\n  test: 'it''s'\n",
      "data:\n  train:\n    - {file: a, weight: 3, virtual_length: 10}\n    - {kind: passkey, digits: 2, stages: "
      "[{segments: 3}]}\n",
  };
}

void run(std::string_view input) {
  const RunConfig config = parse_run_config(input, "fuzz.yaml");
  const RunConfig again = parse_run_config(to_yaml(config), "again.yaml");
  if (!differences(config, again).empty()) std::abort();
}

}  // namespace palimpsest::fuzz
