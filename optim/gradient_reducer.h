// The sum of gradients over the ranks of a data-parallel run, on its way while backward still computes.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "autograd/parameter.h"
#include "core/comm/communicator.h"
#include "optim/parameter_shares.h"

namespace palimpsest {

struct ReductionOptions {
  /// Smaller gradients travel together, copied into buckets of about this size; larger ones alone, in place.
  std::int64_t bucket_bytes = std::int64_t{1} << 20;
  WireType wire = WireType::float32;
};

/// Replaces every gradient by its sum over ranks, added in rank order in float32: the same bits on every rank,
/// whatever the buckets. Gradients leave as backward finishes them. float64 gradients (tests) are summed at once.
class GradientReducer {
 public:
  /// `parameters`, `communicator`, which all ranks share, and `pool` must outlive it. Of parameters that are shared out
  /// a rank gets the sum of its own share; the rest of their gradients is unspecified afterwards.
  GradientReducer(ParameterList& parameters, Communicator& communicator, MemoryPool& pool,
                  const ReductionOptions& options, ParameterShares shares = {});

  /// The gradients of parameters [begin, end) are final: they leave, the last one first. A parameter without gradient
  /// counts as zero; a frozen one has none, and nothing of it leaves. Every rank announces in the same order. Throws
  /// ShapeError when one of them has left already.
  void begin(std::size_t begin, std::size_t end);
  /// Sends what has not left yet, the last one first, and waits for everything. Calls `arrived(index)` for every
  /// trained parameter as soon as its sum is there, in the order in which they left. All ranks call it once a step.
  void finish(const std::function<void(std::size_t index)>& arrived = {});

 private:
  /// Gradients under way together.
  struct Bucket {
    std::vector<std::size_t> parameters;
    Tensor buffer;  // copies, unless a gradient travels in place
    Transfer transfer;
  };

  Tensor& gradient_of(std::size_t index) { return parameters_.all()[index].variable.gradient(); }
  void send(std::size_t index);
  void send_collected();

  ParameterList& parameters_;
  Communicator& communicator_;
  MemoryPool& pool_;
  ReductionOptions options_;
  ParameterShares shares_;
  std::vector<bool> left_;  // which parameters have been sent or collected
  std::vector<std::size_t> collected_;
  std::size_t collected_elements_ = 0;
  std::vector<Bucket> buckets_;
};

}  // namespace palimpsest
