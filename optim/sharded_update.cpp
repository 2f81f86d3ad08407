#include "optim/sharded_update.h"

#include <utility>
#include <vector>

namespace palimpsest {

void update_shared_out(Optimizer& optimizer, ParameterList& parameters, const LearningRates& rates,
                       double gradient_scale, Communicator& communicator) {
  std::vector<std::pair<std::size_t, Transfer>> transfers;
  optimizer.update(parameters, rates, gradient_scale, [&](std::size_t index) {
    if (!optimizer.shares().cut(index)) return;
    transfers.emplace_back(index, communicator.begin_all_gather_shares(parameters.all()[index].master.values<float>()));
  });
  for (auto& [index, transfer] : transfers) {
    transfer.wait();
    parameters.all()[index].refresh();
  }
}

}  // namespace palimpsest
