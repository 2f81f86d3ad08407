#include <gtest/gtest.h>

#include "core/io/atomic_directory.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

std::size_t entries(const fs::path& directory) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

TEST(AtomicFile, ReplacesTheContentAndLeavesNothingElse) {
  const TemporaryDirectory directory;
  write_file_atomically(directory / "file", "first, longer");
  write_file_atomically(directory / "file", "second");
  EXPECT_EQ(file_content(directory / "file"), "second");
  EXPECT_EQ(entries(directory.path()), 1u);
}

TEST(AtomicFile, FailsWithThePathAndLeavesNothing) {
  const TemporaryDirectory directory;
  const fs::path below_nothing = directory / "none" / "file";
  EXPECT_TRUE(holds(message_of<WriteError>([&] { write_file_atomically(below_nothing, ""); }), "cannot create"));
  fs::create_directory(directory / "taken");
  overwrite_file(directory / "taken" / "by", "something");
  const std::string message = message_of<WriteError>([&] { write_file_atomically(directory / "taken", ""); });
  EXPECT_TRUE(holds(message, (directory / "taken").string() + ": cannot replace")) << message;
  EXPECT_EQ(entries(directory.path()), 1u);
}

TEST(AtomicDirectory, AppearsOnCommit) {
  const TemporaryDirectory directory;
  const fs::path destination = directory / "parent" / "step-1";
  AtomicDirectory building(destination);
  EXPECT_EQ(building.temporary(), AtomicDirectory::temporary_for(destination));
  EXPECT_EQ(building.temporary().parent_path(), destination.parent_path());
  overwrite_file(building.temporary() / "file", "content");
  EXPECT_FALSE(fs::exists(destination));
  building.commit();
  EXPECT_EQ(file_content(destination / "file"), "content");
  EXPECT_EQ(entries(destination.parent_path()), 1u);
}

TEST(AtomicDirectory, IsRemovedUnlessCommitted) {
  const TemporaryDirectory directory;
  try {
    AtomicDirectory building(directory / "step-1");
    overwrite_file(building.temporary() / "file", "content");
    throw std::runtime_error("the disk is full");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(entries(directory.path()), 0u);
}

TEST(AtomicDirectory, ReplacesWhatAnEarlierAttemptLeft) {
  const TemporaryDirectory directory;
  const fs::path left = AtomicDirectory::temporary_for(directory / "step-1");
  fs::create_directory(left);
  overwrite_file(left / "old", "half");
  AtomicDirectory building(directory / "step-1");
  building.commit();
  EXPECT_FALSE(fs::exists(directory / "step-1" / "old"));
}

TEST(AtomicDirectory, KeepsAnExistingDestination) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "step-1");
  overwrite_file(directory / "step-1" / "file", "precious");
  const std::string message = message_of<WriteError>([&] { AtomicDirectory building(directory / "step-1"); });
  EXPECT_EQ(message, (directory / "step-1").string() + ": cannot create: it exists already");
  EXPECT_EQ(file_content(directory / "step-1" / "file"), "precious");
}

TEST(AtomicDirectory, ReplacesAnExistingDestinationWhenAskedTo) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "step-1");
  overwrite_file(directory / "step-1" / "old", "damaged");
  AtomicDirectory building(directory / "step-1", AtomicDirectory::Existing::replace);
  overwrite_file(building.temporary() / "new", "whole");
  EXPECT_TRUE(fs::exists(directory / "step-1" / "old"));
  building.commit();
  EXPECT_EQ(file_content(directory / "step-1" / "new"), "whole");
  EXPECT_EQ(entries(directory / "step-1"), 1u);
  EXPECT_EQ(entries(directory.path()), 1u);
}

}  // namespace
}  // namespace palimpsest
