// Where backward writes a gradient: the one way in which operators and kernels say so.
#pragma once

namespace palimpsest {

/// The gradient of one input. `view` (a pointer, HeadRows, MemoryStates or a Tensor) is empty where nobody wants it:
/// then nothing is computed for it. `accumulate`: it holds earlier contributions to be added to, else it is unspecified
/// and must be overwritten whole.
template <class View>
struct Gradient {
  View view{};
  bool accumulate = false;

  bool wanted() const { return static_cast<bool>(view); }
};

}  // namespace palimpsest
