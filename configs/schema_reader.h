// Values out of YAML into the structs that a schema describes, strictly: nothing in the text goes unnoticed.
#pragma once

#include <string>
#include <string_view>

#include "configs/schema.h"
#include "configs/yaml_tree.h"

namespace palimpsest {

/// Sets what `root` holds; what it leaves out stays as it is. `name` stands for the file in messages, "--set" for nodes
/// without a line. Throws ConfigError that names place and key when a key is unknown, an option of another kind than
/// the section's, of the wrong type or out of range. An option that is in the file and belongs to another kind than the
/// one that --set chooses is left out.
void read_schema(const YamlNode& root, std::string_view name, const Description& describe_root);

}  // namespace palimpsest
