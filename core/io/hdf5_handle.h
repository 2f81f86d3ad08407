// HDF5's identifiers as owned values, its return codes as exceptions and its element types by name.
// Only for the .cpp files of this folder: nothing outside core/io sees <hdf5.h>.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <hdf5.h>

#include "core/error.h"

namespace palimpsest::hdf5 {

/// Has to come before the first HDF5 call of every thread: keeps the library from printing its
/// error stack and from dying at exit over a file it could not flush.
void prepare_library();

/// What the library says about its last failure: the most specific message of its error stack.
std::string explanation();

/// The result of an HDF5 call. Throws `Failure` "path: cannot <action> '<name>': <explanation>" when it is
/// negative.
template <class Failure = FileError, class Result>
Result check(Result result, const std::filesystem::path& path, std::string_view action, std::string_view name) {
  if (result < 0) throw Failure(fmt::format("{}: cannot {} '{}': {}", path.string(), action, name, explanation()));
  return result;
}

/// Owns one identifier.
class Handle {
 public:
  Handle() = default;
  Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }

  hid_t get() const { return id_; }

 private:
  hid_t id_ = H5I_INVALID_HID;
  herr_t (*close_)(hid_t) = nullptr;
};

/// An element type: how it is called, how files hold it and how memory does. bfloat16 is held as
/// uint16 and told apart by an attribute of the data set.
struct ElementType {
  std::string_view name;
  hid_t stored;
  hid_t native;
  std::size_t size;
};

/// Throws FileError on a name that is none of Hdf5File::DatasetInfo's.
ElementType element_type(std::string_view name);
/// The name of a stored type; "other" for one that Palimpsest does not use.
std::string_view element_type_name(hid_t stored);

template <class T>
inline constexpr std::string_view type_name_of = "";
template <>
inline constexpr std::string_view type_name_of<std::uint8_t> = "uint8";
template <>
inline constexpr std::string_view type_name_of<std::uint16_t> = "uint16";
template <>
inline constexpr std::string_view type_name_of<std::int32_t> = "int32";
template <>
inline constexpr std::string_view type_name_of<std::int64_t> = "int64";
template <>
inline constexpr std::string_view type_name_of<std::uint64_t> = "uint64";
template <>
inline constexpr std::string_view type_name_of<float> = "float32";
template <>
inline constexpr std::string_view type_name_of<double> = "float64";

/// The attribute that marks a uint16 data set as bfloat16.
inline constexpr const char* element_type_attribute = "element_type";

inline constexpr std::size_t attribute_limit = 60000;  // the format allows a little less than 64 KiB

/// The dataspace of a data set with [offset, offset + count) selected, and a memory dataspace of that size.
std::pair<Handle, Handle> select(hid_t dataset, std::int64_t offset, std::size_t count,
                                 const std::filesystem::path& path, const std::string& name);

}  // namespace palimpsest::hdf5
