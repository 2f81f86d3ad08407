// Generators to files and back: what a state goes with, taken from the model. Apart from the file's reader, which needs
// no model.
#include <fmt/format.h>

#include "core/error.h"
#include "core/io/file_hash.h"
#include "launch/inference/generator_file.h"

namespace palimpsest {

GeneratorIdentity identity_of(const LanguageModel& model, const Tokenizer& tokenizer) {
  GeneratorIdentity identity;
  identity.config = config_lines(model.config());
  FileHash hash;
  for (const Parameter& parameter : model.parameters()) {
    hash.update(std::as_bytes(std::span(parameter.name)));
    hash.update(parameter.master.raw());
  }
  identity.parameters = hash.digest();
  identity.compute_type = name_of(model.compute_type());
  identity.tokenizer = tokenizer.identity();
  return identity;
}

void save_generator(const std::filesystem::path& path, const Generator& generator) {
  write_generator_file(path, {identity_of(generator.model(), generator.tokenizer()), generator.state()});
}

Generator open_generator(const std::filesystem::path& path, const LanguageModel& model, const Tokenizer& tokenizer,
                         MemoryPool& pool) {
  const GeneratorFile file = read_generator_file(path, pool);
  require_same(file.identity, identity_of(model, tokenizer), path.string());
  try {
    return {model, tokenizer, pool, file.state};
  } catch (const DataError& error) {
    throw DataError(fmt::format("{}: {}", path.string(), error.what()));
  }
}

}  // namespace palimpsest
