// States of a text: reading all that a file holds. What a state means to a model is checked by the model's own side.
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "core/error.h"
#include "launch/inference/generator_file.h"
#include "tests/fuzz/input_file.h"
#include "tests/fuzz/target.h"
#include "tests/temporary_directory.h"

namespace palimpsest::fuzz {

namespace {

GeneratorFile example(MemoryPool& pool, std::int64_t rows) {
  GeneratorFile file;
  file.identity = {"hidden_size: 2\nnum_layers: 1\n", "0123456789abcdef0123456789abcdef", "float32", "bytes"};
  GeneratorState& state = file.state;
  state.decoder.tensors = {{"state.layers.0.matrix", Tensor::zeros(pool, Shape{1, 1, 2, 2}, DataType::float32)},
                           {"segment.layers.0.key", Tensor::zeros(pool, Shape{1, rows, 2}, DataType::bfloat16)}};
  state.decoder.finished = {8};
  state.decoder.open = {1};
  if (rows > 0) state.unread = {65};
  if (rows == 0) state.logits = {0.5f, 1.5f, 2.5f};
  state.drawn.held = "one";
  state.drawn.pending = "\xc3";
  state.drawn.seen = {0, 1, 1};
  if (rows > 0) state.drawn.recent = {2, 1};
  return file;
}

}  // namespace

std::vector<std::string> seeds() {
  const TemporaryDirectory directory;
  MemoryPool pool;
  std::vector<std::string> files;
  for (const std::int64_t rows : {0, 4}) {
    const auto path = directory / std::to_string(rows);
    write_generator_file(path, example(pool, rows));
    std::ifstream file(path, std::ios::binary);
    files.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return files;
}

void run(std::string_view input) {
  const InputFile input_file(input);
  MemoryPool pool;
  const GeneratorFile file = read_generator_file(input_file.path(), pool);
  require_same(file.identity, file.identity, "itself");
  try {
    require_same(file.identity, {}, "another");
  } catch (const DataError&) {  // as it has to be
    return;
  }
  const GeneratorIdentity& identity = file.identity;
  if (!identity.parameters.empty() || !identity.compute_type.empty() || !identity.tokenizer.empty()) std::abort();
}

}  // namespace palimpsest::fuzz
