// Memory for tensors. A MemoryPool reserves one stretch of address space, commits it as it is first
// needed and hands out 64-byte aligned blocks, best fit first, merging neighbours when they come
// back. What a step has released the next one uses again, so a steady step asks the system for
// nothing and touches no new page.
#pragma once

#include <cstddef>
#include <memory>

namespace palimpsest {

class MemoryPool {
 public:
  struct Statistics {
    std::size_t bytes_in_use = 0;
    std::size_t peak_bytes_in_use = 0;
    std::size_t committed_bytes = 0;
  };

  MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  /// A block of at least `bytes` bytes with unspecified contents. It returns to the pool when the
  /// last owner lets go, even after the pool object itself is gone. Safe to call from any thread.
  /// Throws std::bad_alloc when the machine has no more memory.
  std::shared_ptr<std::byte> allocate(std::size_t bytes);

  Statistics statistics() const;

 private:
  class Region;
  std::shared_ptr<Region> region_;
};

}  // namespace palimpsest
