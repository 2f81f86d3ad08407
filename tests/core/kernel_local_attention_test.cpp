// Local attention over spans that are shorter and longer than its tiles and blocks, with and without keys in front of
// them, against the plain formulas in float64.
#include "core/kernels/local_attention.h"

#include <algorithm>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "core/kernels/local_attention_reference.h"
#include "core/overlapping_layout.h"
#include "core/parallel.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

struct Heads {
  std::int64_t query, kv, size;
};

SequenceLayout documents_in_segments(const std::vector<std::int64_t>& document_lengths, std::int64_t segment) {
  std::vector<std::int64_t> documents;
  for (std::size_t i = 0; i < document_lengths.size(); ++i) {
    documents.insert(documents.end(), static_cast<std::size_t>(document_lengths[i]), static_cast<std::int64_t>(i));
  }
  return make_layout(documents, std::vector{no_document}, segment);
}

/// Lanes of `tokens` in segments of which each sees up to `window` keys before it, `keys_in_front` of the lane's first
/// token among them, and RoPE positions from the first key on that the segment may see.
SequenceLayout overlapping_segments(std::int64_t lanes, std::int64_t tokens, std::int64_t segment, std::int64_t window,
                                    std::int64_t keys_in_front) {
  SequenceLayout layout = make_layout(std::vector<std::int64_t>(static_cast<std::size_t>(lanes * tokens), 0),
                                      std::vector<std::int64_t>(static_cast<std::size_t>(lanes), 0), segment);
  for (Span& span : layout.spans) {
    span.keys_before = std::min(window, keys_in_front + span.begin % tokens);
    span.position = span.keys_before;
  }
  return layout;
}

/// Inputs and results of one type, and which gradients are wanted of query, key and value.
template <class T>
struct AttentionPass {
  using A = accumulate_t<T>;

  AttentionPass(const SequenceLayout& layout, const Heads& heads, std::int64_t keys_in_front)
      : layout(layout), heads(heads), keys_in_front(keys_in_front), table(rotary(data_type_of<A>)) {
    const std::int64_t rows = layout.rows(), keys = rows + layout.lanes * keys_in_front;
    const Shape queries{rows, heads.query * heads.size}, kv{keys, heads.kv * heads.size};
    q = testing::normal_tensor(pool, queries, data_type_of<T>, 1);
    k = testing::normal_tensor(pool, kv, data_type_of<T>, 2);
    v = testing::normal_tensor(pool, kv, data_type_of<T>, 3);
    d_output = testing::normal_tensor(pool, queries, data_type_of<T>, 4);
    output = Tensor(pool, queries, data_type_of<T>);
    statistics = Tensor(pool, {rows, heads.query}, data_type_of<A>);
  }

  RotaryTable rotary(DataType type) {
    std::int64_t positions = 0;
    for (const Span& span : layout.spans) positions = std::max(positions, span.position + span.length);
    return RotaryTable(pool, positions, heads.size, 1e4, type);
  }
  template <class U = T>
  static HeadRows<const U> rows(const Tensor& tensor, std::int64_t count, std::int64_t size) {
    return {tensor.data<U>(), count, size};
  }
  template <class U = T>
  static HeadRows<U> target(Tensor& tensor, std::int64_t count, std::int64_t size) {
    return {tensor.data<U>(), count, size};
  }

  LocalAttentionInputs<T> inputs() const {
    return {.layout = layout,
            .rotary = table,
            .query = rows(q, heads.query, heads.size),
            .key = rows(k, heads.kv, heads.size),
            .value = rows(v, heads.kv, heads.size),
            .keys_in_front = keys_in_front};
  }

  void forward() {
    local_attention_forward<T>(pool, inputs(), {target(output, heads.query, heads.size), statistics.data<A>()});
  }

  /// -> gradients of query, key and value, empty where not wanted, of sums that start at `earlier`, which null lets
  /// backward overwrite.
  std::vector<std::vector<double>> backward(const std::vector<bool>& wanted, const double* earlier = nullptr) {
    std::vector<Tensor> tensors{Tensor(pool, q.shape(), data_type_of<T>), Tensor(pool, k.shape(), data_type_of<T>),
                                Tensor(pool, v.shape(), data_type_of<T>)};
    std::vector<Gradient<HeadRows<T>>> gradients(3);
    for (std::size_t i = 0; i < 3; ++i) {
      fill(tensors[i], earlier ? *earlier : std::numeric_limits<double>::quiet_NaN());
      if (wanted[i])
        gradients[i] = {target(tensors[i], i == 0 ? heads.query : heads.kv, heads.size), earlier != nullptr};
    }
    local_attention_backward<T>(pool, inputs(),
                                {.output = rows(output, heads.query, heads.size),
                                 .log_sum_exp = std::as_const(statistics).template data<A>(),
                                 .d_output = rows(d_output, heads.query, heads.size),
                                 .d_query = gradients[0],
                                 .d_key = gradients[1],
                                 .d_value = gradients[2],
                                 .own_keys_only = own_keys_only});
    std::vector<std::vector<double>> results(3);
    for (std::size_t i = 0; i < 3; ++i) {
      if (wanted[i]) results[i] = tensors[i].to_doubles();
    }
    return results;
  }

  /// Output and gradients by the formulas.
  std::vector<std::vector<double>> reference() {
    const auto exact = [&](const Tensor& tensor) { return converted(pool, tensor, DataType::float64); };
    const Tensor q64 = exact(q), k64 = exact(k), v64 = exact(v), d_output64 = exact(d_output);
    const RotaryTable exact_table = rotary(DataType::float64);
    Tensor out = Tensor::zeros(pool, q.shape(), DataType::float64),
           dq = Tensor::zeros(pool, q.shape(), out.data_type());
    Tensor dk = Tensor::zeros(pool, k.shape(), out.data_type()), dv = Tensor::zeros(pool, k.shape(), out.data_type());
    const auto of = [&](Tensor& tensor, std::int64_t count) { return target<double>(tensor, count, heads.size); };
    const LocalAttentionInputs<double> in{.layout = layout,
                                          .rotary = exact_table,
                                          .query = rows<double>(q64, heads.query, heads.size),
                                          .key = rows<double>(k64, heads.kv, heads.size),
                                          .value = rows<double>(v64, heads.kv, heads.size),
                                          .keys_in_front = keys_in_front};
    local_attention_forward_reference(in, {.output = of(out, heads.query)});
    local_attention_backward_reference(in, {.d_output = rows<double>(d_output64, heads.query, heads.size),
                                            .d_query = {of(dq, heads.query), true},
                                            .d_key = {of(dk, heads.kv), true},
                                            .d_value = {of(dv, heads.kv), true},
                                            .own_keys_only = own_keys_only});
    return {out.to_doubles(), dq.to_doubles(), dk.to_doubles(), dv.to_doubles()};
  }

  MemoryPool pool;
  const SequenceLayout& layout;
  Heads heads;
  std::int64_t keys_in_front;
  RotaryTable table;
  Tensor q, k, v, d_output, output, statistics;
  bool own_keys_only = false;
};

template <class T>
void check(const SequenceLayout& layout, const Heads& heads, std::int64_t keys_in_front = 0,
           bool own_keys_only = false) {
  SCOPED_TRACE(::testing::Message() << name_of(data_type_of<T>) << ", heads " << heads.query << "/" << heads.kv
                                    << " of " << heads.size << ", " << keys_in_front << " keys in front");
  AttentionPass<T> run(layout, heads, keys_in_front);
  run.own_keys_only = own_keys_only;
  run.forward();
  const auto gradients = run.backward({true, true, true});
  const auto expected = run.reference();
  const double tolerance = std::is_same_v<T, double> ? 1e-12 : std::is_same_v<T, float> ? 1e-5 : 3e-2;
  testing::expect_close(run.output.to_doubles(), expected[0], tolerance);
  for (std::size_t i = 0; i < 3; ++i) testing::expect_close(gradients[i], expected[i + 1], tolerance);
}

void check_all(const SequenceLayout& layout, const Heads& heads, std::int64_t keys_in_front = 0,
               bool own_keys_only = false) {
  check<float>(layout, heads, keys_in_front, own_keys_only);
  check<bfloat16>(layout, heads, keys_in_front, own_keys_only);
  check<double>(layout, heads, keys_in_front, own_keys_only);
}

TEST(LocalAttention, AgreesWithFloat64AroundTheEdgesOfTilesAndBlocks) {
  for (const std::int64_t length : {1, 2, 11, 12, 13, 31, 33, 95, 96, 97, 191, 193, 300}) {
    check_all(documents_in_segments({length}, 300), {1, 1, 16});
  }
}

TEST(LocalAttention, AgreesWithFloat64ForOddHeadSizesAndSharedHeads) {
  for (const std::int64_t size : {2, 24, 64, 80, 128}) check_all(documents_in_segments({110}, 110), {4, 2, size});
}

TEST(LocalAttention, AgreesWithFloat64WhereDocumentsMeet) {
  check_all(documents_in_segments({1, 30, 101, 200, 7}, 120), {2, 1, 24});
}

TEST(LocalAttention, AgreesWithFloat64BehindKeysOfEarlierPasses) {
  // One span a lane that sees all keys of its lane, as attention over a whole sequence has it.
  for (const std::int64_t in_front : {1, 5, 12, 31, 33, 100, 191, 205}) {
    check_all(overlapping_segments(2, 110, 110, in_front, in_front), {2, 1, 16}, in_front);
  }
  for (const std::int64_t tokens : {1, 2, 13, 97, 200}) {
    check_all(overlapping_segments(1, tokens, tokens, 61, 61), {1, 1, 16}, 61);
  }
}

TEST(LocalAttention, AgreesWithFloat64WhereSegmentsSeeThoseBeforeThem) {
  for (const std::int64_t window : {1, 7, 40, 64}) check_all(overlapping_segments(2, 130, 32, window, 0), {2, 2, 24});
  check_all(overlapping_segments(1, 250, 100, 130, 0), {2, 1, 16});
  check_all(overlapping_segments(2, 70, 32, 20, 20), {4, 2, 16}, 20);
}

TEST(LocalAttention, KeysInFrontOfASpanAreConstantsWhereAsked) {
  for (const std::int64_t window : {1, 7, 40, 64}) {
    check_all(overlapping_segments(2, 130, 32, window, 0), {2, 2, 24}, 0, true);
  }
  check_all(overlapping_segments(2, 70, 32, 20, 20), {4, 2, 16}, 20, true);
  check_all(overlapping_segments(1, 250, 100, 130, 0), {2, 1, 16}, 0, true);
}

TEST(LocalAttention, KeysThatNobodySeesGetGradientsOfZero) {
  check_all(overlapping_segments(2, 40, 16, 3, 10), {2, 1, 16}, 10);
  check_all(overlapping_segments(2, 40, 16, 0, 10), {2, 1, 16}, 10);
}

TEST(LocalAttention, ComputesTheGradientsThatAreWantedAndAddsThemWhereAsked) {
  const auto check_wanted = [](auto type) {
    using T = decltype(type);
    const SequenceLayout plain = documents_in_segments({30, 101, 20}, 120);
    const SequenceLayout overlapping = overlapping_segments(1, 151, 60, 17, 9);
    for (const auto& [layout, in_front] : {std::pair{&plain, 0}, std::pair{&overlapping, 9}}) {
      AttentionPass<T> run(*layout, {2, 1, 24}, in_front);
      run.forward();
      const auto all = run.backward({true, true, true});
      for (std::size_t i = 0; i < 3; ++i) {
        std::vector<bool> wanted(3, false);
        wanted[i] = true;
        EXPECT_EQ(run.backward(wanted)[i], all[i]) << "gradient " << i;
        wanted.flip();
        const auto others = run.backward(wanted);
        for (std::size_t j = 0; j < 3; ++j) {
          EXPECT_EQ(others[j], j == i ? std::vector<double>() : all[j]) << "gradient " << j << " without " << i;
        }
        const double earlier = 2.0;
        std::vector<double> sums = all[i];
        for (double& element : sums) element += earlier;
        testing::expect_close(run.backward({true, true, true}, &earlier)[i], sums,
                              std::is_same_v<T, bfloat16> ? 3e-2 : 1e-5);
      }
    }
  };
  check_wanted(float{});
  check_wanted(double{});
  check_wanted(bfloat16{});
}

TEST(LocalAttention, DoesNothingWhereNobodyWantsAGradient) {
  const SequenceLayout layout = documents_in_segments({64}, 64);
  AttentionPass<float> run(layout, {2, 1, 16}, 0);
  MemoryPool fresh;
  local_attention_backward<float>(fresh, run.inputs(), {});  // without what it would have to read
  EXPECT_EQ(fresh.statistics().peak_bytes_in_use, 0u);
}

/// Output and gradients with so many threads.
template <class T>
std::vector<std::vector<double>> with_threads(int threads, const SequenceLayout& layout, std::int64_t keys_in_front,
                                              bool own_keys_only) {
  const ThreadCount scope(threads);
  AttentionPass<T> pass(layout, {4, 2, 40}, keys_in_front);
  pass.own_keys_only = own_keys_only;
  pass.forward();
  std::vector<std::vector<double>> results = pass.backward({true, true, true});
  results.push_back(pass.output.to_doubles());
  results.push_back(pass.statistics.to_doubles());
  return results;
}

TEST(LocalAttention, HasTheSameBitsForEveryNumberOfThreads) {
  // Threads share runs of queries and keys where there are more of them than spans and heads.
  const auto check = []<class T>(T, const SequenceLayout& layout, std::int64_t keys_in_front, bool own_keys_only) {
    const auto expected = with_threads<T>(1, layout, keys_in_front, own_keys_only);
    for (const int threads : {3, 5, 64}) {
      EXPECT_EQ(with_threads<T>(threads, layout, keys_in_front, own_keys_only), expected) << threads << " threads";
    }
  };
  const auto check_all = [&](const SequenceLayout& layout, std::int64_t keys_in_front, bool own_keys_only = false) {
    check(float(), layout, keys_in_front, own_keys_only);
    check(bfloat16(), layout, keys_in_front, own_keys_only);
    check(double(), layout, keys_in_front, own_keys_only);
  };
  check_all(documents_in_segments({310, 1, 45}, 310), 0);
  check_all(documents_in_segments({511}, 511), 0);
  for (const bool own_keys_only : {false, true}) {
    check_all(overlapping_segments(1, 250, 130, 50, 50), 50, own_keys_only);
    check_all(overlapping_segments(2, 200, 33, 70, 70), 70,
              own_keys_only);  // a key is seen by three segments behind it
    check_all(overlapping_segments(1, 768, 256, 64, 64), 64, own_keys_only);
    // A document begins in the middle of a segment.
    check_all(overlapping(documents_in_segments({170, 230}, 90), std::vector<std::int64_t>{0}, 40), 0, own_keys_only);
  }
}

}  // namespace
}  // namespace palimpsest
