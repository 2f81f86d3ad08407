// Any safetensors file: what is accepted is covered by its tensors byte by byte, can be read, and says the same again
// when its header is written.
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "core/error.h"
#include "core/io/safetensors.h"
#include "tests/fuzz/input_file.h"
#include "tests/fuzz/target.h"
#include "tests/temporary_directory.h"

namespace palimpsest::fuzz {

std::vector<std::string> seeds() {
  const TemporaryDirectory directory;
  MemoryPool pool;
  StateDictionary tensors;
  tensors.add("model.norm.weight", Tensor::from_values(pool, {2, 3}, DataType::float32, std::vector<double>(6, 1.5)));
  tensors.add("b", Tensor::from_values(pool, {1}, DataType::float32, std::vector<double>{-1}));
  std::vector<std::string> contents;
  for (const DataType type : {DataType::float32, DataType::bfloat16}) {
    write_safetensors(directory / "file", tensors, type, {{"format", "pt"}});
    std::ifstream file(directory / "file", std::ios::binary);
    contents.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  std::string half =
      R"({"x":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"y":{"dtype":"I64","shape":[1,0],"data_offsets":[4,4]}})";
  contents.push_back(std::string(1, static_cast<char>(half.size())) + std::string(7, '\0') + half + "abcd");
  return contents;
}

void run(std::string_view input) {
  const InputFile input_file(input);
  const SafetensorsFile file(input_file.path());
  const SafetensorsHeader header{.entries = file.entries(), .metadata = file.metadata()};
  if (header.data_bytes() + 8 > input.size()) std::abort();
  for (const SafetensorsEntry& entry : file.entries()) {
    try {
      std::vector<float> values(static_cast<std::size_t>(entry.shape.elements()));
      file.read(entry, 0, values);
    } catch (const FileError&) {  // of another type than real numbers
    }
  }
  const SafetensorsHeader again = parse_safetensors_header(header.to_text(), header.data_bytes(), "again");
  if (again.metadata != header.metadata || again.entries.size() != header.entries.size()) std::abort();
}

}  // namespace palimpsest::fuzz
