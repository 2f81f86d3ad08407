// The state of a text as named arrays of plain numbers, and back: for languages that have arrays but not our types.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/storage.h"
#include "launch/inference/generator_file.h"

namespace palimpsest {

enum class ArrayType { float32, bfloat16, float64, uint8, int32, int64 };

std::size_t size_of(ArrayType type);

/// Dense, row-major; a single number has no axis.
struct StateArray {
  std::string name;
  ArrayType type = ArrayType::uint8;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;
};

/// What a state file has, by the names there (docs/file-formats.md, "States of a text"), but for its format's name and
/// the checksum: data sets, and attributes as single numbers and texts.
std::vector<StateArray> to_arrays(const GeneratorFile& state);
/// The reverse, in any order. Throws DataError, naming the array, when one is missing, there twice or of no such state,
/// or of another type or shape; whether it fits a model is told by require_same and Generator.
GeneratorFile from_arrays(const std::vector<StateArray>& arrays, MemoryPool& pool);

}  // namespace palimpsest
