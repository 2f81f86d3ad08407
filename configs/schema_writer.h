// The values that a schema describes as text.
#pragma once

#include <string>
#include <vector>

#include "configs/schema.h"

namespace palimpsest {

/// YAML of every key; read_schema reads it back to equal values.
std::string write_schema(const Description& describe_root);

struct NamedValue {
  std::string name;  // "train.steps", "data.train[0].file"
  std::string text;
};

/// Every value with its full name, in the order of the schema.
std::vector<NamedValue> schema_values(const Description& describe_root);

}  // namespace palimpsest
