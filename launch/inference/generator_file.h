// The state of a Generator as a file (docs/file-formats.md, "States of a text"): a reading or a conversation put aside,
// to be taken up by another process with the same model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "core/storage.h"
#include "launch/inference/generator.h"

namespace palimpsest {

/// Of what a state consists of, in a file and as arrays (launch/library/state_arrays.h). Version 2 has `recent`, too,
/// and is taken where there is something in it.
inline constexpr std::int64_t newest_state_version = 2;
inline std::int64_t version_of(const GeneratorState& state) { return state.drawn.recent.empty() ? 1 : 2; }

/// What a state goes with.
struct GeneratorIdentity {
  std::string config;      // of the model, "name: value" a line
  std::string parameters;  // XXH3-128 of their names and values
  std::string compute_type;
  std::string tokenizer;

  bool operator==(const GeneratorIdentity&) const = default;
};

/// Every option of a model, "name: value" a line.
std::string config_lines(ModelConfig config);
/// Reads all parameters.
GeneratorIdentity identity_of(const LanguageModel& model, const Tokenizer& tokenizer);
/// Throws DataError, starting with `name` and saying what differs, unless the two are equal, but for options of the
/// model that only one of them has and that are as nobody sets them.
void require_same(const GeneratorIdentity& found, const GeneratorIdentity& expected, const std::string& name);

struct GeneratorFile {
  GeneratorIdentity identity;
  GeneratorState state;
};

/// Replaces or creates the file; the earlier one stays where that fails. The same state gives the same content. Throws
/// WriteError.
void write_generator_file(const std::filesystem::path& path, const GeneratorFile& content);
/// Throws FileError when it is no such file, of another version, or damaged. Not while other threads use HDF5.
GeneratorFile read_generator_file(const std::filesystem::path& path, MemoryPool& pool);

/// The same for a generator of this model and tokenizer. Throws WriteError.
void save_generator(const std::filesystem::path& path, const Generator& generator);
/// Goes on with what save_generator wrote. Throws FileError and DataError, starting with the path, when the file is of
/// no use here.
Generator open_generator(const std::filesystem::path& path, const LanguageModel& model, const Tokenizer& tokenizer,
                         MemoryPool& pool);

}  // namespace palimpsest
