#include "launch/library/file_access.h"

namespace palimpsest {

std::mutex& file_access() {
  static std::mutex mutex;  // of the process, as the HDF5 library is
  return mutex;
}

}  // namespace palimpsest
