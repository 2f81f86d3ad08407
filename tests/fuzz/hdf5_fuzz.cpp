// Any HDF5 file: opening one and reading all of its data sets and attributes.
#include <fstream>
#include <iterator>

#include "core/error.h"
#include "core/io/hdf5_file.h"
#include "tests/fuzz/input_file.h"
#include "tests/fuzz/target.h"
#include "tests/temporary_directory.h"

namespace palimpsest::fuzz {

std::vector<std::string> seeds() {
  const TemporaryDirectory directory;
  const auto path = directory / "file.h5";
  Hdf5File writer = Hdf5File::create(path);
  writer.write("group/floats", std::vector<float>{1, 2, 3});
  writer.write("group/bytes", std::vector<std::uint8_t>(100, 7));
  writer.append("tokens", std::span<const std::int32_t>());
  writer.write_attribute("text", "a text");
  writer.write_attribute("number", 5, "group");
  writer.close();
  std::ifstream file(path, std::ios::binary);
  return {std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>())};
}

void run(std::string_view input) {
  const InputFile input_file(input);
  const Hdf5File file = Hdf5File::open_untrusted(input_file.path());
  for (const std::string& name : file.dataset_names()) {
    try {
      file.read_vector<float>(name);
    } catch (const Error&) {
    }
    try {
      file.read_vector<std::uint8_t>(name);
    } catch (const Error&) {
    }
  }
  if (file.has_attribute("text")) file.text_attribute("text");
  if (file.has_attribute("number", "group")) file.integer_attribute("number", "group");
}

}  // namespace palimpsest::fuzz
