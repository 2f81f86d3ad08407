// Where a document comes from.
#pragma once

#include <cstdint>
#include <string>

namespace palimpsest {

/// What a corpus tells of a document besides its text.
struct DocumentOrigin {
  std::string title;      // empty where it is not known
  std::int64_t year = 0;  // 0 where it is not known

  bool operator==(const DocumentOrigin&) const = default;
};

}  // namespace palimpsest
