// An HDF5 file with the few operations Palimpsest needs. Files are written once and never changed
// afterwards; what is read is checked against what the caller expects, so a damaged or hostile file
// ends in a FileError and never in a wrong value or an allocation of a size only the file states.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/data_type.h"
#include "core/tensor.h"

namespace palimpsest {

/// Names of data sets are paths inside the file ("memory/lane-00012/matrix"); groups appear as
/// needed. Every data set of more than zero elements is stored in chunks with Fletcher32 checksums.
/// Reading throws FileError and writing WriteError; the message starts with the file's path and names
/// the data set or attribute. Safe to use from one thread at a time.
class Hdf5File {
 public:
  /// Opens an existing file for reading.
  static Hdf5File open(const std::filesystem::path& path);
  /// The same for a file whose content no hash vouches for: a child process reads its structure first, so that a file
  /// over which HDF5 crashes, runs for ever or out of memory is a FileError as well. Not while other threads use HDF5.
  static Hdf5File open_untrusted(const std::filesystem::path& path);
  /// Creates a file for writing; one that exists already is an error.
  static Hdf5File create(const std::filesystem::path& path);

  Hdf5File(Hdf5File&& other) noexcept;
  Hdf5File& operator=(Hdf5File&& other) noexcept;
  /// Closes without reporting failures: a file that was written needs `close`.
  ~Hdf5File();

  /// Writes what is buffered and closes the file, reporting failures (a full disk).
  void close();

  const std::filesystem::path& path() const { return path_; }

  // Data sets. `T` is std::uint8_t, std::uint16_t, std::int32_t, std::int64_t, std::uint64_t, float or double; the
  // stored type must be the same one (little-endian), no conversion takes place.

  struct DatasetInfo {
    Shape shape;
    /// "float32", "float64", "bfloat16", "uint8", "uint16", "int32", "int64", "uint64", or "other".
    std::string type;
  };

  bool contains(const std::string& name) const;
  /// Every data set of the file, sorted by name.
  std::vector<std::string> dataset_names() const;
  /// Shape and type; the file is known to hold that many bytes, so allocating them is safe.
  DatasetInfo info(const std::string& name) const;
  /// Number of elements of a one-dimensional data set.
  std::int64_t length(const std::string& name) const;

  /// Reads a whole data set whose shape and type must be the target's.
  void read(const std::string& name, Tensor& target) const;
  /// Reads a whole data set of any rank with as many elements as the span.
  template <class T>
  void read(const std::string& name, std::span<T> target) const;
  /// Reads elements [offset, offset + target.size()) of a one-dimensional data set.
  template <class T>
  void read_slice(const std::string& name, std::int64_t offset, std::span<T> target) const;
  /// A whole one-dimensional data set.
  template <class T>
  std::vector<T> read_vector(const std::string& name) const;

  void write(const std::string& name, const Tensor& source);
  template <class T>
  void write(const std::string& name, std::span<const T> values);
  template <class T>
  void write(const std::string& name, const std::vector<T>& values) {
    write(name, std::span<const T>(values));
  }
  /// Appends to a one-dimensional data set, creating it when there is none of that name.
  template <class T>
  void append(const std::string& name, std::span<const T> values);

  /// Creates a data set whose elements will lie in one piece, without writing them, and returns where in the file
  /// they begin (0 when there are none). The checksum is the caller's business.
  std::uint64_t reserve(const std::string& name, const Shape& shape, DataType type);

  // Attributes of the file, or of the group or data set `object`.

  bool has_attribute(const std::string& name, const std::string& object = "/") const;
  std::string text_attribute(const std::string& name, const std::string& object = "/") const;
  std::int64_t integer_attribute(const std::string& name, const std::string& object = "/") const;
  double real_attribute(const std::string& name, const std::string& object = "/") const;
  /// At most 60,000 bytes; longer texts belong in a uint8 data set.
  void write_attribute(const std::string& name, std::string_view text, const std::string& object = "/");
  void write_attribute(const std::string& name, const char* text, const std::string& object = "/") {
    write_attribute(name, std::string_view(text), object);
  }
  void write_attribute(const std::string& name, std::int64_t value, const std::string& object = "/");
  void write_attribute(const std::string& name, int value, const std::string& object = "/") {
    write_attribute(name, std::int64_t{value}, object);
  }
  void write_attribute(const std::string& name, double value, const std::string& object = "/");

 private:
  Hdf5File(std::filesystem::path path, std::int64_t file);
  void read_structure() const;

  std::filesystem::path path_;
  std::int64_t file_;  // HDF5's identifier; negative once closed
};

}  // namespace palimpsest
