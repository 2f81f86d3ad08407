#include "optim/gradient_reducer.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace palimpsest {

GradientReducer::GradientReducer(ParameterList& parameters, Communicator& communicator, MemoryPool& pool,
                                 const ReductionOptions& options, ParameterShares shares)
    : parameters_(parameters),
      communicator_(communicator),
      pool_(pool),
      options_(options),
      shares_(std::move(shares)),
      left_(parameters.size(), false) {}

void GradientReducer::begin(std::size_t begin, std::size_t end) {
  if (begin > end || end > left_.size()) {
    throw ShapeError(
        fmt::format("gradients of parameters {} to {} were announced as final, of {}", begin, end, left_.size()));
  }
  for (std::size_t index = end; index-- > begin;) {
    if (left_[index]) throw ShapeError(fmt::format("the gradient of parameter {} was announced as final twice", index));
    left_[index] = true;
    send(index);
  }
}

void GradientReducer::send(std::size_t index) {
  if (!parameters_.all()[index].trained()) return;
  // A gradient_target is never shared with another tensor, so the sum can be written in place.
  auto [gradient, accumulate] = parameters_.all()[index].variable.gradient_target(pool_);
  if (!accumulate) fill(gradient, 0.0);
  if (communicator_.size() == 1) return;
  if (gradient.data_type() == DataType::float64) {
    communicator_.all_reduce_sum(gradient.values<double>());
    return;
  }
  const bool cut = shares_.cut(index);
  if (!cut && static_cast<std::int64_t>(gradient.bytes()) < options_.bucket_bytes) {
    collected_.push_back(index);
    collected_elements_ += static_cast<std::size_t>(gradient.elements());
    if (static_cast<std::int64_t>(collected_elements_ * sizeof(float)) >= options_.bucket_bytes) send_collected();
    return;
  }
  const std::span<float> values = gradient.values<float>();
  buckets_.push_back({{index},
                      {},
                      cut ? communicator_.begin_reduce_scatter_sum(values, options_.wire)
                          : communicator_.begin_all_reduce_sum(values, options_.wire)});
}

void GradientReducer::send_collected() {
  if (collected_.empty()) return;
  Bucket bucket{std::exchange(collected_, {}), {}, {}};
  const auto elements = static_cast<std::int64_t>(std::exchange(collected_elements_, 0));
  bucket.buffer = Tensor(pool_, Shape{elements}, DataType::float32);
  float* to = bucket.buffer.data<float>();
  for (const std::size_t index : bucket.parameters) to = std::ranges::copy(gradient_of(index).values<float>(), to).out;
  bucket.transfer = communicator_.begin_all_reduce_sum(bucket.buffer.values<float>(), options_.wire);
  buckets_.push_back(std::move(bucket));
}

void GradientReducer::finish(const std::function<void(std::size_t index)>& arrived) {
  for (std::size_t index = left_.size(); index-- > 0;) {
    if (!left_[index]) begin(index, index + 1);
  }
  send_collected();
  for (Bucket& bucket : buckets_) {
    bucket.transfer.wait();
    const float* from = bucket.buffer.defined() ? bucket.buffer.data<float>() : nullptr;
    for (const std::size_t index : bucket.parameters) {
      if (from != nullptr) {
        const std::span<float> gradient = gradient_of(index).values<float>();
        std::copy_n(from, gradient.size(), gradient.begin());
        from += gradient.size();
      }
      if (arrived) arrived(index);
    }
  }
  if (buckets_.empty() && arrived) {  // nothing travelled
    for (std::size_t index = parameters_.size(); index-- > 0;) {
      if (parameters_.all()[index].trained()) arrived(index);
    }
  }
  buckets_.clear();
  left_.assign(parameters_.size(), false);
}

}  // namespace palimpsest
