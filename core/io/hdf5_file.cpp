#include "core/io/hdf5_file.h"

#include <algorithm>
#include <memory>
#include <type_traits>
#include <utility>

#include <fmt/format.h>

#include "core/io/hdf5_handle.h"

namespace palimpsest {

using hdf5::attribute_limit;
using hdf5::check;
using hdf5::Handle;

static_assert(std::is_same_v<hid_t, std::int64_t>, "Hdf5File keeps HDF5's identifiers as std::int64_t");

namespace {

Handle access_properties(const std::filesystem::path& path) {
  Handle properties(check(H5Pcreate(H5P_FILE_ACCESS), path, "open", "file"), H5Pclose);
  // Files are never changed in place, so locks protect nothing; on network file systems they fail.
  check(H5Pset_file_locking(properties.get(), false, true), path, "open", "file");
  return properties;
}

/// An attribute that holds exactly one value.
struct Attribute {
  Handle attribute;
  Handle type;
};

Attribute open_attribute(hid_t file, const std::filesystem::path& path, const std::string& name,
                         const std::string& object) {
  hdf5::prepare_library();
  Handle attribute(check(H5Aopen_by_name(file, object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT), path,
                         "open attribute", name),
                   H5Aclose);
  const Handle space(check(H5Aget_space(attribute.get()), path, "read attribute", name), H5Sclose);
  Handle type(check(H5Aget_type(attribute.get()), path, "read attribute", name), H5Tclose);
  if (H5Sget_simple_extent_npoints(space.get()) != 1) {
    throw FileError(fmt::format("{}: attribute '{}' holds several values, expected one", path.string(), name));
  }
  return {std::move(attribute), std::move(type)};
}

template <class T>
T read_number(hid_t file, const std::filesystem::path& path, const std::string& name, const std::string& object) {
  const Attribute found = open_attribute(file, path, name, object);
  const hdf5::ElementType expected = hdf5::element_type(hdf5::type_name_of<T>);
  if (H5Tequal(found.type.get(), expected.stored) <= 0) {
    throw FileError(fmt::format("{}: attribute '{}' has type {}, expected {}", path.string(), name,
                                hdf5::element_type_name(found.type.get()), expected.name));
  }
  T value{};
  check(H5Aread(found.attribute.get(), expected.native, &value), path, "read attribute", name);
  return value;
}

void create_attribute(hid_t file, const std::filesystem::path& path, const std::string& name, const std::string& object,
                      hid_t stored, hid_t native, const void* value) {
  hdf5::prepare_library();
  const Handle space(check<WriteError>(H5Screate(H5S_SCALAR), path, "create attribute", name), H5Sclose);
  const Handle attribute(check<WriteError>(H5Acreate_by_name(file, object.c_str(), name.c_str(), stored, space.get(),
                                                             H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                                           path, "create attribute", name),
                         H5Aclose);
  check<WriteError>(H5Awrite(attribute.get(), native, value), path, "write attribute", name);
}

}  // namespace

Hdf5File::Hdf5File(std::filesystem::path path, std::int64_t file) : path_(std::move(path)), file_(file) {}

Hdf5File::Hdf5File(Hdf5File&& other) noexcept : path_(std::move(other.path_)), file_(std::exchange(other.file_, -1)) {}

Hdf5File& Hdf5File::operator=(Hdf5File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(file_, other.file_);
  return *this;
}

Hdf5File::~Hdf5File() {
  if (file_ >= 0) H5Fclose(file_);
}

Hdf5File Hdf5File::open(const std::filesystem::path& path) {
  hdf5::prepare_library();
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    throw FileError(fmt::format("{}: {}", path.string(),
                                std::filesystem::exists(path, error) ? "not a regular file" : "no such file"));
  }
  const Handle access = access_properties(path);
  Hdf5File file(path, check(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), path, "open", "HDF5 file"));
  // The library looks for the beginning further on, too, and does not mind what follows the end.
  hsize_t begin = 0;
  haddr_t end = 0;
  const Handle creation(check(H5Fget_create_plist(file.file_), path, "open", "HDF5 file"), H5Pclose);
  check(H5Pget_userblock(creation.get(), &begin), path, "open", "HDF5 file");
  check(H5Fget_eoa(file.file_, &end), path, "open", "HDF5 file");
  const std::uintmax_t bytes = std::filesystem::file_size(path, error);
  if (begin != 0) throw FileError(fmt::format("{}: HDF5 begins at byte {}, expected 0", path.string(), begin));
  if (!error && bytes != end) {
    throw FileError(fmt::format("{}: {} bytes, but its HDF5 structure ends at byte {}", path.string(), bytes, end));
  }
  return file;
}

Hdf5File Hdf5File::create(const std::filesystem::path& path) {
  hdf5::prepare_library();
  const Handle access = access_properties(path);
  return {path, check<WriteError>(H5Fcreate(path.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, access.get()), path, "create",
                                  "HDF5 file")};
}

void Hdf5File::close() {
  if (file_ < 0) return;
  check<WriteError>(H5Fflush(file_, H5F_SCOPE_GLOBAL), path_, "write", "HDF5 file");
  check<WriteError>(H5Fclose(std::exchange(file_, -1)), path_, "close", "HDF5 file");
}

bool Hdf5File::has_attribute(const std::string& name, const std::string& object) const {
  hdf5::prepare_library();
  return H5Aexists_by_name(file_, object.c_str(), name.c_str(), H5P_DEFAULT) > 0;
}

std::string Hdf5File::text_attribute(const std::string& name, const std::string& object) const {
  const Attribute found = open_attribute(file_, path_, name, object);
  if (H5Tget_class(found.type.get()) != H5T_STRING) {
    throw FileError(fmt::format("{}: attribute '{}' is not a text", path_.string(), name));
  }
  if (H5Tis_variable_str(found.type.get()) > 0) {
    char* text = nullptr;
    check(H5Aread(found.attribute.get(), found.type.get(), &text), path_, "read attribute", name);
    const std::unique_ptr<char, herr_t (*)(void*)> owner(text, H5free_memory);
    return text == nullptr ? std::string() : std::string(text);
  }
  const std::size_t bytes = H5Tget_size(found.type.get());
  if (bytes > attribute_limit + 1) {
    throw FileError(fmt::format("{}: attribute '{}' is a text of {} bytes, expected at most {}", path_.string(), name,
                                bytes, attribute_limit));
  }
  std::string text(bytes, '\0');
  check(H5Aread(found.attribute.get(), found.type.get(), text.data()), path_, "read attribute", name);
  text.resize(std::min(text.size(), text.find('\0')));
  return text;
}

std::int64_t Hdf5File::integer_attribute(const std::string& name, const std::string& object) const {
  return read_number<std::int64_t>(file_, path_, name, object);
}

double Hdf5File::real_attribute(const std::string& name, const std::string& object) const {
  return read_number<double>(file_, path_, name, object);
}

void Hdf5File::write_attribute(const std::string& name, std::string_view text, const std::string& object) {
  if (text.size() > attribute_limit || text.find('\0') != std::string_view::npos) {
    throw WriteError(fmt::format("{}: attribute '{}' is a text of {} bytes, expected at most {} and no zero byte",
                                 path_.string(), name, text.size(), attribute_limit));
  }
  hdf5::prepare_library();
  const Handle type(check<WriteError>(H5Tcopy(H5T_C_S1), path_, "create attribute", name), H5Tclose);
  check<WriteError>(H5Tset_size(type.get(), text.size() + 1), path_, "create attribute", name);
  check<WriteError>(H5Tset_cset(type.get(), H5T_CSET_UTF8), path_, "create attribute", name);
  create_attribute(file_, path_, name, object, type.get(), type.get(), std::string(text).c_str());
}

void Hdf5File::write_attribute(const std::string& name, std::int64_t value, const std::string& object) {
  create_attribute(file_, path_, name, object, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

void Hdf5File::write_attribute(const std::string& name, double value, const std::string& object) {
  create_attribute(file_, path_, name, object, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value);
}

}  // namespace palimpsest
