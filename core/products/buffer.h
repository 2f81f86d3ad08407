// Memory that a thread keeps between products.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include <sys/mman.h>

#include "core/round_up.h"

namespace palimpsest::products {

/// As large as the largest product has needed, on huge pages.
class Buffer {
 public:
  /// Room for `elements` of T; what was there before is lost. Throws std::bad_alloc.
  template <class T>
  T* take(std::int64_t elements) {
    constexpr std::int64_t page = std::int64_t{2} << 20;
    const auto bytes = elements * static_cast<std::int64_t>(sizeof(T));
    if (size_ < bytes) {
      size_ = round_up(bytes, page);
      memory_.reset();
      memory_.reset(static_cast<std::byte*>(std::aligned_alloc(page, static_cast<std::size_t>(size_))));
      if (!memory_) {
        size_ = 0;
        throw std::bad_alloc();
      }
      madvise(memory_.get(), static_cast<std::size_t>(size_), MADV_HUGEPAGE);
    }
    return reinterpret_cast<T*>(memory_.get());
  }

 private:
  struct Free {
    void operator()(std::byte* pointer) const { std::free(pointer); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  std::int64_t size_ = 0;
};

}  // namespace palimpsest::products
