// Named tensors in a fixed order: what a checkpoint stores of a component.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace palimpsest {

/// Tensors are handles: reading into one of them changes the component that put it in.
class StateDictionary {
 public:
  struct Entry {
    std::string name;
    Tensor tensor;
  };

  /// Names are '/'-separated paths without empty, "." or ".." parts. Throws ShapeError on another
  /// name, on one already taken and on an undefined tensor.
  void add(std::string name, Tensor tensor);
  /// Adds every entry of `other` as "prefix/name".
  void add_all(std::string_view prefix, const StateDictionary& other);

  bool contains(std::string_view name) const;
  /// Throws ShapeError when there is none of that name.
  const Tensor& at(std::string_view name) const;

  std::size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  const std::vector<Entry>& entries() const { return entries_; }
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }
  std::uint64_t bytes() const;

 private:
  std::vector<Entry> entries_;
  std::map<std::string, std::size_t, std::less<>> positions_;
};

}  // namespace palimpsest
