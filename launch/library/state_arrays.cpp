#include "launch/library/state_arrays.h"

#include <cstring>
#include <map>
#include <span>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/printable.h"

namespace palimpsest {

namespace {

constexpr std::string_view tensors_folder = "tensors/";

template <class T>
constexpr ArrayType type_of = ArrayType::uint8;
template <>
constexpr ArrayType type_of<float> = ArrayType::float32;
template <>
constexpr ArrayType type_of<std::int32_t> = ArrayType::int32;
template <>
constexpr ArrayType type_of<std::int64_t> = ArrayType::int64;

std::string_view name_of(ArrayType type) {
  constexpr std::string_view names[] = {"float32", "bfloat16", "float64", "uint8", "int32", "int64"};
  return names[static_cast<std::size_t>(type)];
}

ArrayType type_of_tensor(DataType type) {
  switch (type) {
    case DataType::bfloat16: return ArrayType::bfloat16;
    case DataType::float64: return ArrayType::float64;
    case DataType::float32: break;
  }
  return ArrayType::float32;
}

std::vector<std::byte> copied(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

class Writer {
 public:
  template <class T>
  void add(const char* name, const std::vector<T>& values) {
    arrays_.push_back(
        {name, type_of<T>, {static_cast<std::int64_t>(values.size())}, copied(std::as_bytes(std::span(values)))});
  }
  void add(const char* name, const std::string& text) {
    add(name, std::vector<std::uint8_t>(text.begin(), text.end()));
  }
  void add(const char* name, std::int64_t number) {
    arrays_.push_back({name, ArrayType::int64, {}, copied(std::as_bytes(std::span(&number, 1)))});
  }
  void add(const std::string& name, const Tensor& tensor) {
    const std::span<const std::int64_t> extents = tensor.shape().extents();
    arrays_.push_back({std::string(tensors_folder) + name,
                       type_of_tensor(tensor.data_type()),
                       {extents.begin(), extents.end()},
                       copied(tensor.raw())});
  }
  std::vector<StateArray> take() { return std::move(arrays_); }

 private:
  std::vector<StateArray> arrays_;
};

class Reader {
 public:
  explicit Reader(const std::vector<StateArray>& arrays) {
    for (const StateArray& array : arrays) {
      std::size_t bytes = size_of(array.type);
      for (const std::int64_t extent : array.shape) {
        if (extent < 0 || __builtin_mul_overflow(bytes, static_cast<std::size_t>(extent), &bytes))
          refuse(array, "a shape");
      }
      if (bytes != array.bytes.size()) {
        throw DataError(fmt::format("the state's array {} has {} bytes, its shape and type ask for {}",
                                    printable(array.name), array.bytes.size(), bytes));
      }
      if (!arrays_.emplace(array.name, &array).second) {
        throw DataError(fmt::format("the state has two arrays {}", printable(array.name)));
      }
    }
  }

  /// The array of that name, once.
  const StateArray& take(const std::string& name) {
    const auto found = arrays_.extract(name);
    if (!found) throw DataError(fmt::format("the state has no array {}", name));
    return *found.mapped();
  }
  template <class T>
  std::vector<T> vector(const std::string& name) {
    const StateArray& array = take(name);
    if (array.type != type_of<T> || array.shape.size() != 1) {
      refuse(array, fmt::format("a row of {}", name_of(type_of<T>)));
    }
    std::vector<T> values(array.bytes.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), array.bytes.data(), array.bytes.size());
    return values;
  }
  std::string text(const std::string& name) {
    const std::vector<std::uint8_t> bytes = vector<std::uint8_t>(name);
    return {bytes.begin(), bytes.end()};
  }
  std::int64_t number(const std::string& name) {
    const StateArray& array = take(name);
    if (array.type != ArrayType::int64 || !array.shape.empty()) refuse(array, "one int64");
    std::int64_t value = 0;
    std::memcpy(&value, array.bytes.data(), sizeof(value));
    return value;
  }
  bool flag(const std::string& name) {
    const std::int64_t value = number(name);
    if (value != 0 && value != 1) throw DataError(fmt::format("the state's {} is {}: expected 0 or 1", name, value));
    return value == 1;
  }
  /// What is left: the tensors.
  std::vector<StateTensor> tensors(MemoryPool& pool) {
    std::vector<StateTensor> tensors;
    for (const auto& [name, array] : arrays_) {
      if (!name.starts_with(tensors_folder)) {
        throw DataError(fmt::format("the state has an array {}, which none has", printable(name)));
      }
      DataType type = DataType::float32;
      switch (array->type) {
        case ArrayType::float32: break;
        case ArrayType::bfloat16: type = DataType::bfloat16; break;
        case ArrayType::float64: type = DataType::float64; break;
        default: refuse(*array, "floating-point numbers");
      }
      if (array->shape.empty()) refuse(*array, "an axis of texts");
      Tensor tensor(pool, Shape(array->shape), type);
      if (!array->bytes.empty()) std::memcpy(tensor.raw().data(), array->bytes.data(), array->bytes.size());
      tensors.push_back({name.substr(tensors_folder.size()), std::move(tensor)});
    }
    return tensors;
  }

 private:
  [[noreturn]] static void refuse(const StateArray& array, std::string_view expected) {
    throw DataError(fmt::format("the state's array {} is {} of shape ({}): expected {}", printable(array.name),
                                name_of(array.type), fmt::join(array.shape, ", "), expected));
  }

  std::map<std::string, const StateArray*> arrays_;
};

}  // namespace

std::size_t size_of(ArrayType type) {
  switch (type) {
    case ArrayType::uint8: return 1;
    case ArrayType::bfloat16: return 2;
    case ArrayType::float32:
    case ArrayType::int32: return 4;
    case ArrayType::float64:
    case ArrayType::int64: break;
  }
  return 8;
}

std::vector<StateArray> to_arrays(const GeneratorFile& file) {
  const auto& [identity, state] = file;
  Writer writer;
  for (const auto& [name, tensor] : state.decoder.tensors) writer.add(name, tensor);
  writer.add("finished", state.decoder.finished);
  writer.add("open", state.decoder.open);
  writer.add("logits", state.logits);
  writer.add("unread", state.unread);
  writer.add("held", state.drawn.held);
  writer.add("pending", state.drawn.pending);
  writer.add("seen", state.drawn.seen);
  if (!state.drawn.recent.empty()) writer.add("recent", state.drawn.recent);
  writer.add("config", identity.config);
  writer.add("format_version", version_of(state));
  writer.add("parameters", identity.parameters);
  writer.add("compute_type", identity.compute_type);
  writer.add("tokenizer", identity.tokenizer);
  writer.add("draws", static_cast<std::int64_t>(state.drawn.draws));
  writer.add("ended", std::int64_t{state.drawn.ended});
  writer.add("at_start", std::int64_t{state.drawn.at_start});
  return writer.take();
}

GeneratorFile from_arrays(const std::vector<StateArray>& arrays, MemoryPool& pool) {
  Reader reader(arrays);
  const std::int64_t version = reader.number("format_version");
  if (version < 1 || version > newest_state_version) {
    throw DataError(fmt::format("a state of version {}: expected 1 to {}", version, newest_state_version));
  }
  GeneratorFile file;
  auto& [identity, state] = file;
  identity = {reader.text("config"), reader.text("parameters"), reader.text("compute_type"), reader.text("tokenizer")};
  state.decoder.finished = reader.vector<std::int64_t>("finished");
  state.decoder.open = reader.vector<std::int64_t>("open");
  state.logits = reader.vector<float>("logits");
  state.unread = reader.vector<std::int32_t>("unread");
  state.drawn = {static_cast<std::uint64_t>(reader.number("draws")),
                 reader.flag("ended"),
                 reader.flag("at_start"),
                 reader.text("held"),
                 reader.text("pending"),
                 reader.vector<std::uint8_t>("seen"),
                 version > 1 ? reader.vector<std::int32_t>("recent") : std::vector<std::int32_t>()};
  state.decoder.tensors = reader.tensors(pool);
  return file;
}

}  // namespace palimpsest
