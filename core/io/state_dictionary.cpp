#include "core/io/state_dictionary.h"

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

void StateDictionary::add(std::string name, Tensor tensor) {
  if (!is_path(name)) throw ShapeError(fmt::format("state entry '{}': not a name", name));
  if (!tensor.defined()) throw ShapeError(fmt::format("state entry '{}': the tensor is undefined", name));
  if (!positions_.emplace(name, entries_.size()).second) {
    throw ShapeError(fmt::format("state entry '{}' is there already", name));
  }
  entries_.push_back({std::move(name), std::move(tensor)});
}

void StateDictionary::add_all(std::string_view prefix, const StateDictionary& other) {
  for (const Entry& entry : other) add(fmt::format("{}/{}", prefix, entry.name), entry.tensor);
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

}  // namespace palimpsest
