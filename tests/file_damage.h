// Reading, writing and damaging files byte by byte, and the message of the error that follows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <gtest/gtest.h>

#include "core/error.h"

namespace palimpsest {

inline std::string file_content(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  EXPECT_TRUE(stream) << path;
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

inline void overwrite_file(const std::filesystem::path& path, const std::string& content) {
  std::ofstream stream(path, std::ios::binary | std::ios::trunc);
  stream << content;
  ASSERT_TRUE(stream.flush()) << path;
}

inline void flip_byte(const std::filesystem::path& path, std::size_t offset) {
  std::string content = file_content(path);
  ASSERT_LT(offset, content.size());
  content[offset] = static_cast<char>(content[offset] ^ 0x10);
  overwrite_file(path, content);
}

/// Twice is as good as never.
inline void flip_bit(const std::filesystem::path& path, std::uintmax_t offset, int bit) {
  std::fstream stream(path, std::ios::binary | std::ios::in | std::ios::out);
  stream.seekg(static_cast<std::streamoff>(offset));
  const int byte = stream.get() ^ (1 << bit);
  stream.seekp(static_cast<std::streamoff>(offset));
  stream.put(static_cast<char>(byte));
  ASSERT_TRUE(stream.flush()) << path;
}

/// The message of the `Failure` that `action` throws; a test failure when it throws nothing.
template <class Failure = FileError, class Action>
std::string message_of(Action&& action) {
  try {
    action();
  } catch (const Failure& error) {
    return error.what();
  }
  ADD_FAILURE() << "no error was thrown";
  return {};
}

inline bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace palimpsest
