#include "core/io/hdf5_storage.h"

#include <algorithm>
#include <array>

namespace palimpsest::hdf5 {

namespace {

constexpr std::uint64_t max_chunk_bytes = std::uint64_t{64} << 20;  // held in memory while one is read
constexpr std::uint64_t fletcher32_bytes = 4;                       // after every chunk

using Extents = std::array<hsize_t, Shape::max_rank>;

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& name, const std::string& what) {
  throw FileError(fmt::format("{}: data set '{}' {}", path.string(), name, what));
}

Handle creation_of(hid_t dataset, const std::filesystem::path& path, const std::string& name) {
  return {check(H5Dget_create_plist(dataset), path, "read data set", name), H5Pclose};
}

/// Bytes of a chunk's elements.
std::uint64_t chunk_bytes(hid_t dataset, hid_t creation, Extents& chunk, const std::filesystem::path& path,
                          const std::string& name) {
  const int rank = check(H5Pget_chunk(creation, Shape::max_rank, chunk.data()), path, "read data set", name);
  const Handle type(check(H5Dget_type(dataset), path, "read data set", name), H5Tclose);
  std::uint64_t bytes = H5Tget_size(type.get());
  for (int axis = 0; axis < rank; ++axis) {
    const hsize_t extent = chunk[static_cast<std::size_t>(axis)];
    if (extent == 0 || bytes > max_chunk_bytes / extent) {
      fail(path, name, fmt::format("has chunks of more than {} bytes", max_chunk_bytes));
    }
    bytes *= extent;
  }
  return bytes;
}

/// Other filters may need any amount of memory, or code from elsewhere.
bool has_checksums(hid_t creation, const std::filesystem::path& path, const std::string& name) {
  const int filters = check(H5Pget_nfilters(creation), path, "read data set", name);
  for (int i = 0; i < filters; ++i) {
    unsigned flags = 0;
    std::size_t count = 0;
    const H5Z_filter_t filter =
        H5Pget_filter2(creation, static_cast<unsigned>(i), &flags, &count, nullptr, 0, nullptr, nullptr);
    if (filter != H5Z_FILTER_FLETCHER32 || filters > 1) {
      fail(path, name, "is compressed or filtered, expected plain elements or Fletcher32 checksums");
    }
  }
  return filters == 1;
}

}  // namespace

void require_plain_storage(hid_t dataset, std::uint64_t bytes, std::uint64_t file_bytes,
                           const std::filesystem::path& path, const std::string& name) {
  const Handle creation = creation_of(dataset, path, name);
  const H5D_layout_t layout = H5Pget_layout(creation.get());
  if (layout == H5D_VIRTUAL || H5Pget_external_count(creation.get()) > 0) {
    fail(path, name, "is kept in other files, expected one stored in the file");
  }
  if (layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED) {
    fail(path, name, "lies in its own header, expected one piece or chunks");
  }
  has_checksums(creation.get(), path, name);
  const hsize_t stored = H5Dget_storage_size(dataset);
  if (stored < bytes) {
    fail(path, name,
         fmt::format("stores {} bytes, expected {} for its shape (partly written data sets are not read)", stored,
                     bytes));
  }
  if (layout == H5D_CHUNKED) {
    Extents chunk{};
    chunk_bytes(dataset, creation.get(), chunk, path, name);
  } else if (bytes > 0) {
    const haddr_t begin = H5Dget_offset(dataset);
    if (begin == HADDR_UNDEF || begin > file_bytes || bytes > file_bytes - begin) {
      fail(path, name, fmt::format("lies outside its file of {} bytes", file_bytes));
    }
  }
}

void require_sound_chunks(hid_t dataset, const Shape& shape, std::int64_t begin, std::int64_t end,
                          const std::filesystem::path& path, const std::string& name) {
  const Handle creation = creation_of(dataset, path, name);
  if (H5Pget_layout(creation.get()) != H5D_CHUNKED || shape.elements() == 0 || begin >= end) return;
  Extents chunk{}, offset{};
  const std::uint64_t expected = chunk_bytes(dataset, creation.get(), chunk, path, name) +
                                 (has_checksums(creation.get(), path, name) ? fletcher32_bytes : 0);
  const auto rank = static_cast<std::size_t>(shape.rank());
  if (std::ranges::count_if(chunk, [](hsize_t extent) { return extent > 0; }) != shape.rank()) {
    fail(path, name, "has chunks of another number of dimensions");
  }
  const auto extent = [&](std::size_t axis) { return static_cast<hsize_t>(axis == 0 ? end : shape.extents()[axis]); };
  offset[0] = static_cast<hsize_t>(begin) / chunk[0] * chunk[0];
  while (true) {
    hsize_t stored = 0;
    check(H5Dget_chunk_storage_size(dataset, offset.data(), &stored), path, "find a chunk of", name);
    if (stored != expected) {
      fail(path, name,
           fmt::format("has a chunk of {} bytes at ({}), expected {}", stored,
                       fmt::join(offset.begin(), offset.begin() + shape.rank(), ", "), expected));
    }
    // The next chunk, the last axis first.
    std::size_t axis = rank;
    while (axis-- > 0) {
      offset[axis] += chunk[axis];
      if (offset[axis] < extent(axis)) break;
      if (axis == 0) return;
      offset[axis] = 0;
    }
  }
}

}  // namespace palimpsest::hdf5
