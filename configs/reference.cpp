#include "configs/reference.h"

#include <fmt/format.h>

#include "configs/schema.h"

namespace palimpsest {

namespace {

constexpr std::string_view introduction = R"(# Configuration reference

A run is described by one YAML file: sections of `key: value`. Keys left out have the defaults below.
Presets to start from are under `configs/`.

- `--set section.key=value` on the command line goes over the file, as often as needed; where a key is
  given twice the later one wins.
- The file is read strictly. A key that is unknown, repeated, of the wrong type or out of range ends
  the program with a message that names the file, the line and what was expected, before anything
  has been written. Anchors, aliases, tags, lists and several documents are refused; files end at 1 MiB.
- Integers are written in decimal, without leading zeros (`1000`, not `1e3` or `0100`); numbers may
  have an exponent (`3e-4`); booleans are `true` and `false`; text may stand in quotes.
- Relative paths count from the directory in which the program is started, not from the file's.
- The resolved configuration, every key included, is saved with each checkpoint.

This page is generated from `configs/schema.h`.
)";

struct ReferenceWriter {
  std::string text{introduction};

  void section(std::string_view name, std::string_view meaning) {
    text +=
        fmt::format("\n## {}\n\n{}\n\n| key | type | default | allowed | meaning |\n| --- | --- | --- | --- | --- |\n",
                    name, meaning);
  }

  template <class T, class Allowed>
  void field(std::string_view name, const T& value, const Allowed& allowed, std::string_view meaning) {
    text += fmt::format("| `{}` | {} | `{}` | {} | {} |\n", name, type_name(allowed), format_scalar(value, allowed),
                        describe_allowed(allowed), meaning);
  }
};

}  // namespace

std::string configuration_reference() {
  ReferenceWriter writer;
  const RunConfig defaults;
  describe(defaults, writer);
  return writer.text;
}

}  // namespace palimpsest
