#include "optim/sharded_update.h"

#include <utility>

namespace palimpsest {

void ShardedUpdate::update(const LearningRates& rates, double gradient_scale) {
  wait_for_all();
  optimizer_.update(parameters_, rates, gradient_scale, [&](std::size_t index) {
    if (!optimizer_.shares().cut(index)) return;
    transfers_[index] = communicator_.begin_all_gather_shares(parameters_.all()[index].master.values<float>());
  });
}

void ShardedUpdate::wait_for(std::size_t begin, std::size_t end) {
  for (std::size_t index = begin; index < end; ++index) {
    if (auto transfer = std::exchange(transfers_[index], std::nullopt)) {
      transfer->wait();
      parameters_.all()[index].refresh();
    }
  }
}

}  // namespace palimpsest
