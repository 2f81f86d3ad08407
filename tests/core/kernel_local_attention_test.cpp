// Local attention over spans that are shorter and longer than its tiles and blocks, against plain float64 loops.
#include "core/kernels/local_attention.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "tests/tensors.h"

namespace palimpsest {
namespace {

struct Heads {
  std::int64_t query, kv, size;
};

struct Gradients {
  std::vector<double> output, query, key, value;
};

/// The formulas as they stand in the header, on rows of heads (tokens, heads * size).
Gradients reference(const SequenceLayout& layout, const Heads& heads, MemoryPool& pool, const RotaryTable& table,
                    const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& d_output) {
  const std::int64_t d = heads.size, group = heads.query / heads.kv;
  const double scale = 1.0 / std::sqrt(static_cast<double>(d));
  Gradients result{std::vector<double>(static_cast<std::size_t>(q.elements())),
                   std::vector<double>(static_cast<std::size_t>(q.elements())),
                   std::vector<double>(static_cast<std::size_t>(k.elements())),
                   std::vector<double>(static_cast<std::size_t>(k.elements()))};
  const auto dout = d_output.to_doubles(), values = v.to_doubles();
  const Tensor q64 = converted(pool, q, DataType::float64), k64 = converted(pool, k, DataType::float64);
  for (const Span& span : layout.spans) {
    for (std::int64_t head = 0; head < heads.query; ++head) {
      const std::int64_t n = span.length, q_stride = heads.query * d, kv_stride = heads.kv * d;
      const std::int64_t q_at = span.begin * q_stride + head * d, kv_at = span.begin * kv_stride + head / group * d;
      const auto size = static_cast<std::size_t>(n * d);
      std::vector<double> rq(size), rk(size), drq(size), drk(size);
      rotate(q64.data<double>() + q_at, q_stride, rq.data(), d, n, span.position, table, false);
      rotate(k64.data<double>() + kv_at, kv_stride, rk.data(), d, n, span.position, table, false);
      for (std::int64_t i = 0; i < n; ++i) {
        std::vector<double> p(static_cast<std::size_t>(i + 1));
        double highest = -INFINITY, sum = 0.0;
        for (std::int64_t j = 0; j <= i; ++j) {
          for (std::int64_t c = 0; c < d; ++c) p[j] += rq[i * d + c] * rk[j * d + c] * scale;
          highest = std::max(highest, p[j]);
        }
        for (double& weight : p) sum += weight = std::exp(weight - highest);
        double along = 0.0;
        for (std::int64_t j = 0; j <= i; ++j) {
          p[j] /= sum;
          for (std::int64_t c = 0; c < d; ++c) {
            const double weighted = p[j] * values[kv_at + j * kv_stride + c], gradient = dout[q_at + i * q_stride + c];
            result.output[q_at + i * q_stride + c] += weighted;
            along += weighted * gradient;
            result.value[kv_at + j * kv_stride + c] += p[j] * gradient;
          }
        }
        for (std::int64_t j = 0; j <= i; ++j) {
          double dp = 0.0;
          for (std::int64_t c = 0; c < d; ++c) dp += dout[q_at + i * q_stride + c] * values[kv_at + j * kv_stride + c];
          const double ds = p[j] * (dp - along) * scale;
          for (std::int64_t c = 0; c < d; ++c) {
            drq[i * d + c] += ds * rk[j * d + c];
            drk[j * d + c] += ds * rq[i * d + c];
          }
        }
      }
      rotate(drq.data(), d, drq.data(), d, n, span.position, table, true);
      rotate(drk.data(), d, drk.data(), d, n, span.position, table, true);
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t c = 0; c < d; ++c) {
          result.query[q_at + i * q_stride + c] += drq[i * d + c];
          result.key[kv_at + i * kv_stride + c] += drk[i * d + c];
        }
      }
    }
  }
  return result;
}

template <class T>
void check(const std::vector<std::int64_t>& document_lengths, std::int64_t segment, const Heads& heads) {
  using A = accumulate_t<T>;
  const DataType type = data_type_of<T>;
  SCOPED_TRACE(::testing::Message() << name_of(type) << ", segment " << segment << ", heads " << heads.query << "/"
                                    << heads.kv << " of " << heads.size);
  std::vector<std::int64_t> documents;
  for (std::size_t i = 0; i < document_lengths.size(); ++i) {
    documents.insert(documents.end(), static_cast<std::size_t>(document_lengths[i]), static_cast<std::int64_t>(i));
  }
  const std::vector<std::int64_t> carried{-1};
  const SequenceLayout layout = make_layout(documents, carried, segment);
  const auto tokens = static_cast<std::int64_t>(documents.size());
  MemoryPool pool;
  const RotaryTable table(pool, segment, heads.size, 1e4, data_type_of<A>);
  const RotaryTable exact_table(pool, segment, heads.size, 1e4, DataType::float64);
  const Shape q_shape{tokens, heads.query * heads.size}, kv_shape{tokens, heads.kv * heads.size};
  const Tensor q = testing::normal_tensor(pool, q_shape, type, 1), k = testing::normal_tensor(pool, kv_shape, type, 2);
  const Tensor v = testing::normal_tensor(pool, kv_shape, type, 3),
               dout = testing::normal_tensor(pool, q_shape, type, 4);
  Tensor out(pool, q_shape, type), dq(pool, q_shape, type), dk(pool, kv_shape, type), dv(pool, kv_shape, type);
  Tensor statistics(pool, {tokens, heads.query}, data_type_of<A>);
  const auto rows = [&](const Tensor& tensor, std::int64_t count) {
    return HeadRows<const T>{tensor.data<T>(), count, heads.size};
  };
  const auto target = [&](Tensor& tensor, std::int64_t count) {
    return HeadRows<T>{tensor.data<T>(), count, heads.size};
  };
  local_attention_forward<T>(pool, layout, rows(q, heads.query), rows(k, heads.kv), rows(v, heads.kv), table,
                             target(out, heads.query), statistics.data<A>());
  local_attention_backward<T>(pool, layout, rows(q, heads.query), rows(k, heads.kv), rows(v, heads.kv), table,
                              rows(out, heads.query), statistics.data<A>(), rows(dout, heads.query),
                              {target(dq, heads.query), false}, {target(dk, heads.kv), false},
                              {target(dv, heads.kv), false});
  const Gradients expected = reference(layout, heads, pool, exact_table, q, k, v, dout);
  const double tolerance = type == DataType::float64 ? 1e-12 : type == DataType::float32 ? 1e-5 : 3e-2;
  testing::expect_close(out.to_doubles(), expected.output, tolerance);
  testing::expect_close(dq.to_doubles(), expected.query, tolerance);
  testing::expect_close(dk.to_doubles(), expected.key, tolerance);
  testing::expect_close(dv.to_doubles(), expected.value, tolerance);
}

void check_all(const std::vector<std::int64_t>& document_lengths, std::int64_t segment, const Heads& heads) {
  check<float>(document_lengths, segment, heads);
  check<bfloat16>(document_lengths, segment, heads);
  check<double>(document_lengths, segment, heads);
}

TEST(LocalAttention, AgreesWithFloat64AroundTheEdgesOfTilesAndBlocks) {
  for (const std::int64_t length : {1, 2, 11, 12, 13, 31, 33, 95, 96, 97, 191, 193, 300}) {
    check_all({length}, 300, {1, 1, 16});
  }
}

TEST(LocalAttention, AgreesWithFloat64ForOddHeadSizesAndSharedHeads) {
  for (const std::int64_t size : {2, 24, 64, 80, 128}) check_all({110}, 110, {4, 2, size});
}

TEST(LocalAttention, AgreesWithFloat64WhereDocumentsMeet) { check_all({1, 30, 101, 200, 7}, 120, {2, 1, 24}); }

}  // namespace
}  // namespace palimpsest
