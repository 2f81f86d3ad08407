#include "core/storage.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <mutex>
#include <new>
#include <set>

#include <sys/mman.h>
#include <unistd.h>

#include "core/round_up.h"

namespace palimpsest {

namespace {

constexpr std::size_t alignment = 64;
constexpr std::size_t commit_step = std::size_t{2} << 20;  // a huge page

std::size_t physical_memory() {
  return static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

/// The reserved stretch and the map of its free blocks.
class MemoryPool::Region {
 public:
  Region() : reserved_(round_up(physical_memory() + physical_memory() / 4, commit_step)) {
    void* address = mmap(nullptr, reserved_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED) throw std::bad_alloc();
    base_ = static_cast<std::byte*>(address);
    madvise(base_, reserved_, MADV_HUGEPAGE);
  }
  ~Region() { munmap(base_, reserved_); }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  std::byte* take(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    auto fit = by_size_.lower_bound({bytes, 0});
    if (fit == by_size_.end()) {
      commit(bytes);
      fit = by_size_.lower_bound({bytes, 0});
    }
    const auto [size, offset] = *fit;
    remove_free(offset, size);
    if (size > bytes) add_free(offset + bytes, size - bytes);
    statistics_.bytes_in_use += bytes;
    statistics_.peak_bytes_in_use = std::max(statistics_.peak_bytes_in_use, statistics_.bytes_in_use);
    return base_ + offset;
  }

  void give_back(std::byte* block, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    statistics_.bytes_in_use -= bytes;
    auto offset = static_cast<std::size_t>(block - base_);
    auto size = bytes;
    const auto after = by_offset_.lower_bound(offset);
    if (after != by_offset_.end() && after->first == offset + size) {
      size += after->second;
      remove_free(after->first, after->second);
    }
    const auto next = by_offset_.lower_bound(offset);
    if (next != by_offset_.begin()) {
      const auto [previous_offset, previous_size] = *std::prev(next);
      if (previous_offset + previous_size == offset) {
        remove_free(previous_offset, previous_size);
        offset = previous_offset;
        size += previous_size;
      }
    }
    add_free(offset, size);
  }

  Statistics statistics() const {
    const std::lock_guard lock(mutex_);
    Statistics result = statistics_;
    result.committed_bytes = committed_;
    return result;
  }

 private:
  /// Makes the free block at the end of the committed part at least `bytes` long.
  void commit(std::size_t bytes) {
    std::size_t tail = 0;
    if (!by_offset_.empty()) {
      const auto [offset, size] = *std::prev(by_offset_.end());
      if (offset + size == committed_) tail = size;
    }
    const std::size_t more = round_up(bytes - tail, commit_step);
    if (more > reserved_ - committed_ || mprotect(base_ + committed_, more, PROT_READ | PROT_WRITE) != 0) {
      throw std::bad_alloc();
    }
    if (tail > 0) remove_free(committed_ - tail, tail);
    add_free(committed_ - tail, tail + more);
    committed_ += more;
  }

  void add_free(std::size_t offset, std::size_t size) {
    by_offset_.emplace(offset, size);
    by_size_.emplace(size, offset);
  }
  void remove_free(std::size_t offset, std::size_t size) {
    by_offset_.erase(offset);
    by_size_.erase({size, offset});
  }

  std::size_t reserved_;
  std::size_t committed_ = 0;
  std::byte* base_ = nullptr;
  std::map<std::size_t, std::size_t> by_offset_;           // free blocks: offset -> size
  std::set<std::pair<std::size_t, std::size_t>> by_size_;  // the same blocks: (size, offset)
  Statistics statistics_;
  mutable std::mutex mutex_;
};

/// The stretches of scratch memory that are kept, one a thread.
class MemoryPool::Workspace {
 public:
  struct alignas(64) Stretch {  // a cache line each
    std::atomic<bool> busy{false};
    std::atomic<std::size_t> bytes{0};
    std::shared_ptr<std::byte> block;
  };

  Stretch& of(int thread) { return stretches_[static_cast<std::size_t>(thread) % stretches_.size()]; }
  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const Stretch& stretch : stretches_) sum += stretch.bytes.load(std::memory_order_relaxed);
    return sum;
  }

 private:
  std::array<Stretch, 512> stretches_;
};

MemoryPool::MemoryPool() : region_(std::make_shared<Region>()), workspace_(std::make_unique<Workspace>()) {}

MemoryPool::~MemoryPool() = default;

std::shared_ptr<std::byte> MemoryPool::allocate(std::size_t bytes) {
  if (bytes > std::numeric_limits<std::size_t>::max() / 2) throw std::bad_alloc();  // rounding up could overflow
  const std::size_t rounded = round_up(std::max<std::size_t>(bytes, 1), alignment);
  std::byte* block = region_->take(rounded);
  return {block, [region = region_, rounded](std::byte* pointer) { region->give_back(pointer, rounded); }};
}

MemoryPool::Scratch MemoryPool::scratch(std::int64_t bytes, int thread) {
  constexpr std::size_t step = 4096;  // shapes that differ a little share a stretch
  const std::size_t wanted = static_cast<std::size_t>(std::max<std::int64_t>(bytes, 1));
  Workspace::Stretch& stretch = workspace_->of(thread);
  if (stretch.busy.exchange(true, std::memory_order_acquire)) return {allocate(wanted), nullptr};
  Scratch borrowed(nullptr, &stretch.busy);
  if (stretch.bytes.load(std::memory_order_relaxed) < wanted) {
    // An exception must leave nothing behind that claims to be there.
    stretch.bytes.store(0, std::memory_order_relaxed);
    stretch.block.reset();
    stretch.block = allocate(round_up(wanted, step));
    stretch.bytes.store(round_up(wanted, step), std::memory_order_relaxed);
  }
  borrowed.block_ = stretch.block;
  return borrowed;
}

MemoryPool::Statistics MemoryPool::statistics() const {
  Statistics statistics = region_->statistics();
  statistics.scratch_bytes = workspace_->bytes();
  return statistics;
}

}  // namespace palimpsest
