#include "configs/yaml_entries.h"

#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

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
    fail_at(key_line_, fmt::format("{}.{} has no value; an empty string is written \"\"", section(), *key_));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { fail(mark, "aliases (*name) are not allowed"); }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_anchor(mark, anchor);
    const bool quoted = tag == "!";
    if (!quoted && tag != "?" && !tag.empty()) fail(mark, fmt::format("tags ({}) are not allowed", tag));
    if (depth_ == 0) fail(mark, "expected sections like `train:` with indented keys, found a single value");
    if (!key_) {
      start_key(mark, value);
    } else if (depth_ == 1) {
      fail(mark, fmt::format("{} is a section: expected indented keys, found `{}`", *key_, value));
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
    if (tag != "?" && !tag.empty()) fail(mark, fmt::format("tags ({}) are not allowed", tag));
    if (depth_ > 0 && !key_) fail(mark, "expected the name of a key, found a mapping");
    if (depth_ == 2) fail(mark, fmt::format("{}.{}: expected a value, found a mapping", section(), *key_));
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

  const std::string& section() const { return result_.sections.back().name; }

  void start_key(const YAML::Mark& mark, const std::string& key) {
    key_ = key;
    key_line_ = mark.line + 1;
    if (depth_ == 1) result_.sections.push_back({key, key_line_});
    const std::string full_name = depth_ == 1 ? key : section() + "." + key;
    const auto [earlier, is_new] = lines_.emplace(full_name, key_line_);
    if (!is_new) fail(mark, fmt::format("{} is already set in line {}", full_name, earlier->second));
  }

  std::string_view name_;
  YamlEntries result_;
  std::map<std::string, int> lines_;  // of every section and section.key so far
  int documents_ = 0;
  int depth_ = 0;                   // 0 outside, 1 among sections, 2 among keys
  std::optional<std::string> key_;  // the key whose value comes next
  int key_line_ = 0;
};

}  // namespace

YamlEntries read_yaml_entries(std::string_view text, std::string_view name) {
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
