// JSON: whatever is accepted is shallow enough to be copied and written, and reads back equal.
#include <cstdlib>

#include "core/io/json_file.h"
#include "tests/fuzz/target.h"

namespace palimpsest::fuzz {

std::vector<std::string> seeds() {
  return {R"({"a": [1, -2, 3.5e-3, true, null], "b": {"c": "é\n\u00e9\ud83d\ude00"}})",
          "[[[[[]]]], {}, \"\", 18446744073709551615, -9223372036854775808]", " 0\n"};
}

void run(std::string_view input) {
  const nlohmann::json value = parse_json(input, "fuzz.json");
  const nlohmann::json copy = value;
  if (parse_json(copy.dump(), "again.json") != value) std::abort();
}

}  // namespace palimpsest::fuzz
