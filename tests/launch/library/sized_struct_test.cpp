// Structs of the C interface that have grown: programs that were built before go on working.
#include "launch/c_interface/sized_struct.h"

#include <cstddef>
#include <string>

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/file_damage.h"

namespace palimpsest::c_interface {
namespace {

/// What a program of the first version, and of this one, was built with.
struct First {
  std::size_t size;
  double kept;
};
struct Grown {
  std::size_t size;
  double kept;
  double added;
};
constexpr std::size_t least = offsetof(Grown, kept) + sizeof(double);
constexpr Grown defaults = {sizeof(Grown), 1, 2};

TEST(SizedStruct, WhatAnEarlierProgramDoesNotKnowIsTheDefault) {
  Grown given = {least, 5, 7};  // what lies behind its own members is not the program's
  EXPECT_EQ(sizeof(First), least);
  const Grown found = from_caller(given, defaults, least, "decoding");
  EXPECT_EQ(found.kept, 5);
  EXPECT_EQ(found.added, 2);
  given.size = sizeof(Grown);
  EXPECT_EQ(from_caller(given, defaults, least, "decoding").added, 7);
}

TEST(SizedStruct, NothingIsWrittenBehindAnEarlierProgramsStruct) {
  Grown target = {99, 5, 7};
  to_caller(target, defaults, least, least, "decoding");
  EXPECT_EQ(target.size, least);
  EXPECT_EQ(target.kept, 1);
  EXPECT_EQ(target.added, 7);
}

TEST(SizedStruct, SizesOfNoVersionAreRefused) {
  for (const std::size_t size : {std::size_t{0}, least - 1, sizeof(Grown) + 1}) {
    const Grown given = {size, 5, 7};
    EXPECT_EQ(
        message_of<ConfigError>([&] { from_caller(given, defaults, least, "decoding"); }),
        "decoding has a size of " + std::to_string(size) + " bytes, expected 16 to 24 (palimpsest_decoding_defaults)");
    Grown target = {99, 5, 7};
    EXPECT_THROW(to_caller(target, defaults, size, least, "decoding"), ConfigError);
    EXPECT_EQ(target.size, 99u);
  }
}

}  // namespace
}  // namespace palimpsest::c_interface
