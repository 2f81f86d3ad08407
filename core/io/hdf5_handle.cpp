#include "core/io/hdf5_handle.h"

#include <array>

namespace palimpsest::hdf5 {

namespace {

std::array<ElementType, 8> element_types() {
  return {{
      {"float32", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, 4},
      {"float64", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, 8},
      {"uint8", H5T_STD_U8LE, H5T_NATIVE_UINT8, 1},
      {"int32", H5T_STD_I32LE, H5T_NATIVE_INT32, 4},
      {"int64", H5T_STD_I64LE, H5T_NATIVE_INT64, 8},
      {"uint64", H5T_STD_U64LE, H5T_NATIVE_UINT64, 8},
      {"uint16", H5T_STD_U16LE, H5T_NATIVE_UINT16, 2},
      {"bfloat16", H5T_STD_U16LE, H5T_NATIVE_UINT16, 2},
  }};
}

}  // namespace

void prepare_library() {
  // The error stack belongs to a thread, the rest to the process.
  thread_local const bool prepared = [] {
    H5dont_atexit();
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    H5PLset_loading_state(0);  // no file decides which code is loaded
    return true;
  }();
  static_cast<void>(prepared);
}

std::string explanation() {
  std::string result;
  const auto take_first = [](unsigned, const H5E_error2_t* error, void* text) -> herr_t {
    auto& message = *static_cast<std::string*>(text);
    if (message.empty() && error->desc != nullptr) message = error->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first, &result);
  return result.empty() ? "no explanation from HDF5" : result;
}

ElementType element_type(std::string_view name) {
  for (const ElementType& type : element_types()) {
    if (type.name == name) return type;
  }
  throw FileError(fmt::format("'{}' is not an element type", name));
}

std::string_view element_type_name(hid_t stored) {
  for (const ElementType& type : element_types()) {
    if (H5Tequal(stored, type.stored) > 0) return type.name;
  }
  return "other";
}

std::pair<Handle, Handle> select(hid_t dataset, std::int64_t offset, std::size_t count,
                                 const std::filesystem::path& path, const std::string& name) {
  const hsize_t first = static_cast<hsize_t>(offset), length = count;
  Handle in_file(check(H5Dget_space(dataset), path, "select from", name), H5Sclose);
  Handle in_memory(check(H5Screate_simple(1, &length, nullptr), path, "select from", name), H5Sclose);
  check(H5Sselect_hyperslab(in_file.get(), H5S_SELECT_SET, &first, nullptr, &length, nullptr), path, "select from",
        name);
  return {std::move(in_file), std::move(in_memory)};
}

}  // namespace palimpsest::hdf5
