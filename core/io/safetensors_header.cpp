#include "core/io/safetensors_header.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/printable.h"

namespace palimpsest {

namespace {

using KnownType = std::pair<std::string_view, std::uint64_t>;
/// The types that are whole bytes, and how many.
constexpr auto known_types = std::to_array<KnownType>({{"BOOL", 1},
                                                       {"U8", 1},
                                                       {"I8", 1},
                                                       {"F8_E4M3", 1},
                                                       {"F8_E5M2", 1},
                                                       {"U16", 2},
                                                       {"I16", 2},
                                                       {"F16", 2},
                                                       {"BF16", 2},
                                                       {"U32", 4},
                                                       {"I32", 4},
                                                       {"F32", 4},
                                                       {"U64", 8},
                                                       {"I64", 8},
                                                       {"F64", 8}});

std::uint64_t width_of(std::string_view type) {
  const auto* const known = std::ranges::find(known_types, type, &KnownType::first);
  return known == known_types.end() ? 0 : known->second;
}

constexpr std::size_t longest_list = 8;  // of a shape, more than is supported

/// Takes the parser's events, so that no document is built whose size or depth a file could choose.
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(const std::string& file) : file_(file) {}

  SafetensorsHeader header;

  bool null() override { return unexpected("null"); }
  bool boolean(bool value) override { return unexpected(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return unexpected(fmt::format("{}", value)); }
  bool number_float(number_float_t, const string_t& text) override { return unexpected(printable(text)); }
  bool binary(binary_t&) override { return unexpected("bytes"); }
  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::shape && place_ != Place::offsets) return unexpected(fmt::format("{}", value));
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      fail(fmt::format("has the number {}, which no file can reach", value));
    }
    if (numbers_.size() == longest_list) fail(fmt::format("has a list of more than {} numbers", longest_list));
    numbers_.push_back(value);
    return true;
  }
  bool string(string_t& text) override {
    if (place_ == Place::metadata) {
      header.metadata[key_] = std::move(text);
    } else if (place_ == Place::tensor && key_ == "dtype") {
      if (width_of(text) == 0) fail(fmt::format("has the unknown type '{}'", printable(text)));
      current_.type = std::move(text);
    } else {
      return unexpected(fmt::format("the text '{}'", printable(text)));
    }
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::outside) {
      place_ = Place::tensors;
    } else if (place_ == Place::tensors) {
      place_ = key_ == "__metadata__" ? Place::metadata : Place::tensor;
      keys_.clear();
      if (place_ == Place::tensor) {
        current_ = {};
        current_.name = key_;
      }
    } else {
      return unexpected("an object");
    }
    return true;
  }
  bool key(string_t& text) override {
    if (place_ == Place::tensors) {
      tensor_ = text;
      if (!names_.insert(text).second) fail("is there twice");
    } else if (!keys_.insert(text).second) {
      fail(fmt::format("has the key '{}' twice", printable(text)));
    }
    if (place_ == Place::tensor && text != "dtype" && text != "shape" && text != "data_offsets") {
      fail(fmt::format("has the unknown key '{}'", printable(text)));
    }
    key_ = std::move(text);
    return true;
  }
  bool end_object() override {
    if (place_ == Place::tensor) add();
    place_ = place_ == Place::tensors ? Place::outside : Place::tensors;
    return true;
  }
  bool start_array(std::size_t) override {
    if (place_ != Place::tensor || key_ == "dtype") return unexpected("a list");
    place_ = key_ == "shape" ? Place::shape : Place::offsets;
    numbers_.clear();
    return true;
  }
  bool end_array() override {
    if (place_ == Place::shape) {
      const std::vector<std::int64_t> extents(numbers_.begin(), numbers_.end());
      try {
        current_.shape = Shape(extents);
      } catch (const ShapeError& error) {
        fail(error.what());
      }
    } else if (numbers_.size() != 2 || numbers_[0] > numbers_[1]) {
      fail(fmt::format("has {} data_offsets, expected a begin and an end behind it", numbers_.size()));
    } else {
      current_.begin = numbers_[0];
      current_.bytes = numbers_[1] - numbers_[0];
    }
    place_ = Place::tensor;
    return true;
  }
  bool parse_error(std::size_t byte, const std::string&, const nlohmann::json::exception& error) override {
    throw FileError(
        fmt::format("{}: the header is not JSON at byte {}: {}", file_, byte, printable(error.what(), 400)));
  }

 private:
  /// What the next event is part of.
  enum class Place { outside, tensors, metadata, tensor, shape, offsets };

  [[noreturn]] void fail(const std::string& what) const {
    throw FileError(fmt::format("{}: the tensor '{}' {}", file_, printable(tensor_), what));
  }
  bool unexpected(const std::string& found) const {
    if (place_ == Place::outside || place_ == Place::metadata) {
      throw FileError(fmt::format("{}: the header has {} where {} should stand", file_, found,
                                  place_ == Place::metadata ? "the text of a key of __metadata__" : "an object"));
    }
    fail(fmt::format("has {} where its {} should stand", found,
                     place_ == Place::tensors ? "type, shape and data_offsets" : key_));
  }
  void add() {
    for (const char* key : {"dtype", "shape", "data_offsets"}) {
      if (!keys_.contains(key)) fail(fmt::format("has no '{}'", key));
    }
    const std::uint64_t bytes = static_cast<std::uint64_t>(current_.shape.elements()) * width_of(current_.type);
    if (bytes != current_.bytes) {
      fail(fmt::format("has {} bytes of data, but {} elements of type {} take {}", current_.bytes,
                       current_.shape.to_string(), current_.type, bytes));
    }
    header.entries.push_back(std::move(current_));
  }

  const std::string& file_;
  Place place_ = Place::outside;
  std::string tensor_;  // or __metadata__
  std::string key_;
  std::set<std::string> names_;  // of tensors
  std::set<std::string> keys_;   // of the tensor, or of __metadata__
  std::vector<std::uint64_t> numbers_;
  SafetensorsEntry current_;
};

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view text, std::uint64_t data_bytes, const std::string& name) {
  if (!text.starts_with('{')) throw FileError(fmt::format("{}: the header is no JSON object", name));
  HeaderReader reader(name);
  nlohmann::json::sax_parse(text, &reader);
  std::vector<SafetensorsEntry>& entries = reader.header.entries;
  std::ranges::sort(entries, [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::pair(a.begin, a.bytes) < std::pair(b.begin, b.bytes);
  });
  std::uint64_t end = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.begin != end) {
      throw FileError(fmt::format("{}: the tensor '{}' begins at byte {} of the data, but those before it end at {}",
                                  name, printable(entry.name), entry.begin, end));
    }
    end += entry.bytes;
  }
  if (end != data_bytes) {
    throw FileError(fmt::format("{}: has {} bytes of data, but its tensors end at {}", name, data_bytes, end));
  }
  return std::move(reader.header);
}

std::string SafetensorsHeader::to_text() const {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!metadata.empty()) json["__metadata__"] = metadata;
  for (const SafetensorsEntry& entry : entries) {
    const auto extents = entry.shape.extents();
    json[entry.name] = {{"dtype", entry.type},
                        {"shape", std::vector<std::int64_t>(extents.begin(), extents.end())},
                        {"data_offsets", {entry.begin, entry.begin + entry.bytes}}};
  }
  std::string text = json.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace palimpsest
