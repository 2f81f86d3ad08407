// An open file as an owned value, its failures as exceptions that start with its path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

namespace palimpsest {

/// Closed on every way out. Failures to read throw FileError, all others WriteError: "PATH: cannot
/// <action>: <the system's reason>".
class Descriptor {
 public:
  /// `flags` of open(2). New files get the user's umask.
  static Descriptor for_reading(const std::filesystem::path& path);
  static Descriptor for_writing(const std::filesystem::path& path, int flags);

  Descriptor(Descriptor&& other) noexcept;
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor();

  std::uint64_t size() const;
  /// Fills `target` from the bytes at `offset`. A file that ends before is an error.
  void read(std::uint64_t offset, std::span<std::byte> target) const;
  /// Has the system begin to bring these bytes from disk, so that `read` waits less for them.
  void start_reading(std::uint64_t offset, std::uint64_t bytes) const;

  /// Appends.
  void write(std::string_view content);
  void write(std::uint64_t offset, std::span<const std::byte> content);
  /// Has the system begin to bring these bytes to disk, so that `synchronize` finds less to do.
  void start_writing_back(std::uint64_t offset, std::uint64_t bytes);
  /// Forces everything to disk.
  void synchronize();
  /// Network file systems report a full disk only here.
  void close();

 private:
  Descriptor(const std::filesystem::path& path, int id) : path_(path), id_(id) {}

  std::filesystem::path path_;
  int id_;
};

}  // namespace palimpsest
