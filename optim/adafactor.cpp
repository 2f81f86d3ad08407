#include "optim/adafactor.h"

#include <algorithm>
#include <cmath>

#include <omp.h>

#include "core/work_shares.h"
#include "optim/blocks.h"
#include "optim/parameter_access.h"

namespace palimpsest {

namespace {

// R and C <- their moving averages. Sums run in T within a block and in double beyond. `partial` is (blocks, columns).
template <class T, class Gradient>
void update_moments(std::int64_t rows, std::int64_t columns, double beta, double epsilon, T* row_moment,
                    T* column_moment, accumulate_t<T>* partial, Gradient gradient) {
  const std::int64_t rows_in_block = rows_of_block(rows, columns);
  for_each_block(rows, rows_in_block, [=](std::int64_t block, std::int64_t begin, std::int64_t end) {
    accumulate_t<T>* const column_sum = partial + block * columns;
    std::fill_n(column_sum, columns, accumulate_t<T>(0));
    for (std::int64_t row = begin; row < end; ++row) {
      accumulate_t<T> row_sum = 0;
#pragma omp simd reduction(+ : row_sum)
      for (std::int64_t column = 0; column < columns; ++column) {
        const accumulate_t<T> g = gradient(row * columns + column);
        const accumulate_t<T> square = g * g + static_cast<accumulate_t<T>>(epsilon);
        row_sum += square;
        column_sum[column] += square;
      }
      const double mean = static_cast<double>(row_sum) / static_cast<double>(columns);
      row_moment[row] = static_cast<T>(beta * static_cast<double>(row_moment[row]) + (1 - beta) * mean);
    }
  });
  const std::int64_t blocks = (rows + rows_in_block - 1) / rows_in_block;
  constexpr std::int64_t line = 16, most = 256;  // columns in a line of a cache, and those that are summed side by side
#pragma omp parallel if (blocks > 1)
  {
    const auto [begin, end] = columns_of(columns, line, omp_get_thread_num(), omp_get_num_threads());
    for (std::int64_t first = begin; first < end; first += most) {
      const std::int64_t count = std::min(most, end - first);
      double sums[most] = {};
      for (std::int64_t block = 0; block < blocks; ++block) {
        const accumulate_t<T>* const column_sum = partial + block * columns + first;
        for (std::int64_t i = 0; i < count; ++i) sums[i] += static_cast<double>(column_sum[i]);
      }
      for (std::int64_t i = 0; i < count; ++i) {
        T& moment = column_moment[first + i];
        const double mean = sums[i] / static_cast<double>(rows);
        moment = static_cast<T>(beta * static_cast<double>(moment) + (1 - beta) * mean);
      }
    }
  }
}

// 1 / sqrt(moment / divisor) of every entry.
template <class T>
std::vector<T> inverse_roots(const T* moment, std::int64_t count, double divisor) {
  std::vector<T> result(static_cast<std::size_t>(count));
  std::transform(moment, moment + count, result.begin(),
                 [divisor](T value) { return static_cast<T>(1 / std::sqrt(static_cast<double>(value) / divisor)); });
  return result;
}

}  // namespace

Adafactor::Adafactor(const OptimizerConfig& config, const ParameterList& parameters, MemoryPool& pool)
    : Optimizer(config, parameters, pool), pool_(pool) {
  for (const Parameter& parameter : parameters) {
    const Shape& shape = parameter.master.shape();
    const DataType type = parameter.master.data_type();
    State state;
    if (!parameter.trained()) {
      states_.push_back(state);
      continue;
    }
    if (shape.rank() == 2) {
      state.exp_avg_sq_row = Tensor::zeros(pool, Shape{shape[0]}, type);
      state.exp_avg_sq_col = Tensor::zeros(pool, Shape{shape[1]}, type);
    } else {
      state.exp_avg_sq = Tensor::zeros(pool, shape, type);
    }
    states_.push_back(state);
  }
}

void Adafactor::visit_moments(const StateVisitor& visit) {
  const auto whole = [](const Tensor& state) { return StatePlace{false, state.shape(), 0}; };
  for (std::size_t i = 0; i < states_.size(); ++i) {
    if (states_[i].factored()) {
      visit(state_name(i, "exp_avg_sq_row"), states_[i].exp_avg_sq_row, whole(states_[i].exp_avg_sq_row));
      visit(state_name(i, "exp_avg_sq_col"), states_[i].exp_avg_sq_col, whole(states_[i].exp_avg_sq_col));
    } else if (states_[i].exp_avg_sq.defined()) {
      visit(state_name(i, "exp_avg_sq"), states_[i].exp_avg_sq, whole(states_[i].exp_avg_sq));
    }
  }
}

void Adafactor::update_parameter(std::size_t index, Parameter& parameter, const Update& update) {
  if (parameter.master.elements() == 0) return;
  dispatch(parameter.master.data_type(), [&]<class T>() {
    if (states_[index].factored()) {
      update_factored<T>(states_[index], parameter, update);
    } else {
      update_full<T>(states_[index], parameter, update);
    }
  });
}

template <class T>
void Adafactor::update_factored(State& state, Parameter& parameter, const Update& update) {
  const std::int64_t rows = parameter.master.shape()[0], columns = parameter.master.shape()[1];
  const std::int64_t rows_in_block = rows_of_block(rows, columns);
  T* const row_moment = state.exp_avg_sq_row.data<T>();
  T* const column_moment = state.exp_avg_sq_col.data<T>();
  const T* const master = parameter.master.data<T>();
  Tensor partial(pool_, Shape{(rows + rows_in_block - 1) / rows_in_block, columns}, data_type_of<accumulate_t<T>>);

  access_parameter<T>(parameter, static_cast<T>(update.gradient_scale), [&](auto gradient, auto store) {
    update_moments(rows, columns, second_moment_decay(update.step), config().adafactor_epsilon1, row_moment,
                   column_moment, partial.data<accumulate_t<T>>(), gradient);
    double row_total = 0;
    for (std::int64_t row = 0; row < rows; ++row) row_total += static_cast<double>(row_moment[row]);
    const std::vector<T> row_factors = inverse_roots(row_moment, rows, row_total / static_cast<double>(rows));
    const std::vector<T> column_factors = inverse_roots(column_moment, columns, 1.0);
    const T* const row_factor = row_factors.data();
    const T* const column_factor = column_factors.data();

    const double squares = sum_over_blocks(rows, rows_in_block, [=](std::int64_t begin, std::int64_t end) {
      double sum = 0;
      for (std::int64_t row = begin; row < end; ++row) {
        accumulate_t<T> row_sum = 0;
#pragma omp simd reduction(+ : row_sum)
        for (std::int64_t column = 0; column < columns; ++column) {
          const accumulate_t<T> u = gradient(row * columns + column) * row_factor[row] * column_factor[column];
          row_sum += u * u;
        }
        sum += static_cast<double>(row_sum);
      }
      return sum;
    });

    const auto size = static_cast<T>(step_size<T>(parameter, update, squares));
    const auto keep = static_cast<T>(1 - update.learning_rate * update.weight_decay);
    for_each_block(rows, rows_in_block, [=](std::int64_t, std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
#pragma omp simd
        for (std::int64_t column = 0; column < columns; ++column) {
          const std::int64_t i = row * columns + column;
          store(i, keep * master[i] - size * (gradient(i) * row_factor[row] * column_factor[column]));
        }
      }
    });
  });
}

template <class T>
void Adafactor::update_full(State& state, Parameter& parameter, const Update& update) {
  const std::int64_t count = parameter.master.elements();
  const T* const master = parameter.master.data<T>();
  T* const moment = state.exp_avg_sq.data<T>();
  const auto beta = static_cast<T>(second_moment_decay(update.step));
  const auto epsilon = static_cast<T>(config().adafactor_epsilon1);

  access_parameter<T>(parameter, static_cast<T>(update.gradient_scale), [&](auto gradient, auto store) {
    const double squares = sum_over_blocks(count, block_of(count), [=](std::int64_t begin, std::int64_t end) {
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t i = begin; i < end; ++i) {
        const T g = gradient(i);
        moment[i] = beta * moment[i] + (1 - beta) * (g * g + epsilon);
        const T u = g / std::sqrt(moment[i]);
        sum += static_cast<double>(u) * static_cast<double>(u);
      }
      return sum;
    });

    const auto size = static_cast<T>(step_size<T>(parameter, update, squares));
    const auto keep = static_cast<T>(1 - update.learning_rate * update.weight_decay);
    for_each_block(count, block_of(count), [=](std::int64_t, std::int64_t begin, std::int64_t end) {
#pragma omp simd
      for (std::int64_t i = begin; i < end; ++i) {
        store(i, keep * master[i] - size * (gradient(i) / std::sqrt(moment[i])));
      }
    });
  });
}

double Adafactor::second_moment_decay(std::int64_t step) const {
  return 1 - std::pow(static_cast<double>(step), -config().adafactor_decay_rate);
}

template <class T>
double Adafactor::step_size(const Parameter& parameter, const Update& update, double update_sum_of_squares) const {
  const auto count = static_cast<double>(parameter.master.elements());
  double scale = 1;
  if (config().adafactor_scale_parameter && !is_memory_logit(parameter.role)) {
    const double squares = sum_of_squares(parameter.master.data<T>(), parameter.master.elements());
    scale = std::max(config().adafactor_epsilon2, std::sqrt(squares / count));
  }
  const double update_rms = std::sqrt(update_sum_of_squares / count);
  return update.learning_rate * scale / std::max(1.0, update_rms / config().adafactor_clip_threshold);
}

}  // namespace palimpsest
