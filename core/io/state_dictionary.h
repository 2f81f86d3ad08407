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
  /// A tensor, or a run of its elements: of a tensor that several ranks hold together, each adds its own share.
  struct Entry {
    std::string name;
    Tensor tensor;           // of `shape`, or one-dimensional where it is a share
    Shape shape;             // of the whole
    std::int64_t begin = 0;  // which element of the whole is the first, in row-major order

    std::int64_t end() const { return begin + tensor.elements(); }
    bool whole() const { return tensor.elements() == shape.elements(); }
    /// Elements [first, last) of the whole, all of which are here; they share the storage.
    Entry slice(std::int64_t first, std::int64_t last) const;
  };

  /// Names are '/'-separated paths without empty, "." or ".." parts. Throws ShapeError on another
  /// name, on one already taken and on an undefined tensor.
  void add(std::string name, Tensor tensor);
  /// The elements from `begin` on of a tensor of shape `whole`. Throws ShapeError also when they are not part of it.
  void add_slice(std::string name, const Shape& whole, std::int64_t begin, const Tensor& elements);
  void add(Entry entry);
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

/// The same entries with tensors of their own in `pool`, copied by all threads.
StateDictionary copy_of(const StateDictionary& entries, MemoryPool& pool);

}  // namespace palimpsest
