// Local attention whose spans see keys in front of them.
#include <algorithm>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/grad_check.h"
#include "autograd/ops/attention.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

/// Two lanes of 7 tokens in segments of 4 behind 5 keys each; every segment sees up to 6 keys in front of it.
class AttentionBehindKeys : public ::testing::Test {
 protected:
  Variable leaf(Shape shape, std::uint64_t seed) {
    return Variable::leaf(testing::normal_tensor(pool, shape, DataType::float64, seed));
  }
  static SequenceLayout seeing(std::int64_t keys) {
    SequenceLayout layout = make_layout(std::vector<std::int64_t>(14, 0), std::vector<std::int64_t>{0, 0}, 4);
    for (Span& span : layout.spans) {
      span.keys_before = std::min(keys, 5 + span.begin % 7);
      span.position = span.keys_before;
    }
    return layout;
  }

  MemoryPool pool;
  const HeadCounts counts{2, 1, 4};
  const std::shared_ptr<const RotaryTable> table =
      std::make_shared<const RotaryTable>(pool, 10, 4, 100.0, DataType::float64);
  Variable query = leaf({2, 7, 8}, 1), key = leaf({2, 12, 4}, 2), value = leaf({2, 12, 4}, 3);
};

TEST_F(AttentionBehindKeys, GradientsReachAllKeys) {
  const auto layout = std::make_shared<const SequenceLayout>(seeing(6));
  std::vector<Variable> leaves{query, key, value};
  const GradientCheck check = check_gradients(
      pool,
      [&](Tape& tape) {
        return std::vector<Variable>{local_attention(tape, query, key, value, layout, counts, table),
                                     local_attention(tape, query, key, value, layout, counts, table)};
      },
      leaves);
  EXPECT_LT(check.relative_error, 1e-6) << check.to_string();
}

TEST_F(AttentionBehindKeys, IsRefusedWhereKeysOrPositionsAreMissing) {
  Tape tape(pool);
  const auto attend = [&](const SequenceLayout& layout, const Variable& keys) {
    local_attention(tape, query, keys, keys, std::make_shared<const SequenceLayout>(layout), counts, table);
  };
  attend(seeing(5), key);
  EXPECT_THROW(attend(seeing(5), leaf({2, 11, 4}, 4)), ShapeError);  // one key too few
  EXPECT_THROW(attend(seeing(0), leaf({2, 6, 4}, 5)), ShapeError);   // fewer keys than queries
  SequenceLayout wrong = seeing(5);
  wrong.spans[1].position = 4;
  EXPECT_THROW(attend(wrong, key), ShapeError);
  wrong.spans[1].position = 8;
  EXPECT_THROW(attend(wrong, key), ShapeError);  // the table ends at 10
}

}  // namespace
}  // namespace palimpsest
