// Two ranks as one of them sees them.
#pragma once

#include <algorithm>
#include <memory>
#include <span>

#include "tests/fake_communicator.h"

namespace palimpsest {

/// The first of two ranks, whose fellow says the same as it does; counts what is under way.
class FirstOfTwo final : public FakeCommunicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 2; }
  Transfer do_begin_all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    std::ranges::copy(mine, std::ranges::copy(mine, all.begin()).out);
    ++under_way;
    return Transfer(std::make_unique<Operation>(under_way));
  }

  int under_way = 0;

 private:
  struct Operation final : Transfer::Operation {
    explicit Operation(int& count) : under_way(count) {}
    bool done() override { return false; }
    void wait() override { --under_way; }
    int& under_way;
  };
};

}  // namespace palimpsest
