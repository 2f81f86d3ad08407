// Files of prompts: the first byte says whether as text or as JSON lines.
#include "launch/inference/prompt_file.h"
#include "tests/fuzz/target.h"

namespace palimpsest::fuzz {

std::vector<std::string> seeds() {
  return {"tone\n\ntwo\r\n",
          "j{\"prompt\": \"one\", \"id\": \"a\", \"max_tokens\": 3, \"seed\": 4}\n{\"prompt\": \"two\"}\n"};
}

void run(std::string_view input) {
  if (input.empty()) return;
  for (const Prompt& prompt : parse_prompts(input.substr(1), "prompts", input.front() == 'j')) {
    if (prompt.id.is_null()) __builtin_trap();
  }
}

}  // namespace palimpsest::fuzz
