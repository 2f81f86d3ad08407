#include "core/kernels/local_attention_reference.h"

#include <cmath>
#include <vector>

namespace palimpsest {

namespace {

/// A query and the keys that it sees.
struct Query {
  std::int64_t row, head, position;
  std::int64_t first_key, first_position, keys, kv_head;
  std::int64_t keys_before;  // of the keys, those in front of the span
};

template <class Function>
void for_each_query(const LocalAttentionInputs<double>& in, Function function) {
  for (const Span& span : in.layout.spans) {
    const std::int64_t own_keys = span.begin + (span.begin / in.layout.tokens + 1) * in.keys_in_front;
    for (std::int64_t head = 0; head < in.query.heads; ++head) {
      for (std::int64_t i = 0; i < span.length; ++i) {
        function(Query{span.begin + i, head, span.position + i, own_keys - span.keys_before,
                       span.position - span.keys_before, span.keys_before + i + 1,
                       head / (in.query.heads / in.key.heads), span.keys_before});
      }
    }
  }
}

std::vector<double> rotated(const double* x, std::int64_t position, const RotaryTable& table, bool inverse = false) {
  std::vector<double> y(static_cast<std::size_t>(table.head_size()));
  rotate(x, 0, y.data(), 0, 1, position, table, inverse);
  return y;
}

std::vector<double> rotated_key(const LocalAttentionInputs<double>& in, const Query& query, std::int64_t j) {
  return rotated(in.key.at(query.first_key + j, query.kv_head), query.first_position + j, in.rotary);
}

double dot(const double* a, const double* b, std::int64_t d) {
  double sum = 0;
  for (std::int64_t c = 0; c < d; ++c) sum += a[c] * b[c];
  return sum;
}

void add(double* target, double factor, const double* row, std::int64_t d) {
  for (std::int64_t c = 0; c < d; ++c) target[c] += factor * row[c];
}

std::vector<double> probabilities(const LocalAttentionInputs<double>& in, const Query& query, double& log_sum_exp) {
  const std::int64_t d = in.query.head_size;
  const std::vector<double> q = rotated(in.query.at(query.row, query.head), query.position, in.rotary);
  std::vector<double> p;
  double highest = -INFINITY, sum = 0;
  for (std::int64_t j = 0; j < query.keys; ++j) {
    p.push_back(dot(q.data(), rotated_key(in, query, j).data(), d) / std::sqrt(static_cast<double>(d)));
    highest = std::max(highest, p.back());
  }
  for (double& weight : p) sum += weight = std::exp(weight - highest);
  for (double& weight : p) weight /= sum;
  log_sum_exp = highest + std::log(sum);
  return p;
}

}  // namespace

void local_attention_forward_reference(const LocalAttentionInputs<double>& in,
                                       const LocalAttentionResult<double>& result) {
  const std::int64_t d = in.query.head_size;
  for_each_query(in, [&](const Query& query) {
    double log_sum_exp = 0;
    const std::vector<double> p = probabilities(in, query, log_sum_exp);
    double* const output = result.output.at(query.row, query.head);
    std::fill_n(output, d, 0.0);
    for (std::int64_t j = 0; j < query.keys; ++j) {
      add(output, p[static_cast<std::size_t>(j)], in.value.at(query.first_key + j, query.kv_head), d);
    }
    if (result.log_sum_exp) result.log_sum_exp[query.row * in.query.heads + query.head] = log_sum_exp;
  });
}

void local_attention_backward_reference(const LocalAttentionInputs<double>& in,
                                        const LocalAttentionGradients<double>& gradients) {
  const std::int64_t d = in.query.head_size;
  for_each_query(in, [&](const Query& query) {
    double log_sum_exp = 0, along = 0;
    const std::vector<double> p = probabilities(in, query, log_sum_exp);
    const std::vector<double> q = rotated(in.query.at(query.row, query.head), query.position, in.rotary);
    const double* const d_output = gradients.d_output.at(query.row, query.head);
    const auto value = [&](std::int64_t j) { return in.value.at(query.first_key + j, query.kv_head); };
    std::vector<double> dq(q.size());
    for (std::int64_t j = 0; j < query.keys; ++j) along += p[static_cast<std::size_t>(j)] * dot(d_output, value(j), d);
    for (std::int64_t j = 0; j < query.keys; ++j) {
      const double weight = p[static_cast<std::size_t>(j)];
      const double d_score = weight * (dot(d_output, value(j), d) - along) / std::sqrt(static_cast<double>(d));
      add(dq.data(), d_score, rotated_key(in, query, j).data(), d);
      if (gradients.own_keys_only && j < query.keys_before) continue;
      std::vector<double> dk(q.size());
      add(dk.data(), d_score, q.data(), d);
      dk = rotated(dk.data(), query.first_position + j, in.rotary, true);
      add(gradients.d_key.view.at(query.first_key + j, query.kv_head), 1, dk.data(), d);
      add(gradients.d_value.view.at(query.first_key + j, query.kv_head), weight, d_output, d);
    }
    dq = rotated(dq.data(), query.position, in.rotary, true);
    add(gradients.d_query.view.at(query.row, query.head), 1, dq.data(), d);
  });
}

}  // namespace palimpsest
