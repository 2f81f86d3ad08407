// The strict subset of YAML that configurations are written in: one document of mappings, lists and scalars, without
// what lets a text mean another thing than it shows. yaml-cpp parses; this refuses what it would let pass silently.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "configs/scalar.h"

namespace palimpsest {

/// A document, or the value of a key or list item in it.
struct YamlNode {
  enum class Kind { nothing, scalar, list, mapping };

  Kind kind = Kind::nothing;
  Scalar scalar;
  std::string key;                 // of a mapping's child
  std::vector<YamlNode> children;  // of a mapping, whose keys all differ, or a list; in order
  int line = 0, column = 0;        // of the key or list item, counted from 1; 0: not from a file

  /// The child with this key; null without one.
  YamlNode* find(std::string_view name);
  const YamlNode* find(std::string_view name) const;
};

/// The document; `name` stands for the file in messages. Throws ConfigError with file, line and column on a syntax
/// error, a repeated key, an anchor, alias or tag, anything but a mapping at the top, and a second document. Empty
/// text is nothing.
YamlNode read_yaml(std::string_view text, std::string_view name);

}  // namespace palimpsest
