#include "configs/yaml_tree.h"

#include <algorithm>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include "core/printable.h"
#include "data/text/utf8.h"

namespace palimpsest {

namespace {

// Far more than any key needs, and little enough for recursion.
constexpr std::size_t max_depth = 16;

// Follows the parser's events, which still show the duplicates, anchors and tags that a loaded
// YAML::Node hides.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::string_view name) : name_(name) {}

  YamlNode& root() { return root_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) fail(mark, "a second document starts; a configuration is one document");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    if (open_.empty()) return;  // an empty file, or nothing but comments
    if (key_is_next()) fail(mark, "a key is missing");
    add(begin(YamlNode::Kind::nothing, mark));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { fail(mark, "aliases (*name) are not allowed"); }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_anchor(mark, anchor);
    const bool quoted = tag == "!";
    if (!quoted) refuse_tag(mark, tag);
    if (open_.empty()) fail(mark, "expected sections like `train:` with indented keys, found a single value");
    if (key_is_next()) {
      start_key(mark, value);
      return;
    }
    YamlNode node = begin(YamlNode::Kind::scalar, mark);
    node.scalar = {value, quoted};
    add(std::move(node));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    if (open_.empty()) fail(mark, "expected `key: value`, found a list");
    open(YamlNode::Kind::list, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::mapping, mark, tag, anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  // yaml-cpp counts lines and columns from 0.
  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& message) const {
    throw ConfigError(fmt::format("{}:{}:{}: {}", name_, mark.line + 1, mark.column + 1, message));
  }
  void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) const {
    if (anchor != 0) fail(mark, "anchors (&name) are not allowed");
  }
  void refuse_tag(const YAML::Mark& mark, const std::string& tag) const {
    if (tag != "?" && !tag.empty()) fail(mark, fmt::format("tags ({}) are not allowed", printable(tag)));
  }

  bool key_is_next() const { return !open_.empty() && open_.back().kind == YamlNode::Kind::mapping && !key_; }

  void start_key(const YAML::Mark& mark, const std::string& key) {
    const auto [earlier, is_new] = lines_.back().emplace(key, mark.line + 1);
    if (!is_new) {
      std::string full_name;
      for (const YamlNode& node : open_) full_name += node.key.empty() ? "" : node.key + ".";
      fail(mark, fmt::format("{} is already set in line {}", printable(full_name + key), earlier->second));
    }
    key_.emplace();
    key_->key = key;
    key_->line = mark.line + 1;
    key_->column = mark.column + 1;
  }

  // A value, at the place of its key if it has one.
  YamlNode begin(YamlNode::Kind kind, const YAML::Mark& mark) {
    YamlNode node;
    if (key_) {
      node = std::move(*key_);
      key_.reset();
    } else {
      node.line = mark.line + 1;
      node.column = mark.column + 1;
    }
    node.kind = kind;
    return node;
  }
  void add(YamlNode node) { open_.back().children.push_back(std::move(node)); }

  void open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    if (key_is_next()) fail(mark, "expected the name of a key, found more than a name");
    if (open_.size() == max_depth) fail(mark, "is nested too deeply");
    open_.push_back(begin(kind, mark));
    lines_.emplace_back();
  }
  void close() {
    YamlNode node = std::move(open_.back());
    open_.pop_back();
    lines_.pop_back();
    if (open_.empty()) {
      root_ = std::move(node);
    } else {
      add(std::move(node));
    }
  }

  std::string_view name_;
  YamlNode root_;
  std::vector<YamlNode> open_;                     // mappings and lists that have not ended, the outermost first
  std::vector<std::map<std::string, int>> lines_;  // of the keys in each of them
  std::optional<YamlNode> key_;                    // the key whose value comes next
  int documents_ = 0;
};

/// The library would decode other encodings by guessing, and let control characters pass.
void require_plain_utf8(std::string_view text, std::string_view name) {
  for (const std::string_view mark : {std::string_view("\xFF\xFE"), std::string_view("\xFE\xFF")}) {
    if (text.starts_with(mark)) throw ConfigError(fmt::format("{}:1: is UTF-16 text, expected UTF-8", name));
  }
  std::size_t offset = find_invalid_utf8(text).value_or(text.size());
  const std::string_view valid = text.substr(0, offset);
  const auto control = std::ranges::find_if(
      valid, [](unsigned char c) { return (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7F; });
  const bool found_control = control != valid.end();
  if (found_control) offset = static_cast<std::size_t>(control - valid.begin());
  if (offset == text.size()) return;
  const auto line = std::ranges::count(text.substr(0, offset), '\n') + 1;
  throw ConfigError(fmt::format("{}:{}: byte 0x{:02X} at offset {} is {}, expected UTF-8 text", name, line,
                                static_cast<unsigned char>(text[offset]), offset,
                                found_control ? "a control character" : "no part of UTF-8"));
}

}  // namespace

const YamlNode* YamlNode::find(std::string_view name) const {
  const auto found = std::ranges::find(children, name, &YamlNode::key);
  return found == children.end() ? nullptr : &*found;
}

YamlNode* YamlNode::find(std::string_view name) { return const_cast<YamlNode*>(std::as_const(*this).find(name)); }

YamlNode read_yaml(std::string_view text, std::string_view name) {
  require_plain_utf8(text, name);
  // A quote that is never closed is an error to yaml-cpp only if the text does not end in white space.
  const std::size_t size = text.find_last_not_of(" \t\r\n") + 1;
  std::istringstream stream{std::string(text.substr(0, size))};
  TreeBuilder builder(name);
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    throw ConfigError(fmt::format("{}:{}:{}: {}", name, error.mark.line + 1, error.mark.column + 1, error.msg));
  }
  return std::move(builder.root());
}

}  // namespace palimpsest
