#include <gtest/gtest.h>

#include "core/io/file_hash.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

TEST(FileHash, IsXxh3Of128Bits) {
  // The published value for no input (xxHash's specification, seed 0).
  EXPECT_EQ(FileHash().digest(), "99aa06d3014798d86001c324468d497f");
}

TEST(FileHash, DoesNotDependOnThePieces) {
  const std::string text = "a palimpsest is a page written over again";
  const auto bytes = std::as_bytes(std::span(text));
  FileHash whole, pieces;
  whole.update(bytes);
  pieces.update(bytes.first(5));
  pieces.update(bytes.subspan(5, 0));
  pieces.update(bytes.subspan(5));
  EXPECT_EQ(whole.digest(), pieces.digest());
}

TEST(FileHash, OfAFileIsTheHashOfItsBytes) {
  const TemporaryDirectory directory;
  const std::string content(3'000'001, 'x');
  overwrite_file(directory / "file", content);
  FileHash hash;
  hash.update(std::as_bytes(std::span(content)));
  EXPECT_EQ(fingerprint_file(directory / "file"), (FileFingerprint{3'000'001, hash.digest()}));
  flip_byte(directory / "file", 2'999'999);
  EXPECT_NE(hash_file(directory / "file"), hash.digest());
}

TEST(FileHash, OfWhatIsNoFileIsAnError) {
  const TemporaryDirectory directory;
  EXPECT_EQ(message_of([&] { hash_file(directory / "none"); }), (directory / "none").string() + ": no such file");
  EXPECT_EQ(message_of([&] { hash_file(directory.path()); }), directory.path().string() + ": not a regular file");
}

}  // namespace
}  // namespace palimpsest
