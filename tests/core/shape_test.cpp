#include "core/shape.h"

#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"

namespace palimpsest {
namespace {

TEST(Shape, KnowsItsExtents) {
  const Shape shape{4, 128, 512};
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape[0], 4);
  EXPECT_EQ(shape[-1], 512);
  EXPECT_EQ(shape[-3], 4);
  EXPECT_EQ(shape.elements(), 4 * 128 * 512);
  EXPECT_EQ(shape.rows(), 4 * 128);
  EXPECT_EQ(shape.to_string(), "(4, 128, 512)");
}

TEST(Shape, OfNoAxesIsOneElement) {
  EXPECT_EQ(Shape{}.elements(), 1);
  EXPECT_EQ(Shape{}.rows(), 1);
  EXPECT_EQ(Shape{}.to_string(), "()");
}

TEST(Shape, MayBeEmpty) {
  const Shape shape{3, 0};
  EXPECT_EQ(shape.elements(), 0);
  EXPECT_EQ(shape.rows(), 3);
}

TEST(Shape, ComparesExtents) {
  EXPECT_TRUE((Shape{2, 3} == Shape(std::vector<std::int64_t>{2, 3})));
  EXPECT_FALSE((Shape{2, 3} == Shape{3, 2}));
  EXPECT_FALSE((Shape{2} == Shape{2, 1}));
}

TEST(Shape, RefusesWhatItCannotHold) {
  EXPECT_THROW((Shape{1, -1}), ShapeError);
  EXPECT_THROW((Shape{1, 1, 1, 1, 1, 1}), ShapeError);
  EXPECT_THROW((Shape{std::int64_t{1} << 40, std::int64_t{1} << 40}), ShapeError);
  EXPECT_THROW((Shape{std::int64_t{1} << 60}), ShapeError);  // as float64 its bytes would overflow
  EXPECT_NO_THROW((Shape{std::int64_t{1} << 59}));
}

TEST(Shape, NamesAnAxisItLacks) {
  const Shape shape{2, 3};
  try {
    (void)shape[2];
    FAIL() << "no error";
  } catch (const ShapeError& error) {
    EXPECT_NE(std::string(error.what()).find("(2, 3) has no axis 2"), std::string::npos) << error.what();
  }
  EXPECT_THROW((void)shape[-3], ShapeError);
}

}  // namespace
}  // namespace palimpsest
