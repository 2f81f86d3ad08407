#include "configs/yaml_entries.h"

#include <algorithm>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include "core/printable.h"
#include "data/utf8.h"

namespace palimpsest {

namespace {

// Follows the parser's events, which still show the duplicates, anchors and tags that a loaded
// YAML::Node hides.
class EntryCollector final : public YAML::EventHandler {
 public:
  explicit EntryCollector(std::string_view name) : name_(name) {}

  YamlEntries& result() { return result_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) fail(mark, "a second document starts; a configuration is one document");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    if (depth_ == 0) return;  // an empty file, or nothing but comments
    if (!key_) fail(mark, "a key is missing");
    if (depth_ == 1) {
      key_.reset();  // a section without keys
      return;
    }
    fail_at(key_line_, fmt::format("{} has no value; an empty string is written \"\"", shown_key()));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { fail(mark, "aliases (*name) are not allowed"); }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_anchor(mark, anchor);
    const bool quoted = tag == "!";
    if (!quoted && tag != "?" && !tag.empty()) refuse_tag(mark, tag);
    if (depth_ == 0) fail(mark, "expected sections like `train:` with indented keys, found a single value");
    if (!key_) {
      start_key(mark, value);
    } else if (depth_ == 1) {
      fail(mark,
           fmt::format("{} is a section: expected indented keys, found `{}`", printable(*key_), printable(value)));
    } else {
      result_.entries.push_back({section(), *key_, {value, quoted}, key_line_});
      key_.reset();
    }
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    fail(mark, "expected `key: value`, found a list");
  }
  void OnSequenceEnd() override {}

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    refuse_anchor(mark, anchor);
    if (tag != "?" && !tag.empty()) refuse_tag(mark, tag);
    if (depth_ > 0 && !key_) fail(mark, "expected the name of a key, found a mapping");
    if (depth_ == 2) fail(mark, fmt::format("{}: expected a value, found a mapping", shown_key()));
    ++depth_;
    key_.reset();
  }
  void OnMapEnd() override {
    --depth_;
    key_.reset();
  }

 private:
  [[noreturn]] void fail_at(int line, const std::string& message) const {
    throw ConfigError(fmt::format("{}:{}: {}", name_, line, message));
  }
  // yaml-cpp counts lines from 0.
  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& message) const { fail_at(mark.line + 1, message); }

  void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) const {
    if (anchor != 0) fail(mark, "anchors (&name) are not allowed");
  }
  [[noreturn]] void refuse_tag(const YAML::Mark& mark, const std::string& tag) const {
    fail(mark, fmt::format("tags ({}) are not allowed", printable(tag)));
  }

  const std::string& section() const { return result_.sections.back().name; }
  std::string shown_key() const { return printable(section() + "." + *key_); }

  void start_key(const YAML::Mark& mark, const std::string& key) {
    key_ = key;
    key_line_ = mark.line + 1;
    if (depth_ == 1) result_.sections.push_back({key, key_line_});
    const std::string full_name = depth_ == 1 ? key : section() + "." + key;
    const auto [earlier, is_new] = lines_.emplace(full_name, key_line_);
    if (!is_new) fail(mark, fmt::format("{} is already set in line {}", printable(full_name), earlier->second));
  }

  std::string_view name_;
  YamlEntries result_;
  std::map<std::string, int> lines_;  // of every section and section.key so far
  int documents_ = 0;
  int depth_ = 0;                   // 0 outside, 1 among sections, 2 among keys
  std::optional<std::string> key_;  // the key whose value comes next
  int key_line_ = 0;
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

YamlEntries read_yaml_entries(std::string_view text, std::string_view name) {
  require_plain_utf8(text, name);
  // A quote that is never closed is an error to yaml-cpp only if the text does not end in white space.
  const std::size_t size = text.find_last_not_of(" \t\r\n") + 1;
  std::istringstream stream{std::string(text.substr(0, size))};
  EntryCollector collector(name);
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(collector)) {
    }
  } catch (const YAML::Exception& error) {
    throw ConfigError(fmt::format("{}:{}: {}", name, error.mark.line + 1, error.msg));
  }
  return std::move(collector.result());
}

}  // namespace palimpsest
