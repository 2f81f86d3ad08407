// One process has one HDF5 library, and a file that nobody vouches for is first read in a child process, which must not
// be born while another thread is inside that library: those who compute in several threads take turns with files.
#pragma once

#include <mutex>

namespace palimpsest {

/// Held while model and state files are read and written.
std::mutex& file_access();

}  // namespace palimpsest
