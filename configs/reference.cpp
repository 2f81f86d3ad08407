#include "configs/reference.h"

#include <fmt/format.h>

#include "configs/schema.h"

namespace palimpsest {

namespace {

constexpr std::string_view introduction = R"(# Configuration reference

A run is described by one YAML file: sections of `key: value`. Keys left out have the defaults below. A key
`attention.kind` of the section `model` is written as a section within the section: `attention: {kind: infini}`.
Presets to start from are under `configs/`.

- `--set section.key=value` on the command line goes over the file, as often as needed; where a key is
  given twice the later one wins. Deeper keys have longer names: `--set model.attention.kind=infini`.
- The options of a section with a `kind` are those of that kind. Options of another kind are refused, but where
  `--set` chooses the kind, what the file says for other kinds is left out.
- The file is read strictly. A key that is unknown, repeated, of the wrong type or out of range ends
  the program with a message that names the file, the line, the column and what was expected, before anything
  has been written. Anchors, aliases, tags and several documents are refused; files end at 1 MiB.
- Integers are written in decimal, without leading zeros (`1000`, not `1e3` or `0100`); numbers may
  have an exponent (`3e-4`); booleans are `true` and `false`; text may stand in quotes.
- Relative paths count from the directory in which the program is started, not from the file's.
- The resolved configuration, every key included, is saved with each checkpoint.

This page is generated from `configs/schema/`.
)";

class ReferenceWriter final : public SchemaVisitor {
 public:
  std::string text{introduction};

 protected:
  void visit_field(std::string_view name, SchemaValue& value, std::string_view meaning) override {
    row(name, value.type(), value.format(), value.allowed(), condition_ + std::string(meaning));
  }
  void visit_section(std::string_view name, const Description& below, std::string_view meaning) override {
    if (in_section_) {
      row(name, "section", "", "keys of its own", meaning);
      within(fmt::format("{}.", name), below);
      return;
    }
    text +=
        fmt::format("\n## {}\n\n{}\n\n| key | type | default | allowed | meaning |\n| --- | --- | --- | --- | --- |\n",
                    name, meaning);
    in_section_ = true;
    below(*this);
    in_section_ = false;
  }
  void visit_list(std::string_view name, SchemaList& list, std::string_view meaning) override {
    row(name, "list of sections", "[]", "any number", meaning);
    within(fmt::format("{}[].", name), [&](SchemaVisitor& visitor) { list.describe_default(visitor); });
  }
  void visit_texts(std::string_view name, std::vector<std::string>&, std::string_view meaning) override {
    row(name, "list of texts", "[]", "any number", condition_ + std::string(meaning));
  }
  void visit_field_or_list(std::string_view name, SchemaValue& value, SchemaList& list,
                           std::string_view meaning) override {
    row(name, fmt::format("{} or list of sections", value.type()), value.format(), value.allowed(),
        condition_ + std::string(meaning));
    within(fmt::format("{}[].", name), [&](SchemaVisitor& visitor) { list.describe_default(visitor); });
  }
  void visit_options(std::string_view kind, bool, const Description& keys) override {
    const std::string outer = condition_;
    condition_ = fmt::format("Kind `{}`. ", kind);
    keys(*this);
    condition_ = outer;
  }

 private:
  void row(std::string_view name, std::string_view type, std::string_view value, std::string_view allowed,
           std::string_view meaning) {
    text += fmt::format("| `{}{}` | {} | {} | {} | {} |\n", path_, name, type,
                        value.empty() ? "" : fmt::format("`{}`", value), allowed, meaning);
  }
  void within(const std::string& name, const Description& below) {
    const std::size_t outer = path_.size();
    path_ += name;
    below(*this);
    path_.resize(outer);
  }

  std::string path_;       // below the section
  std::string condition_;  // of the keys that only one kind has
  bool in_section_ = false;
};

}  // namespace

std::string configuration_reference() {
  ReferenceWriter writer;
  RunConfig defaults;
  describe(defaults, writer);
  return writer.text;
}

}  // namespace palimpsest
