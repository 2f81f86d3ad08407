#include "autograd/ops/embedding.h"

#include <utility>
#include <vector>

#include <fmt/format.h>

#include "core/kernels/embedding.h"

namespace palimpsest {

namespace {

void check_tokens(const Variable& weight, std::span<const std::int32_t> tokens, std::int64_t lanes,
                  std::int64_t tokens_per_lane) {
  if (weight.shape().rank() != 2) {
    throw ShapeError(fmt::format("embedding: weight {}; expected (vocab, columns)", weight.shape().to_string()));
  }
  if (static_cast<std::int64_t>(tokens.size()) != lanes * tokens_per_lane) {
    throw ShapeError(fmt::format("embedding: {} tokens for {} lanes of {}", tokens.size(), lanes, tokens_per_lane));
  }
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= weight.shape()[0]) {
      throw ShapeError(fmt::format("embedding: token {} at position {} is outside the vocabulary of {}", tokens[i], i,
                                   weight.shape()[0]));
    }
  }
}

}  // namespace

Variable embedding(Tape& tape, const Variable& weight, std::span<const std::int32_t> tokens, std::int64_t lanes,
                   std::int64_t tokens_per_lane) {
  const OperatorScope scope(tape, "embedding");
  check_tokens(weight, tokens, lanes, tokens_per_lane);
  const std::int64_t columns = weight.shape()[1];
  Tensor rows(tape.pool(), {lanes, tokens_per_lane, columns}, weight.data_type());
  dispatch(rows.data_type(),
           [&]<class T>() { embedding_forward(weight.value().data<T>(), tokens, columns, rows.data<T>()); });
  const bool records = tape.records({weight});
  Variable y = Variable::result(std::move(rows), records);
  if (records) {
    tape.record({y}, [&pool = tape.pool(), weight, kept = std::vector(tokens.begin(), tokens.end()), columns,
                      dy = y.gradient_slot()] {
      auto [gradient, accumulate] = weight.gradient_target(pool);
      if (!accumulate) fill(gradient, 0.0);
      dispatch(dy.type(), [&, &gradient = gradient]<class T>() {
        embedding_backward(dy.tensor().data<T>(), kept, columns, gradient.data<accumulate_t<T>>());
      });
    });
  }
  return y;
}

}  // namespace palimpsest
