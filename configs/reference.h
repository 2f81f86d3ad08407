// docs/configuration.md, generated from the schema.
#pragma once

#include <string>

namespace palimpsest {

/// The configuration reference in Markdown: every section and key with type, default, allowed values
/// and meaning.
std::string configuration_reference();

}  // namespace palimpsest
