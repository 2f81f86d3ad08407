#include "optim/gradient_norm.h"

#include <cmath>

#include "optim/blocks.h"

namespace palimpsest {

double global_gradient_norm(const ParameterList& parameters) {
  double total = 0;
  for (const Parameter& parameter : parameters) {
    if (!parameter.variable.has_gradient()) continue;
    const Tensor& gradient = parameter.variable.gradient();
    total += dispatch(gradient.data_type(),
                      [&]<class T>() { return sum_of_squares(gradient.data<T>(), gradient.elements()); });
  }
  return std::sqrt(total);
}

double clip_factor(double norm, double clip_norm) { return clip_norm > 0 && norm > clip_norm ? clip_norm / norm : 1.0; }

}  // namespace palimpsest
