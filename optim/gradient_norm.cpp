#include "optim/gradient_norm.h"

#include <cmath>
#include <span>

#include "core/comm/shares.h"
#include "optim/blocks.h"

namespace palimpsest {

void GradientNorm::add(std::size_t index) {
  const Variable& variable = parameters_.all()[index].variable;
  if (!variable.has_gradient()) return;
  const Tensor& gradient = variable.gradient();
  const Share share =
      share_of(static_cast<std::size_t>(gradient.elements()), communicator_.rank(), communicator_.size());
  squares_[index] = dispatch(gradient.data_type(), [&]<class T>() {
    return sum_of_squares(gradient.data<T>() + share.begin, static_cast<std::int64_t>(share.size()));
  });
}

double GradientNorm::total() {
  double own = 0;
  for (const double squares : squares_) own += squares;
  std::vector<double> all(static_cast<std::size_t>(communicator_.size()));
  communicator_.begin_all_gather(std::as_bytes(std::span(&own, 1)), std::as_writable_bytes(std::span(all))).wait();
  double total = 0;
  for (const double part : all) total += part;
  return std::sqrt(total);
}

double global_gradient_norm(const ParameterList& parameters, Communicator& communicator) {
  GradientNorm norm(parameters, communicator);
  for (std::size_t index = 0; index < parameters.size(); ++index) norm.add(index);
  return norm.total();
}

double clip_factor(double norm, double clip_norm) { return clip_norm > 0 && norm > clip_norm ? clip_norm / norm : 1.0; }

}  // namespace palimpsest
