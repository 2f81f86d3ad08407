// The global gradient norm and the factor that clips it.
#pragma once

#include <cstddef>
#include <vector>

#include "autograd/parameter.h"
#include "core/comm/communicator.h"

namespace palimpsest {

/// The Euclidean norm of all gradients together, once they are summed over ranks. Every rank squares its share of each
/// gradient (core/comm/shares.h), which it holds whether or not the optimiser is sharded: the bits do not depend on
/// that, nor on the number of threads, nor on the order of `add`. Sums are double.
class GradientNorm {
 public:
  GradientNorm(const ParameterList& parameters, Communicator& communicator)
      : parameters_(parameters), communicator_(communicator), squares_(parameters.size()) {}

  /// Takes the gradient of parameter `index` in; one without gradient counts as zero.
  void add(std::size_t index);
  /// The norm of what was added; not finite as soon as one gradient is not. Collective, the same on every rank.
  double total();

 private:
  const ParameterList& parameters_;
  Communicator& communicator_;
  std::vector<double> squares_;  // of this rank's share of every parameter
};

/// Of all gradients. Collective.
double global_gradient_norm(const ParameterList& parameters, Communicator& communicator);

/// min(1, clip_norm / norm), or 1 where clip_norm is 0: what Optimizer::update multiplies gradients
/// by, so that clipping costs no pass of its own.
double clip_factor(double norm, double clip_norm);

}  // namespace palimpsest
