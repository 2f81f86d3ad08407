// Versions, errors and arguments.
#include <exception>
#include <new>

#include "data/text/utf8.h"
#include "launch/c_interface/handles.h"
#include "launch/output/exit_codes.h"

namespace palimpsest::c_interface {

static_assert(palimpsest_ok == ExitCode::ok && palimpsest_internal_error == ExitCode::internal_error &&
              palimpsest_argument_error == ExitCode::configuration && palimpsest_input_error == ExitCode::input &&
              palimpsest_output_error == ExitCode::output && palimpsest_numerical_error == ExitCode::numerical);

namespace {

std::string& last_error() {
  thread_local std::string message;
  return message;
}

}  // namespace

int keep_error() {
  const auto keep = [](const char* message, int code) {
    try {
      last_error() = message;
    } catch (const std::bad_alloc&) {
      last_error().clear();
    }
    return code;
  };
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return keep("out of memory", palimpsest_internal_error);
  } catch (const std::exception& error) {
    return keep(error.what(), exit_code_of(error));
  } catch (...) {
    return keep("an exception that is none of Palimpsest's", palimpsest_internal_error);
  }
}

std::string_view required_text(const char* text, std::size_t bytes) {
  const std::span<const char> content = elements(text, bytes, "the text");
  const std::string_view result(content.data(), content.size());
  if (const auto found = find_invalid_utf8(result)) {
    throw DataError(fmt::format("the text is not UTF-8: byte {} at offset {}",
                                static_cast<unsigned char>(result[static_cast<std::size_t>(*found)]), *found));
  }
  return result;
}

}  // namespace palimpsest::c_interface

const char* palimpsest_version() { return PALIMPSEST_VERSION; }

const char* palimpsest_last_error() { return palimpsest::c_interface::last_error().c_str(); }
