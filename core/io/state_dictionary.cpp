#include "core/io/state_dictionary.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "core/error.h"

namespace palimpsest {

namespace {

bool is_path(std::string_view name) {
  while (true) {
    const std::size_t slash = name.find('/');
    const std::string_view part = name.substr(0, slash);
    if (part.empty() || part == "." || part == ".." || part.find('\0') != std::string_view::npos) return false;
    if (slash == std::string_view::npos) return true;
    name.remove_prefix(slash + 1);
  }
}

}  // namespace

StateDictionary::Entry StateDictionary::Entry::slice(std::int64_t first, std::int64_t last) const {
  if (first == begin && last == end()) return *this;
  return {name, tensor.reshaped(Shape{tensor.elements()}).rows(first - begin, last - begin), shape, first};
}

void StateDictionary::add(std::string name, Tensor tensor) {
  const Shape shape = tensor.shape();
  add({std::move(name), std::move(tensor), shape, 0});
}

void StateDictionary::add_slice(std::string name, const Shape& whole, std::int64_t begin, const Tensor& elements) {
  const std::int64_t count = elements.elements();
  if (begin < 0 || count > whole.elements() || begin > whole.elements() - count) {
    throw ShapeError(fmt::format("state entry '{}': elements {} to {} are not part of shape {}", name, begin,
                                 begin + count, whole.to_string()));
  }
  const bool all = count == whole.elements();
  add({std::move(name), elements.defined() ? elements.reshaped(all ? whole : Shape{count}) : elements, whole, begin});
}

void StateDictionary::add(Entry entry) {
  if (!is_path(entry.name)) throw ShapeError(fmt::format("state entry '{}': not a name", entry.name));
  if (!entry.tensor.defined()) {
    throw ShapeError(fmt::format("state entry '{}': the tensor is undefined", entry.name));
  }
  if (!positions_.emplace(entry.name, entries_.size()).second) {
    throw ShapeError(fmt::format("state entry '{}' is there already", entry.name));
  }
  entries_.push_back(std::move(entry));
}

void StateDictionary::add_all(std::string_view prefix, const StateDictionary& other) {
  for (Entry entry : other) {
    entry.name = fmt::format("{}/{}", prefix, entry.name);
    add(std::move(entry));
  }
}

bool StateDictionary::contains(std::string_view name) const { return positions_.find(name) != positions_.end(); }

const Tensor& StateDictionary::at(std::string_view name) const {
  const auto found = positions_.find(name);
  if (found == positions_.end()) throw ShapeError(fmt::format("there is no state entry '{}'", name));
  return entries_[found->second].tensor;
}

std::uint64_t StateDictionary::bytes() const {
  std::uint64_t total = 0;
  for (const Entry& entry : entries_) total += entry.tensor.bytes();
  return total;
}

StateDictionary copy_of(const StateDictionary& entries, MemoryPool& pool) {
  struct Piece {
    const std::byte* source;
    std::byte* target;
    std::size_t bytes;
  };
  constexpr std::size_t piece_bytes = std::size_t{1} << 20;
  StateDictionary copies;
  std::vector<Piece> pieces;
  for (StateDictionary::Entry entry : entries) {
    const Tensor source = entry.tensor;
    entry.tensor = Tensor(pool, source.shape(), source.data_type());
    for (std::size_t done = 0; done < source.bytes(); done += piece_bytes) {
      pieces.push_back(
          {source.raw().data() + done, entry.tensor.raw().data() + done, std::min(piece_bytes, source.bytes() - done)});
    }
    copies.add(std::move(entry));
  }
#pragma omp parallel for schedule(static)
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    std::memcpy(pieces[i].target, pieces[i].source, pieces[i].bytes);
  }
  return copies;
}

}  // namespace palimpsest
