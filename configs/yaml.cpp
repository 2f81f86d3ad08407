#include "configs/yaml.h"

#include <algorithm>
#include <fstream>

#include <fmt/format.h>

#include "configs/schema.h"
#include "configs/suggestion.h"
#include "configs/yaml_entries.h"
#include "core/printable.h"

namespace palimpsest {

namespace {

// Finds one key of the schema and sets it. What it saw on the way serves the message when there is
// no such key.
class Assignment {
 public:
  Assignment(std::string_view place, std::string_view section, std::string_view key, const Scalar& value)
      : place_(place), section_(section), key_(key), value_(value) {}

  void section(std::string_view name, std::string_view) {
    current_ = name;
    sections_.push_back(name);
  }

  template <class T, class Allowed>
  void field(std::string_view name, T& value, const Allowed& allowed, std::string_view) {
    if (current_ == section_) keys_.push_back(name);
    if (name != key_) return;
    if (current_ == section_) {
      value = parse_scalar(fmt::format("{}: {}.{}", place_, section_, key_), value_, allowed);
      found_ = true;
    } else {
      elsewhere_ = fmt::format("{}.{}", current_, name);
    }
  }

  void require_found() const {
    if (found_) return;
    require_name(place_, printable(section_), "a section", section_, sections_);
    const std::string name = printable(fmt::format("{}.{}", section_, key_));
    if (!elsewhere_.empty() && nearest_name(key_, keys_).empty()) {
      throw ConfigError(fmt::format("{}: {} is not a key; did you mean {}?", place_, name, elsewhere_));
    }
    require_name(place_, name, "a key", key_, keys_);
  }

  /// Throws ConfigError unless `word` is one of `names`; `shown` is how the message calls it.
  static void require_name(std::string_view place, std::string_view shown, std::string_view kind, std::string_view word,
                           const std::vector<std::string_view>& names) {
    if (std::ranges::find(names, word) != names.end()) return;
    const std::string_view nearest = nearest_name(word, names);
    throw ConfigError(fmt::format(
        "{}: {} is not {}; {}", place, shown, kind,
        nearest.empty() ? fmt::format("expected {}", join_names(names)) : fmt::format("did you mean {}?", nearest)));
  }

 private:
  std::string_view place_, section_, key_;
  const Scalar& value_;
  std::string_view current_;
  std::vector<std::string_view> sections_, keys_;  // all sections; the keys of section_
  std::string elsewhere_;                          // a key of that name in another section
  bool found_ = false;
};

void assign(RunConfig& config, std::string_view place, std::string_view section, std::string_view key,
            const Scalar& value) {
  Assignment assignment(place, section, key, value);
  describe(config, assignment);
  assignment.require_found();
}

void apply_override(RunConfig& config, const std::string& text) {
  const std::size_t equals = text.find('=');
  const std::size_t dot = text.find('.');
  if (equals == std::string::npos || dot == std::string::npos || dot > equals) {
    throw ConfigError(fmt::format("--set {}: expected section.key=value, as in train.steps=1000", printable(text)));
  }
  const std::string_view view = text;
  assign(config, "--set", view.substr(0, dot), view.substr(dot + 1, equals - dot - 1), {text.substr(equals + 1)});
}

struct SectionNames {
  std::vector<std::string_view> names;
  void section(std::string_view name, std::string_view) { names.push_back(name); }
  template <class T, class Allowed>
  void field(std::string_view, T&, const Allowed&, std::string_view) {}
};

struct Writer {
  std::string text;
  void section(std::string_view name, std::string_view) {
    text += fmt::format("{}{}:\n", text.empty() ? "" : "\n", name);
  }
  template <class T, class Allowed>
  void field(std::string_view name, const T& value, const Allowed& allowed, std::string_view) {
    text += fmt::format("  {}: {}\n", name, format_scalar(value, allowed));
  }
};

struct Value {
  std::string name;
  std::string text;
};

// Every value of one section (or all) as text.
struct Values {
  std::string_view wanted;
  std::string_view current = {};
  std::vector<Value> values = {};
  void section(std::string_view name, std::string_view) { current = name; }
  template <class T, class Allowed>
  void field(std::string_view name, const T& value, const Allowed& allowed, std::string_view) {
    if (!wanted.empty() && wanted != current) return;
    values.push_back({fmt::format("{}.{}", current, name), format_scalar(value, allowed)});
  }
};

}  // namespace

RunConfig load_run_config(const std::filesystem::path& path, std::span<const std::string> overrides) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    throw FileError(fmt::format("{}: {}", path.string(), error ? error.message() : "no such file"));
  }
  if (!std::filesystem::is_regular_file(status)) {
    throw FileError(fmt::format("{}: is {}, expected a YAML file", path.string(),
                                std::filesystem::is_directory(status) ? "a directory" : "not a regular file"));
  }
  std::ifstream file(path, std::ios::binary);
  std::string text(max_config_bytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.eof() && !file) throw FileError(fmt::format("{}: cannot be read", path.string()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  return parse_run_config(text, path.string(), overrides);
}

RunConfig parse_run_config(std::string_view text, std::string_view name, std::span<const std::string> overrides) {
  if (text.size() > max_config_bytes) {
    throw ConfigError(fmt::format("{}: larger than the {} bytes allowed for a configuration", name, max_config_bytes));
  }
  const YamlEntries yaml = read_yaml_entries(text, name);
  RunConfig config;
  SectionNames known;
  describe(config, known);
  for (const YamlSection& section : yaml.sections) {
    Assignment::require_name(fmt::format("{}:{}", name, section.line), printable(section.name), "a section",
                             section.name, known.names);
  }
  for (const YamlEntry& entry : yaml.entries) {
    assign(config, fmt::format("{}:{}", name, entry.line), entry.section, entry.key, entry.value);
  }
  for (const std::string& text_of_override : overrides) apply_override(config, text_of_override);
  try {
    validate(config);
  } catch (const ConfigError& error) {
    throw ConfigError(fmt::format("{}: {}", name, error.what()));
  }
  return config;
}

std::string to_yaml(const RunConfig& config) {
  Writer writer;
  describe(config, writer);
  return writer.text;
}

std::vector<std::string> differences(const RunConfig& before, const RunConfig& after, std::string_view section) {
  Values old_values{section}, new_values{section};
  describe(before, old_values);
  describe(after, new_values);
  std::vector<std::string> result;
  for (std::size_t i = 0; i < old_values.values.size(); ++i) {
    const Value& old_value = old_values.values[i];
    const Value& new_value = new_values.values[i];
    if (old_value.text == new_value.text) continue;
    result.push_back(fmt::format("{}: {} -> {}", old_value.name, old_value.text, new_value.text));
  }
  return result;
}

}  // namespace palimpsest
