// Structs of the C interface that later versions add members to: by its first member, `size`, a caller says which of
// them it knows of.
#pragma once

#include <cstddef>
#include <cstring>
#include <string>
#include <type_traits>

#include <fmt/format.h>

#include "core/error.h"

namespace palimpsest::c_interface {

/// Throws ConfigError on a size that no version of the struct has had: below `least`, that of the first, or above that
/// of this version, which could only guess at what is behind.
template <class Struct>
void require_known_size(std::size_t size, std::size_t least, const std::string& name) {
  if (size >= least && size <= sizeof(Struct)) return;
  const std::string expected =
      least == sizeof(Struct) ? fmt::format("{}", least) : fmt::format("{} to {}", least, sizeof(Struct));
  throw ConfigError(
      fmt::format("{0} has a size of {1} bytes, expected {2} (palimpsest_{0}_defaults)", name, size, expected));
}

/// What the caller has given, and `defaults` for the members that it doesn't know of. Errors as above.
template <class Struct>
Struct from_caller(const Struct& given, const Struct& defaults, std::size_t least, const std::string& name) {
  static_assert(std::is_trivially_copyable_v<Struct> && offsetof(Struct, size) == 0);
  require_known_size<Struct>(given.size, least, name);
  Struct result = defaults;
  std::memcpy(static_cast<void*>(&result), &given, given.size);
  return result;
}

/// Writes the defaults to as much of the caller's struct as it has, with this size. Errors as above.
template <class Struct>
void to_caller(Struct& target, Struct defaults, std::size_t size, std::size_t least, const std::string& name) {
  static_assert(std::is_trivially_copyable_v<Struct> && offsetof(Struct, size) == 0);
  require_known_size<Struct>(size, least, name);
  defaults.size = size;
  std::memcpy(static_cast<void*>(&target), &defaults, size);
}

}  // namespace palimpsest::c_interface
