#include "launch/output/standard_output.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include <fmt/format.h>

#include "core/error.h"

namespace palimpsest {

void write_to_stdout(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw WriteError(fmt::format("standard output cannot be written: {}", std::strerror(errno)));
  }
}

}  // namespace palimpsest
