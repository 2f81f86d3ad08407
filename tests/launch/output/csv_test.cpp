// Comma-separated values.
#include "launch/output/csv.h"

#include <gtest/gtest.h>

namespace palimpsest {
namespace {

TEST(Csv, QuotesWhatWouldBeReadOtherwise) {
  EXPECT_EQ(format_csv({{"name", "tokens"}, {"plain text", "3"}, {"a, b", ""}, {"\"x\"", "two\nlines"}}),
            "name,tokens\nplain text,3\n\"a, b\",\n\"\"\"x\"\"\",\"two\nlines\"\n");
}

}  // namespace
}  // namespace palimpsest
