// How an Hdf5File lays out the data sets that it writes.
#include <algorithm>
#include <functional>
#include <numeric>

#include <fmt/format.h>

#include "core/io/hdf5_file.h"
#include "core/io/hdf5_handle.h"
#include "core/io/hdf5_storage.h"

namespace palimpsest {

using hdf5::check;
using hdf5::ElementType;
using hdf5::Handle;

namespace {

constexpr std::size_t chunk_bytes = std::size_t{1} << 20;           // HDF5's chunk cache holds one of these
constexpr std::size_t appended_chunk_bytes = std::size_t{1} << 16;  // smaller: slices read little besides

/// Chunks of at most `chunk_bytes`, cut along the leading axes into pieces of nearly equal size.
std::vector<hsize_t> chunk_extents(const Shape& shape, std::size_t element_size) {
  std::vector<hsize_t> chunk(shape.extents().begin(), shape.extents().end());
  for (hsize_t& extent : chunk) {
    const hsize_t total = std::accumulate(chunk.begin(), chunk.end(), hsize_t{element_size}, std::multiplies<>());
    if (total <= chunk_bytes) break;
    const hsize_t pieces = std::min(extent, (total + chunk_bytes - 1) / chunk_bytes);
    extent = (extent + pieces - 1) / pieces;
  }
  return chunk;
}

/// Properties by which the same content gives the same file, with checksums.
Handle creation_properties(const std::filesystem::path& path, const std::string& name, std::span<const hsize_t> chunk) {
  Handle creation(check<WriteError>(H5Pcreate(H5P_DATASET_CREATE), path, "create data set", name), H5Pclose);
  check<WriteError>(H5Pset_obj_track_times(creation.get(), false), path, "create data set", name);
  check<WriteError>(H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER), path, "create data set", name);
  if (!chunk.empty()) {
    check<WriteError>(H5Pset_chunk(creation.get(), static_cast<int>(chunk.size()), chunk.data()), path,
                      "create data set", name);
    check<WriteError>(H5Pset_fletcher32(creation.get()), path, "create data set", name);
  }
  return creation;
}

Handle create_dataset(hid_t file, const std::filesystem::path& path, const std::string& name, hid_t stored, hid_t space,
                      hid_t creation) {
  const Handle links(check<WriteError>(H5Pcreate(H5P_LINK_CREATE), path, "create data set", name), H5Pclose);
  check<WriteError>(H5Pset_create_intermediate_group(links.get(), 1), path, "create data set", name);
  return {check<WriteError>(H5Dcreate2(file, name.c_str(), stored, space, links.get(), creation, H5P_DEFAULT), path,
                            "create data set", name),
          H5Dclose};
}

/// The dataspace of a whole tensor.
Handle space_of(const Shape& shape, const std::filesystem::path& path, const std::string& name) {
  const std::vector<hsize_t> extents(shape.extents().begin(), shape.extents().end());
  return {
      check<WriteError>(extents.empty() ? H5Screate(H5S_SCALAR)
                                        : H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr),
                        path, "create data set", name),
      H5Sclose};
}

Handle write_whole(hid_t file, const std::filesystem::path& path, const std::string& name, const Shape& shape,
                   const ElementType& type, const void* source) {
  hdf5::prepare_library();
  const Handle space = space_of(shape, path, name);
  const std::vector<hsize_t> chunk = shape.elements() == 0 ? std::vector<hsize_t>() : chunk_extents(shape, type.size);
  const Handle creation = creation_properties(path, name, chunk);
  Handle dataset = create_dataset(file, path, name, type.stored, space.get(), creation.get());
  if (shape.elements() > 0) {
    check<WriteError>(H5Dwrite(dataset.get(), type.native, H5S_ALL, H5S_ALL, H5P_DEFAULT, source), path,
                      "write data set", name);
  }
  return dataset;
}

}  // namespace

void Hdf5File::write(const std::string& name, const Tensor& source) {
  const ElementType type = hdf5::element_type(name_of(source.data_type()));
  {
    // Closed before the attribute is added by name.
    const Handle dataset = write_whole(file_, path_, name, source.shape(), type, source.raw().data());
  }
  if (source.data_type() == DataType::bfloat16) write_attribute(hdf5::element_type_attribute, type.name, name);
}

template <class T>
void Hdf5File::write(const std::string& name, std::span<const T> values) {
  write_whole(file_, path_, name, Shape{static_cast<std::int64_t>(values.size())},
              hdf5::element_type(hdf5::type_name_of<T>), values.data());
}

template <class T>
void Hdf5File::append(const std::string& name, std::span<const T> values) {
  hdf5::prepare_library();
  const ElementType type = hdf5::element_type(hdf5::type_name_of<T>);
  Handle dataset;
  hsize_t length = 0;
  // Asking for a link below a missing group is an error rather than a no; either way it is new.
  if (H5Lexists(file_, name.c_str(), H5P_DEFAULT) > 0) {
    dataset =
        Handle(check<WriteError>(H5Dopen2(file_, name.c_str(), H5P_DEFAULT), path_, "open data set", name), H5Dclose);
    const Handle space(check<WriteError>(H5Dget_space(dataset.get()), path_, "read data set", name), H5Sclose);
    length = static_cast<hsize_t>(H5Sget_simple_extent_npoints(space.get()));
  } else {
    const hsize_t unlimited = H5S_UNLIMITED, chunk = appended_chunk_bytes / type.size;
    const Handle space(check<WriteError>(H5Screate_simple(1, &length, &unlimited), path_, "create data set", name),
                       H5Sclose);
    const Handle creation = creation_properties(path_, name, {&chunk, 1});
    dataset = create_dataset(file_, path_, name, type.stored, space.get(), creation.get());
  }
  if (values.empty()) return;
  const hsize_t extended = length + values.size();
  check<WriteError>(H5Dset_extent(dataset.get(), &extended), path_, "extend data set", name);
  const auto [in_file, in_memory] =
      hdf5::select(dataset.get(), static_cast<std::int64_t>(length), values.size(), path_, name);
  check<WriteError>(H5Dwrite(dataset.get(), type.native, in_memory.get(), in_file.get(), H5P_DEFAULT, values.data()),
                    path_, "write data set", name);
}

std::uint64_t Hdf5File::reserve(const std::string& name, const Shape& shape, DataType data_type) {
  hdf5::prepare_library();
  const ElementType type = hdf5::element_type(name_of(data_type));
  std::uint64_t offset = 0;
  {
    const Handle space = space_of(shape, path_, name);
    const Handle creation = creation_properties(path_, name, {});
    check<WriteError>(H5Pset_alloc_time(creation.get(), H5D_ALLOC_TIME_EARLY), path_, "create data set", name);
    const Handle dataset = create_dataset(file_, path_, name, type.stored, space.get(), creation.get());
    if (shape.elements() > 0) {
      offset = H5Dget_offset(dataset.get());
      if (offset == HADDR_UNDEF) {
        throw WriteError(fmt::format("{}: data set '{}' has no place: {}", path_.string(), name, hdf5::explanation()));
      }
    }
  }
  if (data_type == DataType::bfloat16) write_attribute(hdf5::element_type_attribute, type.name, name);
  return offset;
}

#define PALIMPSEST_INSTANTIATE(T)                                        \
  template void Hdf5File::write(const std::string&, std::span<const T>); \
  template void Hdf5File::append(const std::string&, std::span<const T>);
PALIMPSEST_INSTANTIATE(std::uint8_t)
PALIMPSEST_INSTANTIATE(std::uint16_t)
PALIMPSEST_INSTANTIATE(std::int32_t)
PALIMPSEST_INSTANTIATE(std::int64_t)
PALIMPSEST_INSTANTIATE(std::uint64_t)
PALIMPSEST_INSTANTIATE(float)
PALIMPSEST_INSTANTIATE(double)
#undef PALIMPSEST_INSTANTIATE

}  // namespace palimpsest
