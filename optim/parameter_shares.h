// Which elements of every parameter a rank updates. Without sharding: all. With it (the first stage of ZeRO:
// Rajbhandari, Rasley, Ruwase and He, "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", 2020)
// matrices and embeddings are cut into a share for every rank (core/comm/shares.h); norms and gates, which are small,
// stay whole everywhere, and so do frozen parameters.
#pragma once

#include <cstddef>
#include <vector>

#include "autograd/parameter.h"
#include "core/comm/shares.h"

namespace palimpsest {

class ParameterShares {
 public:
  /// Everything.
  ParameterShares() = default;
  /// The shares of `rank` of `size` ranks; float64 parameters (tests) are not cut.
  ParameterShares(const ParameterList& parameters, int rank, int size) {
    for (const Parameter& parameter : parameters) {
      const auto count = static_cast<std::size_t>(parameter.master.elements());
      const bool enough = share_of(count, size - 1, size).size() > 0;  // for every rank
      const bool cut = size > 1 && is_matrix(parameter.role) && enough && parameter.trained() &&
                       parameter.master.data_type() == DataType::float32;
      shares_.push_back({cut, cut ? share_of(count, rank, size) : Share{0, count}});
    }
  }

  /// Whether ranks hold different elements of parameter `index`.
  bool cut(std::size_t index) const { return !shares_.empty() && shares_[index].cut; }
  /// The elements of parameter `index`, which has `count`, that this rank updates.
  Share of(std::size_t index, std::size_t count) const {
    return shares_.empty() ? Share{0, count} : shares_[index].elements;
  }

 private:
  struct Entry {
    bool cut;
    Share elements;
  };
  std::vector<Entry> shares_;  // empty: everything
};

}  // namespace palimpsest
