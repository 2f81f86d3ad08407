#include "configs/yaml.h"

#include <algorithm>
#include <fstream>

#include <fmt/format.h>

#include "configs/schema_reader.h"
#include "configs/schema_writer.h"
#include "configs/yaml_tree.h"
#include "core/printable.h"

namespace palimpsest {

namespace {

/// Puts the value of "section.key=value" into the tree, where its key may be new.
void apply_override(YamlNode& root, const std::string& text) {
  const std::size_t equals = text.find('=');
  const std::size_t dot = text.find('.');
  if (equals == std::string::npos || dot == std::string::npos || dot > equals) {
    throw ConfigError(fmt::format("--set {}: expected section.key=value, as in train.steps=1000", printable(text)));
  }
  YamlNode* node = &root;
  for (std::size_t begin = 0; begin <= equals;) {
    const std::size_t end = std::min(text.find('.', begin), equals);
    const std::string key = text.substr(begin, end - begin);
    if (node->kind != YamlNode::Kind::mapping) {
      node->kind = YamlNode::Kind::mapping;
      node->children.clear();
      node->line = node->column = 0;
    }
    YamlNode* child = node->find(key);
    if (child == nullptr) {
      child = &node->children.emplace_back();
      child->key = key;
    }
    node = child;
    begin = end + 1;
  }
  const std::string key = node->key, value = text.substr(equals + 1);
  *node = {};
  if (value.starts_with('[')) {
    *node = read_yaml("value: " + value, fmt::format("--set {}", printable(text))).children.at(0);
  } else {
    node->kind = YamlNode::Kind::scalar;
    node->scalar = {value};
  }
  node->key = key;
}

/// Attention's options stood among the model's keys until there were several kinds of attention.
void upgrade(YamlNode& root) {
  YamlNode* model = root.find("model");
  if (model == nullptr || model->find("attention") != nullptr) return;
  YamlNode attention;
  attention.kind = YamlNode::Kind::mapping;
  attention.key = "attention";
  attention.line = model->line;
  attention.column = model->column;
  for (const std::string_view key : {"memory_update", "empty_memory", "memory_epsilon", "initial_gate"}) {
    if (YamlNode* option = model->find(key)) {
      attention.children.push_back(std::move(*option));
      model->children.erase(model->children.begin() + (option - model->children.data()));
    }
  }
  if (!attention.children.empty()) model->children.push_back(std::move(attention));
}

YamlNode read_tree(std::string_view text, std::string_view name) {
  if (text.size() > max_config_bytes) {
    throw ConfigError(fmt::format("{}: larger than the {} bytes allowed for a configuration", name, max_config_bytes));
  }
  return read_yaml(text, name);
}

RunConfig run_config_of(const YamlNode& tree, std::string_view name) {
  RunConfig config;
  read_schema(tree, name, [&](SchemaVisitor& visitor) { describe(config, visitor); });
  return config;
}

void validate(const RunConfig& config, std::string_view name) {
  try {
    validate(config);
  } catch (const ConfigError& error) {
    throw ConfigError(fmt::format("{}: {}", name, error.what()));
  }
}

std::vector<NamedValue> values_of(RunConfig config) {
  return schema_values([&](SchemaVisitor& visitor) { describe(config, visitor); });
}

const std::string* find_value(const std::vector<NamedValue>& values, const std::string& name) {
  const auto found = std::ranges::find(values, name, &NamedValue::name);
  return found == values.end() ? nullptr : &found->text;
}

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
  YamlNode tree = read_tree(text, name);
  RunConfig config = run_config_of(tree, name);  // what the file says has to be right, overridden or not
  if (!overrides.empty()) {
    for (const std::string& override_text : overrides) apply_override(tree, override_text);
    config = run_config_of(tree, name);
  }
  validate(config, name);
  return config;
}

RunConfig parse_saved_config(std::string_view text, std::string_view name) {
  YamlNode tree = read_tree(text, name);
  upgrade(tree);
  RunConfig config = run_config_of(tree, name);
  validate(config, name);
  return config;
}

std::string to_yaml(RunConfig config) {
  return write_schema([&](SchemaVisitor& visitor) { describe(config, visitor); });
}

std::vector<std::string> differences(const RunConfig& before, const RunConfig& after, std::string_view section) {
  const std::vector<NamedValue> old_values = values_of(before), new_values = values_of(after);
  const std::string prefix = section.empty() ? "" : fmt::format("{}.", section);
  std::vector<std::string> result;
  for (const auto& [name, text] : old_values) {
    const std::string* now = find_value(new_values, name);
    if (!name.starts_with(prefix) || (now != nullptr && *now == text)) continue;
    result.push_back(fmt::format("{}: {} -> {}", name, text, now == nullptr ? "none" : *now));
  }
  for (const auto& [name, text] : new_values) {
    if (!name.starts_with(prefix) || find_value(old_values, name) != nullptr) continue;
    result.push_back(fmt::format("{}: none -> {}", name, text));
  }
  return result;
}

}  // namespace palimpsest
