// The data sets of an Hdf5File: what is checked before reading.
#include <algorithm>

#include <fmt/format.h>

#include "core/io/hdf5_file.h"
#include "core/io/hdf5_handle.h"
#include "core/io/hdf5_storage.h"

namespace palimpsest {

using hdf5::check;
using hdf5::Handle;

namespace {

std::string entry(const std::filesystem::path& path, const std::string& name) {
  return fmt::format("{}: data set '{}'", path.string(), name);
}

struct Dataset {
  Handle dataset;
  Shape shape;
  std::string_view type;
};

/// Soft and external links could lead anywhere; only what lies in this file is read.
void require_hard_links(hid_t file, const std::filesystem::path& path, const std::string& name) {
  for (std::size_t end = name.find('/'); true; end = name.find('/', end + 1)) {
    const std::string prefix = name.substr(0, end);
    H5L_info_t link;
    if (prefix.empty() || H5Lget_info(file, prefix.c_str(), &link, H5P_DEFAULT) < 0) {
      throw FileError(fmt::format("{}: there is no data set '{}'", path.string(), name));
    }
    if (link.type != H5L_TYPE_HARD) {
      throw FileError(fmt::format("{} is reached through a link, expected one stored in the file", entry(path, name)));
    }
    if (end == std::string::npos) return;
  }
}

/// Opens a data set whose elements are all stored in the file itself.
Dataset open_dataset(hid_t file, const std::filesystem::path& path, const std::string& name) {
  hdf5::prepare_library();
  require_hard_links(file, path, name);
  Handle dataset(check(H5Dopen2(file, name.c_str(), H5P_DEFAULT), path, "open data set", name), H5Dclose);
  const Handle space(check(H5Dget_space(dataset.get()), path, "read data set", name), H5Sclose);
  const Handle type(check(H5Dget_type(dataset.get()), path, "read data set", name), H5Tclose);

  const int rank = check(H5Sget_simple_extent_ndims(space.get()), path, "read data set", name);
  if (rank > Shape::max_rank) {
    throw FileError(fmt::format("{} has {} dimensions, expected at most {}", entry(path, name), rank, Shape::max_rank));
  }
  hsize_t extents[Shape::max_rank] = {};
  check(H5Sget_simple_extent_dims(space.get(), extents, nullptr), path, "read data set", name);

  // Elements beyond the file's size cannot be in it; this also bounds every later product.
  hsize_t file_bytes = 0;
  check(H5Fget_filesize(file, &file_bytes), path, "measure", "HDF5 file");
  hsize_t bytes = H5Tget_size(type.get());
  for (int axis = 0; axis < rank; ++axis) {
    if (extents[axis] != 0 && bytes > file_bytes / extents[axis]) {
      throw FileError(
          fmt::format("{} declares more elements than its file of {} bytes can hold", entry(path, name), file_bytes));
    }
    bytes *= extents[axis];
  }
  hdf5::require_plain_storage(dataset.get(), bytes, file_bytes, path, name);
  const std::vector<std::int64_t> dimensions(extents, extents + rank);
  std::string_view element = hdf5::element_type_name(type.get());
  if (element == "uint16" && H5Aexists(dataset.get(), hdf5::element_type_attribute) > 0) element = "bfloat16";
  return {std::move(dataset), Shape(dimensions), element};
}

void require_type(const Dataset& found, std::string_view expected, const std::filesystem::path& path,
                  const std::string& name) {
  if (found.type != expected) {
    throw FileError(fmt::format("{} has elements of type {}, expected {}", entry(path, name), found.type, expected));
  }
}

void read_whole(const Dataset& found, void* target, const std::filesystem::path& path, const std::string& name) {
  if (found.shape.elements() == 0) return;
  const std::int64_t rows = found.shape.rank() == 0 ? 1 : found.shape[0];
  hdf5::require_sound_chunks(found.dataset.get(), found.shape, 0, rows, path, name);
  const hid_t native = hdf5::element_type(found.type).native;
  check(H5Dread(found.dataset.get(), native, H5S_ALL, H5S_ALL, H5P_DEFAULT, target), path, "read data set", name);
}

}  // namespace

bool Hdf5File::contains(const std::string& name) const {
  const std::vector<std::string> names = dataset_names();
  return std::binary_search(names.begin(), names.end(), name);
}

std::vector<std::string> Hdf5File::dataset_names() const {
  hdf5::prepare_library();
  std::vector<std::string> names;
  const auto collect = [](hid_t group, const char* name, const H5L_info_t* link, void* result) -> herr_t {
    if (link->type != H5L_TYPE_HARD) return 0;
    const Handle object(H5Oopen(group, name, H5P_DEFAULT), H5Oclose);
    if (object.get() < 0) return -1;
    if (H5Iget_type(object.get()) == H5I_DATASET) static_cast<std::vector<std::string>*>(result)->push_back(name);
    return 0;
  };
  check(H5Lvisit(file_, H5_INDEX_NAME, H5_ITER_INC, collect, &names), path_, "list", "data sets");
  std::sort(names.begin(), names.end());
  return names;
}

Hdf5File::DatasetInfo Hdf5File::info(const std::string& name) const {
  const Dataset found = open_dataset(file_, path_, name);
  return {found.shape, std::string(found.type)};
}

std::int64_t Hdf5File::length(const std::string& name) const {
  const Shape shape = info(name).shape;
  if (shape.rank() != 1) {
    throw FileError(fmt::format("{} has shape {}, expected one dimension", entry(path_, name), shape.to_string()));
  }
  return shape.elements();
}

void Hdf5File::read(const std::string& name, Tensor& target) const {
  const Dataset found = open_dataset(file_, path_, name);
  require_type(found, name_of(target.data_type()), path_, name);
  if (found.shape != target.shape()) {
    throw FileError(fmt::format("{} has shape {}, expected {}", entry(path_, name), found.shape.to_string(),
                                target.shape().to_string()));
  }
  read_whole(found, target.raw().data(), path_, name);
}

template <class T>
void Hdf5File::read(const std::string& name, std::span<T> target) const {
  const Dataset found = open_dataset(file_, path_, name);
  require_type(found, hdf5::type_name_of<T>, path_, name);
  if (found.shape.elements() != static_cast<std::int64_t>(target.size())) {
    throw FileError(
        fmt::format("{} has {} elements, expected {}", entry(path_, name), found.shape.elements(), target.size()));
  }
  read_whole(found, target.data(), path_, name);
}

template <class T>
void Hdf5File::read_slice(const std::string& name, std::int64_t offset, std::span<T> target) const {
  const Dataset found = open_dataset(file_, path_, name);
  require_type(found, hdf5::type_name_of<T>, path_, name);
  const std::int64_t length = found.shape.elements();
  const auto count = static_cast<std::int64_t>(target.size());
  if (found.shape.rank() != 1 || offset < 0 || count > length || offset > length - count) {
    throw FileError(fmt::format("{} has shape {}, asked for elements {} to {}", entry(path_, name),
                                found.shape.to_string(), offset, offset + count));
  }
  if (count == 0) return;
  hdf5::require_sound_chunks(found.dataset.get(), found.shape, offset, offset + count, path_, name);
  const auto [in_file, in_memory] = hdf5::select(found.dataset.get(), offset, target.size(), path_, name);
  const hid_t native = hdf5::element_type(found.type).native;
  check(H5Dread(found.dataset.get(), native, in_memory.get(), in_file.get(), H5P_DEFAULT, target.data()), path_,
        "read data set", name);
}

template <class T>
std::vector<T> Hdf5File::read_vector(const std::string& name) const {
  std::vector<T> result(static_cast<std::size_t>(length(name)));
  read(name, std::span<T>(result));
  return result;
}

#define PALIMPSEST_INSTANTIATE(T)                                                           \
  template void Hdf5File::read(const std::string&, std::span<T>) const;                     \
  template void Hdf5File::read_slice(const std::string&, std::int64_t, std::span<T>) const; \
  template std::vector<T> Hdf5File::read_vector(const std::string&) const;
PALIMPSEST_INSTANTIATE(std::uint8_t)
PALIMPSEST_INSTANTIATE(std::uint16_t)
PALIMPSEST_INSTANTIATE(std::int32_t)
PALIMPSEST_INSTANTIATE(std::int64_t)
PALIMPSEST_INSTANTIATE(std::uint64_t)
PALIMPSEST_INSTANTIATE(float)
PALIMPSEST_INSTANTIATE(double)
#undef PALIMPSEST_INSTANTIATE

}  // namespace palimpsest
