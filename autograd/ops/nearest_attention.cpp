#include "autograd/ops/nearest_attention.h"

#include <algorithm>
#include <limits>

#include "autograd/ops/head_views.h"

namespace palimpsest {

namespace {

void check(const Variable& query, const Tensor& key, const Tensor& value, const std::vector<StoredKeys>& runs,
           std::int64_t top_k, const HeadCounts& counts) {
  const auto width = [](const Shape& shape) { return shape.rank() == 0 ? 0 : shape[-1]; };
  const DataType type = query.data_type();
  if (width(query.shape()) != counts.heads * counts.head_size || top_k < 1 ||
      width(key.shape()) != counts.kv_heads * counts.head_size || key.data_type() != type) {
    throw ShapeError(
        fmt::format("nearest_attention: the nearest {} of keys {} {} for queries {} {}, {} heads and {} "
                    "key/value heads of {}",
                    top_k, name_of(key.data_type()), key.shape().to_string(), name_of(type), query.shape().to_string(),
                    counts.heads, counts.kv_heads, counts.head_size));
  }
  require_tensor("nearest_attention", "value", value, key.shape(), type);
  const std::int64_t queries = query.shape().rows(), keys = key.shape().rows();
  for (const StoredKeys& run : runs) {
    if (run.first_query < 0 || run.queries < 1 || run.first_query + run.queries > queries || run.first_key < 0 ||
        run.keys < 1 || run.first_key + run.keys > keys || keys > std::numeric_limits<std::int32_t>::max()) {
      throw ShapeError(fmt::format("nearest_attention: queries {} to {} of {} cannot search keys {} to {} of {}",
                                   run.first_query, run.first_query + run.queries - 1, queries, run.first_key,
                                   run.first_key + run.keys - 1, keys));
    }
  }
}

/// Forward's findings; undefined where nobody needs them.
struct Found {
  Tensor rows;  // int32, in the storage of float32
  Tensor weights;

  template <class T>
  Nearest<T> view() {
    if (!rows.defined()) return {};
    return {reinterpret_cast<std::int32_t*>(rows.raw().data()), weights.data<accumulate_t<T>>()};
  }
};

}  // namespace

Variable nearest_attention(Tape& tape, const Variable& query, const Tensor& key, const Tensor& value,
                           const std::vector<StoredKeys>& runs, std::int64_t top_k, const HeadCounts& counts) {
  const OperatorScope scope(tape, "nearest attention");
  check(query, key, value, runs, top_k, counts);
  const DataType type = query.data_type();
  const std::int64_t rows = query.shape().rows();
  const auto inputs = [query, key, value, top_k, counts]<class T>(std::span<const StoredKeys> of_runs) {
    return NearestAttentionInputs<T>{.runs = of_runs,
                                     .top_k = top_k,
                                     .query = head_rows<T>(query.value(), counts.heads, counts.head_size),
                                     .key = head_rows<T>(key, counts.kv_heads, counts.head_size),
                                     .value = head_rows<T>(value, counts.kv_heads, counts.head_size)};
  };
  const bool records = tape.records({query});
  Tensor output(tape.pool(), query.shape(), type);
  Found found;
  if (records) {
    const Shape shape{rows, counts.heads, top_k};
    found = {Tensor(tape.pool(), shape, DataType::float32), Tensor(tape.pool(), shape, accumulate_type(type))};
  }
  dispatch(type, [&]<class T>() {
    nearest_attention_forward<T>(tape.pool(), inputs.template operator()<T>(runs),
                                 head_rows<T>(output, counts.heads, counts.head_size), rows, found.view<T>());
  });
  Variable result = Variable::result(output, records);
  if (!records) return result;
  tape.record(
      {result}, [&pool = tape.pool(), inputs, query, counts, rows, found, dy = result.gradient_slot()]() mutable {
        dispatch(query.data_type(), [&]<class T>() {
          auto d_query = query.wanted_gradient(pool);
          nearest_attention_backward<T>(pool, inputs.template operator()<T>({}), rows, found.view<T>(),
                                        head_rows<T>(std::as_const(dy).tensor(), counts.heads, counts.head_size),
                                        head_gradient<T>(d_query, counts.heads, counts.head_size));
        });
      });
  return result;
}

}  // namespace palimpsest
