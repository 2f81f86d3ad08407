// Standard output, of which nothing gets lost in silence.
#pragma once

#include <string_view>

namespace palimpsest {

/// All of it, at once. Throws WriteError.
void write_to_stdout(std::string_view text);

}  // namespace palimpsest
