// From a configuration to what a run is trained on.
#pragma once

#include <memory>

#include "data/data_config.h"
#include "data/stream/token_source.h"

namespace palimpsest {

/// Throws ConfigError when the configuration names no data or asks for what does not go together, FileError or
/// DataError over the files.
std::unique_ptr<TokenSource> open_source(const DataConfig& config, const SourceShape& shape);

}  // namespace palimpsest
