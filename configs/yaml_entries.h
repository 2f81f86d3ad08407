// The strict subset of YAML that configurations are written in: one document, a mapping of sections
// to mappings of keys to scalars. yaml-cpp parses; this refuses what it would let pass silently.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "configs/scalar.h"

namespace palimpsest {

/// One `key: value` of a section.
struct YamlEntry {
  std::string section;
  std::string key;
  Scalar value;
  int line = 0;  // of the key, counted from 1
};

/// A section's heading: sections without keys have no entries, yet their names are checked too.
struct YamlSection {
  std::string name;
  int line = 0;
};

struct YamlEntries {
  std::vector<YamlSection> sections;
  std::vector<YamlEntry> entries;
};

/// The entries of `text` in order; `name` stands for the file in messages. Throws ConfigError with
/// file and line on a syntax error, a repeated section or key, an anchor, alias or tag, a list or
/// deeper mapping, a key without value, and a second document. Empty text has no entries.
YamlEntries read_yaml_entries(std::string_view text, std::string_view name);

}  // namespace palimpsest
