#include "optim/gradient_sync.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace palimpsest {

namespace {

// A buffer that gathers stretches of gradients, sums them over ranks and puts them back.
template <class T>
class Bucket {
 public:
  Bucket(Communicator& communicator, MemoryPool& pool, std::int64_t capacity)
      : communicator_(communicator), buffer_(pool, Shape{capacity}, data_type_of<T>), capacity_(capacity) {}

  void add(std::span<T> gradient) {
    while (!gradient.empty()) {
      const std::size_t count = std::min(gradient.size(), static_cast<std::size_t>(capacity_ - used_));
      std::ranges::copy(gradient.first(count), buffer_.data<T>() + used_);
      pieces_.push_back(gradient.first(count));
      used_ += static_cast<std::int64_t>(count);
      gradient = gradient.subspan(count);
      if (used_ == capacity_) reduce();
    }
  }

  void reduce() {
    if (used_ == 0) return;
    communicator_.all_reduce_sum(buffer_.values<T>().first(static_cast<std::size_t>(used_)));
    const T* from = buffer_.data<T>();
    for (const std::span<T> piece : pieces_) {
      std::copy_n(from, piece.size(), piece.begin());
      from += piece.size();
    }
    pieces_.clear();
    used_ = 0;
  }

 private:
  Communicator& communicator_;
  Tensor buffer_;
  std::int64_t capacity_;
  std::int64_t used_ = 0;
  std::vector<std::span<T>> pieces_;
};

// The parameters whose gradients have type T, through one bucket.
template <class T>
void synchronize(ParameterList& parameters, Communicator& communicator, MemoryPool& pool, std::int64_t capacity) {
  std::int64_t elements = 0;
  for (const Parameter& parameter : parameters) {
    if (parameter.master.data_type() == data_type_of<T>) elements += parameter.master.elements();
  }
  if (elements == 0) return;
  Bucket<T> bucket(communicator, pool, std::min(elements, capacity));
  for (Parameter& parameter : parameters) {
    if (parameter.master.data_type() == data_type_of<T>) bucket.add(parameter.variable.gradient().template values<T>());
  }
  bucket.reduce();
}

}  // namespace

void synchronize_gradients(ParameterList& parameters, Communicator& communicator, MemoryPool& pool,
                           std::int64_t bucket_elements) {
  for (Parameter& parameter : parameters) {
    // A gradient_target is never shared with another tensor, so it can be written in place.
    auto [gradient, accumulate] = parameter.variable.gradient_target(pool);
    if (!accumulate) fill(gradient, 0.0);
  }
  if (communicator.size() == 1) return;
  synchronize<float>(parameters, communicator, pool, bucket_elements);
  synchronize<double>(parameters, communicator, pool, bucket_elements);
}

}  // namespace palimpsest
