#include "configs/schema_reader.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "configs/suggestion.h"
#include "core/printable.h"

namespace palimpsest {

namespace {

using Kind = YamlNode::Kind;

std::string joined(std::string_view path, std::string_view name) {
  return path.empty() ? std::string(name) : fmt::format("{}.{}", path, name);
}

/// The full names of all keys that hold a value, whatever the kinds of their sections.
class KeyNames final : public SchemaVisitor {
 public:
  std::vector<std::string> names;

 protected:
  void visit_field(std::string_view name, SchemaValue&, std::string_view) override {
    names.push_back(joined(path_, name));
  }
  void visit_section(std::string_view name, const Description& below, std::string_view) override {
    const std::string outer = path_;
    path_ = joined(path_, name);
    below(*this);
    path_ = outer;
  }
  void visit_list(std::string_view, SchemaList&, std::string_view) override {}
  void visit_texts(std::string_view name, std::vector<std::string>&, std::string_view) override {
    names.push_back(joined(path_, name));
  }
  void visit_options(std::string_view, bool, const Description& keys) override { keys(*this); }

 private:
  std::string path_;
};

struct Source {
  std::string_view name;
  const Description& root;

  std::string place(const YamlNode& node) const {
    return node.line == 0 ? std::string("--set") : fmt::format("{}:{}:{}", name, node.line, node.column);
  }
  [[noreturn]] void fail(const YamlNode& node, const std::string& message) const {
    throw ConfigError(fmt::format("{}: {}", place(node), message));
  }
};

/// Reads one section.
class SectionReader final : public SchemaVisitor {
 public:
  SectionReader(const Source& source, const YamlNode& node, std::string path)
      : source_(source), node_(node), path_(std::move(path)) {}

  static void read(const Source& source, const YamlNode& node, const std::string& path, const Description& describe) {
    SectionReader reader(source, node, path);
    describe(reader);
    for (const YamlNode& child : node.children) reader.require_known(child);
  }

 protected:
  void visit_field(std::string_view name, SchemaValue& value, std::string_view) override {
    if (const YamlNode* node = expect(name)) read_value(*node, joined(path_, name), value);
    if (name == "kind") kind_ = value.format();
  }

  void visit_section(std::string_view name, const Description& below, std::string_view) override {
    if (const YamlNode* node = expect(name)) read_section(*node, joined(path_, name), below);
  }

  void visit_list(std::string_view name, SchemaList& list, std::string_view) override {
    const YamlNode* node = expect(name);
    if (node == nullptr) return;
    const std::string key = joined(path_, name);
    if (node->kind != Kind::list) {
      source_.fail(*node, key + " is a list of sections: expected `- key: value` or `[]`");
    }
    list.clear();
    for (const YamlNode& item : node->children) {
      const std::size_t index = list.size();
      list.append();
      read_section(item, fmt::format("{}[{}]", key, index),
                   [&](SchemaVisitor& visitor) { list.describe_item(index, visitor); });
    }
  }

  void visit_texts(std::string_view name, std::vector<std::string>& items, std::string_view) override {
    const YamlNode* node = expect(name);
    if (node == nullptr) return;
    const std::string key = joined(path_, name);
    const auto read_text = [&](const YamlNode& item) {
      if (item.kind != Kind::scalar) source_.fail(item, key + " is a list of texts: expected `[one, another]`");
      items.push_back(parse_scalar(fmt::format("{}: {}", source_.place(item), key), item.scalar, Text{}));
    };
    items.clear();
    if (node->kind != Kind::list) return read_text(*node);
    for (const YamlNode& item : node->children) read_text(item);
  }

  void visit_field_or_list(std::string_view name, SchemaValue& value, SchemaList& list,
                           std::string_view meaning) override {
    const YamlNode* node = node_.find(name);
    if (node == nullptr || node->kind != Kind::list) return visit_field(name, value, meaning);
    if (node->children.empty()) source_.fail(*node, joined(path_, name) + " is an empty list");
    visit_list(name, list, meaning);
  }

  void visit_options(std::string_view kind, bool chosen, const Description& keys) override {
    if (chosen) return keys(*this);
    KeyNames others;
    keys(others);
    for (const std::string& name : others.names) others_.emplace(name, kind);
  }

 private:
  // Null when the text leaves it out.
  const YamlNode* expect(std::string_view name) {
    known_.push_back(name);
    return node_.find(name);
  }
  void read_section(const YamlNode& node, const std::string& path, const Description& below) const {
    if (node.kind == Kind::scalar) {
      source_.fail(node, fmt::format("{} is a section: expected indented keys, found `{}`", path,
                                     printable(node.scalar.text, 60)));
    }
    if (node.kind == Kind::list) source_.fail(node, path + " is a section: expected indented keys, found a list");
    read(source_, node, path, below);
  }
  void read_value(const YamlNode& node, const std::string& key, SchemaValue& value) const {
    switch (node.kind) {
      case Kind::nothing: source_.fail(node, key + " has no value; an empty string is written \"\"");
      case Kind::list: source_.fail(node, key + ": expected a value, found a list");
      case Kind::mapping: source_.fail(node, key + ": expected a value, found a mapping");
      case Kind::scalar: value.parse(fmt::format("{}: {}", source_.place(node), key), node.scalar);
    }
  }

  void require_known(const YamlNode& child) const {
    if (std::ranges::find(known_, child.key) != known_.end()) return;
    const std::string name = printable(joined(path_, child.key));
    if (const auto other = others_.find(child.key); other != others_.end()) {
      const YamlNode* kind = node_.find("kind");
      if (kind != nullptr && kind->line == 0 && child.line != 0) return;
      source_.fail(child, fmt::format("{} is an option of {}.kind {}, found {}", name, path_, other->second, kind_));
    }
    const std::string what = fmt::format("{} is not {}", name, path_.empty() ? "a section" : "a key");
    KeyNames everywhere;
    source_.root(everywhere);
    for (const std::string& full : everywhere.names) {
      if (full.ends_with("." + child.key)) source_.fail(child, fmt::format("{}; did you mean {}?", what, full));
    }
    std::vector<std::string_view> names = known_;
    for (const auto& [other, kind] : others_) names.push_back(other);
    const std::string_view nearest = nearest_name(child.key, names);
    source_.fail(child, fmt::format("{}; {}", what,
                                    nearest.empty() ? fmt::format("expected {}", join_names(known_))
                                                    : fmt::format("did you mean {}?", nearest)));
  }

  const Source& source_;
  const YamlNode& node_;
  std::string path_;
  std::vector<std::string_view> known_;        // keys of this section, as it is
  std::map<std::string, std::string> others_;  // keys that it would have with another kind, and that kind
  std::string kind_;                           // the value of its key `kind`
};

}  // namespace

void read_schema(const YamlNode& root, std::string_view name, const Description& describe_root) {
  const Source source{name, describe_root};
  SectionReader::read(source, root, "", describe_root);
}

}  // namespace palimpsest
