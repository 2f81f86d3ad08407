#include "core/token_batch.h"

namespace palimpsest {

namespace {

/// A batch of whatever `part` makes of each array.
template <class Function>
TokenBatch parts(const TokenBatch& batch, std::int64_t lanes, std::int64_t tokens, Function part) {
  return {lanes,
          tokens,
          part(batch.inputs),
          part(batch.targets),
          part(batch.documents),
          part(batch.loss_weights),
          part(batch.write_weights),
          part(batch.answers),
          part(batch.sources),
          part(batch.queries)};
}

}  // namespace

TokenBatch lanes_of(const TokenBatch& batch, std::int64_t begin, std::int64_t end) {
  return parts(batch, end - begin, batch.tokens, [&]<class T>(const std::vector<T>& values) {
    if (values.empty()) return values;
    return std::vector<T>(values.begin() + begin * batch.tokens, values.begin() + end * batch.tokens);
  });
}

TokenBatch columns_of(const TokenBatch& batch, std::int64_t begin, std::int64_t end) {
  return parts(batch, batch.lanes, end - begin, [&]<class T>(const std::vector<T>& values) {
    std::vector<T> columns;
    for (auto row = values.begin(); row != values.end(); row += batch.tokens) {
      columns.insert(columns.end(), row + begin, row + end);
    }
    return columns;
  });
}

}  // namespace palimpsest
