// What the commands that measure results have in common.
#pragma once

#include <string_view>

#include <CLI/CLI.hpp>

#include "core/comm/communicator.h"
#include "launch/measures/bootstrap.h"

namespace palimpsest {

/// --bootstrap, --confidence and --seed.
void add_bootstrap_options(CLI::App& command, BootstrapOptions& options);

/// Throws ConfigError on several ranks.
void require_one_process(std::string_view command, const Communicator& communicator);

}  // namespace palimpsest
