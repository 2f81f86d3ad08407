// A base for communicators of tests: whatever a test does not need throws.
#pragma once

#include <cstdlib>

#include "core/comm/communicator.h"
#include "core/error.h"

namespace palimpsest {

class FakeCommunicator : public Communicator {
 public:
  std::string description() const override { return "a communicator of a test"; }
  void do_all_reduce_sum(std::span<float>) override { not_needed(); }
  void do_all_reduce_sum(std::span<double>) override { not_needed(); }
  void do_all_reduce_sum(std::span<std::int64_t>) override { not_needed(); }
  void do_all_reduce_max(std::span<std::int64_t>) override { not_needed(); }
  void do_broadcast(std::span<std::byte>, int) override { not_needed(); }
  std::vector<std::vector<std::byte>> do_all_gather(std::span<const std::byte>) override { not_needed(); }
  void do_barrier() override {}
  Transfer do_begin_all_reduce_sum(std::span<float>, WireType) override { not_needed(); }
  Transfer do_begin_reduce_scatter_sum(std::span<float>, WireType) override { not_needed(); }
  Transfer do_begin_all_gather_shares(std::span<float>) override { not_needed(); }
  Transfer do_begin_all_gather(std::span<const std::byte>, std::span<std::byte>) override { not_needed(); }
  std::unique_ptr<Communicator> do_split(int, int) override { not_needed(); }
  [[noreturn]] void abort(int exit_code) override { std::exit(exit_code); }

 private:
  [[noreturn]] static void not_needed() { throw CommunicationError("not needed by this test"); }
};

}  // namespace palimpsest
