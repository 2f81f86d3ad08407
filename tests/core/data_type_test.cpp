#include "core/data_type.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace palimpsest {
namespace {

float rounded(float value) { return bfloat16(value); }

TEST(Bfloat16, KeepsWhatItCanRepresent) {
  for (const float value : {0.0f, -0.0f, 1.0f, -1.5f, 0x1.fep127f, 0x1p-126f, 0x1p-133f}) {
    EXPECT_EQ(std::bit_cast<std::uint32_t>(rounded(value)), std::bit_cast<std::uint32_t>(value)) << value;
  }
}

TEST(Bfloat16, RoundsToNearestTiesToEven) {
  EXPECT_EQ(rounded(1.0f + 0x1p-9f), 1.0f);              // below half a unit (2^-7)
  EXPECT_EQ(rounded(1.0f + 0x1p-8f), 1.0f);              // a tie: down to even
  EXPECT_EQ(rounded(1.0f + 0x1.8p-7f), 1.0f + 0x1p-6f);  // a tie: up to even
  EXPECT_EQ(rounded(1.0f + 0x1.02p-8f), 1.0f + 0x1p-7f);
  EXPECT_EQ(rounded(-1.0f - 0x1.02p-8f), -1.0f - 0x1p-7f);
}

TEST(Bfloat16, KeepsInfinityAndNan) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(rounded(infinity), infinity);
  EXPECT_EQ(rounded(-infinity), -infinity);
  EXPECT_EQ(rounded(std::numeric_limits<float>::max()), infinity);
  EXPECT_TRUE(std::isnan(rounded(std::numeric_limits<float>::quiet_NaN())));
  // The payload lies in the lower half only: truncation would make it an infinity.
  EXPECT_TRUE(std::isnan(rounded(std::bit_cast<float>(0x7f800001u))));
}

TEST(DataType, NamesSizesAndAccumulators) {
  EXPECT_EQ(size_of(DataType::float32), sizeof(float));
  EXPECT_EQ(size_of(DataType::bfloat16), sizeof(bfloat16));
  EXPECT_EQ(size_of(DataType::float64), sizeof(double));
  EXPECT_EQ(name_of(DataType::bfloat16), "bfloat16");
  EXPECT_EQ(accumulate_type(DataType::bfloat16), DataType::float32);
  EXPECT_EQ(accumulate_type(DataType::float64), DataType::float64);
}

TEST(DataType, DispatchesToItsCppType) {
  for (const DataType type : {DataType::float32, DataType::bfloat16, DataType::float64}) {
    EXPECT_EQ(dispatch(type, []<class T>() { return data_type_of<T>; }), type);
  }
}

}  // namespace
}  // namespace palimpsest
