// Opening an HDF5 file that nobody vouches for. The library has been seen to crash on, and to loop for ever over,
// files with a few flipped bytes; so a child process first reads the whole structure of such a file.
#include <vector>

#include <fmt/format.h>

#include "core/io/child_process.h"
#include "core/io/hdf5_file.h"
#include "core/io/hdf5_handle.h"
#include "core/io/hdf5_storage.h"

namespace palimpsest {

using hdf5::Handle;

namespace {

/// Reads every attribute of one object.
void read_attributes(hid_t object) {
  const auto read = [](hid_t location, const char* name, const H5A_info_t*, void*) -> herr_t {
    const Handle attribute(H5Aopen(location, name, H5P_DEFAULT), H5Aclose);
    const Handle type(H5Aget_type(attribute.get()), H5Tclose);
    const hsize_t bytes = H5Aget_storage_size(attribute.get());
    if (bytes == 0 || bytes > hdf5::attribute_limit || H5Tis_variable_str(type.get()) > 0) return 0;
    std::vector<char> value(bytes);
    H5Aread(attribute.get(), type.get(), value.data());
    return 0;
  };
  H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, nullptr, read, nullptr);
}

}  // namespace

void Hdf5File::read_structure() const {
  read_attributes(file_);
  for (const std::string& name : dataset_names()) {
    try {
      const DatasetInfo found = info(name);
      const Handle dataset(H5Dopen2(file_, name.c_str(), H5P_DEFAULT), H5Dclose);
      read_attributes(dataset.get());
      const std::int64_t rows = found.shape.rank() == 0 ? 1 : found.shape[0];
      hdf5::require_sound_chunks(dataset.get(), found.shape, 0, rows, path_, name);
    } catch (const FileError&) {  // of this data set; it is told when it is read
    }
  }
}

Hdf5File Hdf5File::open_untrusted(const std::filesystem::path& path) {
  const auto trouble = try_in_child([&] {
    Hdf5File trial = open(path);
    trial.read_structure();
    trial.close();
  });
  if (trouble) {
    throw FileError(
        fmt::format("{}: damaged: reading its structure with the HDF5 library {}", path.string(), *trouble));
  }
  return open(path);
}

}  // namespace palimpsest
