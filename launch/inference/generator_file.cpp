#include "launch/inference/generator_file.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "configs/schema_writer.h"
#include "core/error.h"
#include "core/io/atomic_directory.h"
#include "core/io/file_hash.h"
#include "core/io/hdf5_file.h"
#include "core/io/temporary_file.h"
#include "core/printable.h"

namespace palimpsest {

namespace fs = std::filesystem;

namespace {

constexpr const char* format_name = "palimpsest generator state";
constexpr std::string_view tensors_folder = "tensors/";

/// Texts and lists with their lengths, so that no two contents give the same bytes.
class ContentHash {
 public:
  template <class T>
  void add(std::span<const T> values) {
    add(static_cast<std::int64_t>(values.size()));
    hash_.update(std::as_bytes(values));
  }
  void add(std::string_view text) { add(std::span<const char>(text)); }
  void add(std::int64_t value) { hash_.update(std::as_bytes(std::span(&value, 1))); }
  void add(const Tensor& tensor) {
    add(name_of(tensor.data_type()));
    add(tensor.shape().extents());
    add(tensor.raw());
  }
  std::string digest() const { return hash_.digest(); }

 private:
  FileHash hash_;
};

std::string checksum_of(const GeneratorFile& file) {
  const auto& [identity, state] = file;
  ContentHash hash;
  for (const std::string* text : {&identity.config, &identity.parameters, &identity.compute_type, &identity.tokenizer})
    hash.add(*text);
  const DrawnState& drawn = state.drawn;
  if (!drawn.recent.empty()) hash.add(std::span(drawn.recent));
  for (const std::int64_t value :
       {static_cast<std::int64_t>(drawn.draws), std::int64_t{drawn.ended}, std::int64_t{drawn.at_start}})
    hash.add(value);
  hash.add(drawn.held);
  hash.add(drawn.pending);
  hash.add(std::span(drawn.seen));
  hash.add(std::span(state.logits));
  hash.add(std::span(state.unread));
  hash.add(std::span(state.decoder.finished));
  hash.add(std::span(state.decoder.open));
  std::map<std::string_view, const Tensor*> tensors;  // a file has them in the order of their names
  for (const auto& [name, tensor] : state.decoder.tensors) tensors.emplace(name, &tensor);
  for (const auto& [name, tensor] : tensors) {
    hash.add(name);
    hash.add(*tensor);
  }
  return hash.digest();
}

std::optional<DataType> type_named(std::string_view name) {
  for (const DataType type : {DataType::float32, DataType::bfloat16, DataType::float64}) {
    if (name == name_of(type)) return type;
  }
  return std::nullopt;
}

/// The lines of a model's configuration, "name: value", by name.
using ConfigLines = std::map<std::string_view, std::string_view>;

ConfigLines lines_of(std::string_view config) {
  ConfigLines lines;
  while (!config.empty()) {
    const std::string_view line = config.substr(0, std::min(config.find('\n'), config.size()));
    lines.emplace(line.substr(0, std::min(line.find(':'), line.size())), line);
    config.remove_prefix(std::min(line.size() + 1, config.size()));
  }
  return lines;
}

}  // namespace

std::string config_lines(ModelConfig config) {
  std::string lines;
  for (const auto& [name, text] : schema_values([&](SchemaVisitor& visitor) { describe(config, visitor); })) {
    lines += fmt::format("{}: {}\n", name, text);
  }
  return lines;
}

void require_same(const GeneratorIdentity& found, const GeneratorIdentity& expected, const std::string& name) {
  const auto refuse = [&](std::string_view what, const std::string& theirs, const std::string& ours) {
    throw DataError(fmt::format("{}: is the state of another model: {} is {} there, {} here", name, what,
                                printable(theirs), printable(ours)));
  };
  // An option that only one of them has came with a later version, and counts where it is set.
  const std::string defaults = config_lines({});
  const ConfigLines theirs = lines_of(found.config), ours = lines_of(expected.config), unset = lines_of(defaults);
  const auto line_in = [](const ConfigLines& lines, std::string_view name) {
    const auto line = lines.find(name);
    return line == lines.end() ? std::string_view() : line->second;
  };
  for (const ConfigLines* lines : {&theirs, &ours}) {
    for (const auto& [name, line] : *lines) {
      const std::string_view a = line_in(theirs, name), b = line_in(ours, name);
      if (a == b || ((a.empty() || b.empty()) && line == line_in(unset, name))) continue;
      refuse("its configuration", std::string(a.empty() ? "nothing" : a), std::string(b.empty() ? "nothing" : b));
    }
  }
  if (found.tokenizer != expected.tokenizer) refuse("the tokenizer", found.tokenizer, expected.tokenizer);
  if (found.compute_type != expected.compute_type) {
    refuse("the type that it computes in", found.compute_type, expected.compute_type);
  }
  if (found.parameters != expected.parameters) {
    refuse("the hash of its parameters (another step of the run, or another run)", found.parameters,
           expected.parameters);
  }
}

void write_generator_file(const fs::path& path, const GeneratorFile& content) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    throw WriteError(fmt::format("{}: is a folder, expected a file's name", path.string()));
  }
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  remove_abandoned_files(folder);
  const fs::path temporary = temporary_file_for(path);
  fs::remove(temporary, error);
  struct Removal {
    const fs::path& file;
    ~Removal() {
      std::error_code ignored;
      fs::remove(file, ignored);
    }
  } const removal{temporary};

  const auto& [identity, state] = content;
  const auto bytes = [](std::string_view text) {
    return std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
  };
  Hdf5File file = Hdf5File::create(temporary);
  for (const auto& [name, tensor] : state.decoder.tensors) file.write(std::string(tensors_folder) + name, tensor);
  file.write("finished", state.decoder.finished);
  file.write("open", state.decoder.open);
  file.write("logits", state.logits);
  file.write("unread", state.unread);
  file.write("held", bytes(state.drawn.held));
  file.write("pending", bytes(state.drawn.pending));
  file.write("seen", state.drawn.seen);
  if (!state.drawn.recent.empty()) file.write("recent", state.drawn.recent);
  file.write("config", bytes(identity.config));
  file.write_attribute("format", format_name);
  file.write_attribute("format_version", version_of(state));
  file.write_attribute("parameters", identity.parameters);
  file.write_attribute("compute_type", identity.compute_type);
  file.write_attribute("tokenizer", identity.tokenizer);
  file.write_attribute("draws", static_cast<std::int64_t>(state.drawn.draws));
  file.write_attribute("ended", std::int64_t{state.drawn.ended});
  file.write_attribute("at_start", std::int64_t{state.drawn.at_start});
  file.write_attribute("checksum", checksum_of(content));
  file.close();
  synchronize_to_disk(temporary);
  if (const auto failure = rename_into_place(temporary, path)) {
    throw WriteError(fmt::format("{}: cannot be replaced: {}", path.string(), failure.message()));
  }
  synchronize_to_disk(folder);
}

GeneratorFile read_generator_file(const fs::path& path, MemoryPool& pool) {
  const Hdf5File file = Hdf5File::open_untrusted(path);
  const std::string name = path.string();
  if (!file.has_attribute("format") || file.text_attribute("format") != format_name) {
    throw FileError(fmt::format("{}: is not a state of a text, which `--save-state` writes", name));
  }
  const std::int64_t version = file.integer_attribute("format_version");
  if (version < 1 || version > newest_state_version) {
    throw FileError(fmt::format("{}: is a state of version {}: expected 1 to {}", name, version, newest_state_version));
  }
  const auto text = [&](const char* dataset) {
    const std::vector<std::uint8_t> bytes = file.read_vector<std::uint8_t>(dataset);
    return std::string(bytes.begin(), bytes.end());
  };
  const auto flag = [&](const char* attribute) {
    const std::int64_t value = file.integer_attribute(attribute);
    if (value != 0 && value != 1) throw FileError(fmt::format("{}: {} is {}: expected 0 or 1", name, attribute, value));
    return value == 1;
  };
  GeneratorFile content;
  auto& [identity, state] = content;
  identity = {text("config"), file.text_attribute("parameters"), file.text_attribute("compute_type"),
              file.text_attribute("tokenizer")};
  for (const std::string& dataset : file.dataset_names()) {
    if (!dataset.starts_with(tensors_folder)) continue;
    const Hdf5File::DatasetInfo info = file.info(dataset);
    const std::optional<DataType> type = type_named(info.type);
    if (!type || info.shape.rank() == 0) {
      throw FileError(fmt::format("{}: {} is {} of {}: expected floating-point numbers with an axis of texts", name,
                                  dataset, info.shape.to_string(), info.type));
    }
    Tensor tensor(pool, info.shape, *type);
    file.read(dataset, tensor);
    state.decoder.tensors.push_back({dataset.substr(tensors_folder.size()), std::move(tensor)});
  }
  state.decoder.finished = file.read_vector<std::int64_t>("finished");
  state.decoder.open = file.read_vector<std::int64_t>("open");
  state.logits = file.read_vector<float>("logits");
  state.unread = file.read_vector<std::int32_t>("unread");
  state.drawn = {static_cast<std::uint64_t>(file.integer_attribute("draws")),
                 flag("ended"),
                 flag("at_start"),
                 text("held"),
                 text("pending"),
                 file.read_vector<std::uint8_t>("seen"),
                 version > 1 ? file.read_vector<std::int32_t>("recent") : std::vector<std::int32_t>()};
  if (const std::string checksum = checksum_of(content); file.text_attribute("checksum") != checksum) {
    throw FileError(fmt::format("{}: is damaged: the checksum of its content is {}, expected {}", name, checksum,
                                printable(file.text_attribute("checksum"))));
  }
  return content;
}

}  // namespace palimpsest
