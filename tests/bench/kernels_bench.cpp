// Google Benchmark cases of the kernels: GFLOP/s of those that multiply matrices, GB/s of those that
// move memory. `build/release/tests/kernels_bench --benchmark_filter=attention`. The shapes are those of
// configs/bench/small.yaml: argument 0 is the segment length, argument 1 is 1 for bfloat16.
#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

#include "core/kernels/gate.h"
#include "core/kernels/local_attention.h"
#include "core/kernels/memory.h"
#include "core/kernels/norm.h"
#include "core/kernels/swiglu.h"
#include "core/matmul.h"
#include "core/random.h"

namespace palimpsest {
namespace {

constexpr std::int64_t tokens = 4096, heads = 8, head_size = 64, hidden = heads * head_size, ffn = 1536;

Tensor random_tensor(MemoryPool& pool, Shape shape, DataType type) {
  const Random random(1, RandomPurpose::test);
  std::vector<double> values(static_cast<std::size_t>(shape.elements()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = random.normal(i % 65536);
  return Tensor::from_values(pool, shape, type, values);
}

DataType type_of(const benchmark::State& state) { return state.range(1) ? DataType::bfloat16 : DataType::float32; }

SequenceLayout layout_of(std::int64_t segment_length) {
  const std::vector<std::int64_t> documents(tokens, 0), carried{0};
  return make_layout(documents, carried, segment_length);
}

void report_flops(benchmark::State& state, double per_iteration) {
  state.counters["GFLOP/s"] =
      benchmark::Counter(per_iteration / 1e9 * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

void report_bytes(benchmark::State& state, double per_iteration) {
  state.counters["GB/s"] =
      benchmark::Counter(per_iteration / 1e9 * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

/// Multiplications and additions of causal attention: 4 d for every query and key it sees.
double attention_flops(std::int64_t segment_length) {
  return 4.0 * head_size * heads * tokens * (static_cast<double>(segment_length) + 1) / 2;
}

void matmul_forward(benchmark::State& state) {
  MemoryPool pool;
  const DataType type = type_of(state);
  const Tensor x = random_tensor(pool, {tokens, hidden}, type), weight = random_tensor(pool, {ffn, hidden}, type);
  Tensor y(pool, {tokens, ffn}, type);
  for (auto _ : state) matmul(pool, matrix_of(x), matrix_of(weight).transposed(), matrix_of(y));
  report_flops(state, 2.0 * tokens * hidden * ffn);
}

void matmul_weight_gradient(benchmark::State& state) {
  MemoryPool pool;
  const DataType type = type_of(state);
  const Tensor x = random_tensor(pool, {tokens, hidden}, type), dy = random_tensor(pool, {tokens, ffn}, type);
  Tensor gradient(pool, {ffn, hidden}, accumulate_type(type));
  for (auto _ : state) matmul(pool, matrix_of(dy).transposed(), matrix_of(x), matrix_of(gradient));
  report_flops(state, 2.0 * tokens * hidden * ffn);
}

/// One token through a layer of 4096 outputs: weights of 256 MB in all, so that none is in a cache.
void matmul_of_one_row(benchmark::State& state) {
  MemoryPool pool;
  const DataType type = type_of(state);
  constexpr std::int64_t layers = 16, outputs = 4096, inner = 1024;
  const Tensor x = random_tensor(pool, {1, inner}, type),
               weights = random_tensor(pool, {layers * outputs, inner}, type);
  Tensor y(pool, {1, outputs}, type);
  for (auto _ : state) {
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      matmul(pool, matrix_of(x), matrix_of(weights.rows(layer * outputs, (layer + 1) * outputs)).transposed(),
             matrix_of(y));
    }
  }
  report_bytes(state, static_cast<double>(weights.bytes()));
}

template <class T>
void attention_pass(benchmark::State& state, bool backward) {
  MemoryPool pool;
  const SequenceLayout layout = layout_of(state.range(0));
  const RotaryTable table(pool, state.range(0), head_size, 1e4, data_type_of<accumulate_t<T>>);
  const Tensor q = random_tensor(pool, {tokens, hidden}, data_type_of<T>), dout = q;
  Tensor out(pool, q.shape(), data_type_of<T>), dq(pool, q.shape(), data_type_of<T>);
  Tensor dk(pool, q.shape(), data_type_of<T>), dv(pool, q.shape(), data_type_of<T>);
  Tensor statistics(pool, {tokens, heads}, data_type_of<accumulate_t<T>>);
  const HeadRows<const T> rows{q.data<T>(), heads, head_size};
  const auto target = [](Tensor& tensor) { return HeadRows<T>{tensor.data<T>(), heads, head_size}; };
  const LocalAttentionInputs<T> in{.layout = layout, .rotary = table, .query = rows, .key = rows, .value = rows};
  const LocalAttentionResult<T> to{.output = target(out), .log_sum_exp = statistics.data<accumulate_t<T>>()};
  local_attention_forward<T>(pool, in, to);
  const HeadRows<const T> result{std::as_const(out).data<T>(), heads, head_size};
  for (auto _ : state) {
    if (backward) {
      local_attention_backward<T>(pool, in,
                                  {.output = result,
                                   .log_sum_exp = to.log_sum_exp,
                                   .d_output = rows,
                                   .d_query = {target(dq)},
                                   .d_key = {target(dk)},
                                   .d_value = {target(dv)}});
    } else {
      local_attention_forward<T>(pool, in, to);
    }
  }
  report_flops(state, attention_flops(state.range(0)) * (backward ? 2.5 : 1.0));
}

void attention_forward(benchmark::State& state) {
  dispatch(type_of(state), [&]<class T>() { attention_pass<T>(state, false); });
}
void attention_backward(benchmark::State& state) {
  dispatch(type_of(state), [&]<class T>() { attention_pass<T>(state, true); });
}

template <class T>
void memory_pass(benchmark::State& state) {
  using A = accumulate_t<T>;
  MemoryPool pool;
  const SequenceLayout layout = layout_of(state.range(0));
  const Tensor k = random_tensor(pool, {tokens, hidden}, data_type_of<T>);
  Tensor out(pool, k.shape(), data_type_of<T>);
  Tensor matrices = Tensor::zeros(pool, {layout.segments_per_lane + 1, heads, head_size, head_size}, data_type_of<A>);
  Tensor norms = Tensor::zeros(pool, {layout.segments_per_lane + 1, heads, head_size}, data_type_of<A>);
  fill(norms, 1.0);
  const HeadRows<const T> rows{k.data<T>(), heads, head_size};
  const MemoryStates<A> states{matrices.data<A>(), norms.data<A>(), 1, heads, head_size};
  const std::int64_t last = layout.segments_per_lane;
  const MemoryStates<A> after{states.matrix_at(last, 0, 0), states.norm_at(last, 0, 0), 1, heads, head_size};
  const MemoryStates<const A> read{states.matrix, states.norm, 1, heads, head_size};
  const bool delta = state.range(2) != 0;
  for (auto _ : state) {
    memory_write_forward<T>(pool, {.layout = layout, .key = rows, .value = rows, .rule = {delta, 1e-6}},
                            {.before = states, .after = after});
    memory_read_forward<T>(pool, {.layout = layout, .query = rows, .states = read, .epsilon = 1e-6},
                           {out.data<T>(), heads, head_size});
  }
  report_flops(state, (delta ? 6.0 : 4.0) * head_size * head_size * heads * tokens);
}

void memory_write_and_read(benchmark::State& state) {
  dispatch(type_of(state), [&]<class T>() { memory_pass<T>(state); });
}

void norm_forward(benchmark::State& state) {
  dispatch(type_of(state), [&]<class T>() {
    using A = accumulate_t<T>;
    MemoryPool pool;
    const Tensor x = random_tensor(pool, {tokens, hidden}, data_type_of<T>);
    const Tensor weight = random_tensor(pool, {hidden}, data_type_of<A>);
    Tensor y(pool, x.shape(), data_type_of<T>), inverse(pool, {tokens}, data_type_of<A>);
    for (auto _ : state) {
      rms_norm_forward<T>({.x = x.data<T>(), .weight = weight.data<A>(), .rows = tokens, .columns = hidden}, 1e-5,
                          {.y = y.data<T>(), .inverse_rms = inverse.data<A>()});
    }
    report_bytes(state, 2.0 * static_cast<double>(x.bytes()));
  });
}

void swiglu_forward_pass(benchmark::State& state) {
  dispatch(type_of(state), [&]<class T>() {
    MemoryPool pool;
    const Tensor gate = random_tensor(pool, {tokens, ffn}, data_type_of<T>), up = gate;
    Tensor y(pool, gate.shape(), data_type_of<T>);
    for (auto _ : state) swiglu_forward(gate.data<T>(), up.data<T>(), gate.elements(), y.data<T>());
    report_bytes(state, 2.0 * static_cast<double>(gate.bytes()));
  });
}

BENCHMARK(matmul_forward)->Args({0, 0})->Args({0, 1})->UseRealTime();
BENCHMARK(matmul_weight_gradient)->Args({0, 0})->Args({0, 1})->UseRealTime();
BENCHMARK(matmul_of_one_row)->Args({0, 0})->Args({0, 1})->UseRealTime();
BENCHMARK(attention_forward)->ArgsProduct({{128, 512, 2048}, {0, 1}})->UseRealTime();
BENCHMARK(attention_backward)->ArgsProduct({{128, 512, 2048}, {0, 1}})->UseRealTime();
BENCHMARK(memory_write_and_read)->ArgsProduct({{512, 2048}, {0, 1}, {0, 1}})->UseRealTime();
BENCHMARK(norm_forward)->Args({0, 0})->Args({0, 1})->UseRealTime();
BENCHMARK(swiglu_forward_pass)->Args({0, 0})->Args({0, 1})->UseRealTime();

}  // namespace
}  // namespace palimpsest

BENCHMARK_MAIN();
