// Memory for tensors. A MemoryPool reserves one stretch of address space, commits it as it is first
// needed and hands out 64-byte aligned blocks, best fit first, merging neighbours when they come
// back. What a step has released the next one uses again, so a steady step asks the system for
// nothing and touches no new page.
//
// Scratch memory is what a call computes with and nobody needs after it, such as packed operands. The pool keeps it
// between calls, one stretch a thread, as large as the largest call has needed.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace palimpsest {

class MemoryPool {
 public:
  struct Statistics {
    std::size_t bytes_in_use = 0;  // scratch memory included
    std::size_t peak_bytes_in_use = 0;
    std::size_t scratch_bytes = 0;  // kept for the next calls
    std::size_t committed_bytes = 0;
  };

  /// Scratch memory while it lives, which must be shorter than the pool.
  class Scratch {
   public:
    Scratch(Scratch&& other) noexcept : block_(std::move(other.block_)), busy_(std::exchange(other.busy_, nullptr)) {}
    Scratch& operator=(Scratch&&) = delete;
    ~Scratch() {
      block_.reset();
      if (busy_ != nullptr) busy_->store(false, std::memory_order_release);
    }

    /// 64-byte aligned.
    std::byte* data() const { return block_.get(); }

   private:
    friend class MemoryPool;
    Scratch(std::shared_ptr<std::byte> block, std::atomic<bool>* busy) : block_(std::move(block)), busy_(busy) {}

    std::shared_ptr<std::byte> block_;
    std::atomic<bool>* busy_;  // of the stretch that it has borrowed, or null
  };

  MemoryPool();
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  /// A block of at least `bytes` bytes with unspecified contents. It returns to the pool when the
  /// last owner lets go, even after the pool object itself is gone. Safe to call from any thread.
  /// Throws std::bad_alloc when the machine has no more memory.
  std::shared_ptr<std::byte> allocate(std::size_t bytes);

  /// At least `bytes` bytes with unspecified contents, from what the pool keeps for `thread`, the calling thread's
  /// number in its team: no two threads wait for each other. Where that is in use or too small, the pool allocates.
  /// Safe to call from any thread. Throws std::bad_alloc when the machine has no more memory.
  Scratch scratch(std::int64_t bytes, int thread);

  Statistics statistics() const;

 private:
  class Region;
  class Workspace;
  std::shared_ptr<Region> region_;
  std::unique_ptr<Workspace> workspace_;
};

}  // namespace palimpsest
