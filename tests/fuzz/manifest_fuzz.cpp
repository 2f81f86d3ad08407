// manifest.json of a checkpoint: whatever is accepted names files of its own folder only, and reads back equal.
#include <cstdlib>

#include "launch/checkpoint/checkpoint_manifest.h"
#include "tests/fuzz/target.h"

namespace palimpsest::fuzz {

std::vector<std::string> seeds() {
  CheckpointManifest manifest;
  manifest.step = 12;
  manifest.files.push_back({checkpoint_file_name(0), {100, std::string(32, 'a')}, {}});
  manifest.files[0].slices.push_back(
      {"parameters/norm.weight", Shape{3, 4}, DataType::float32, 0, 12, 40, std::string(32, 'b')});
  manifest.training_state = {{"step", 12}, {"cursor", {{"steps", 12u}}}};
  manifest.config_yaml = "model:\n  hidden_size: 64\n";
  return {manifest.to_text()};
}

void run(std::string_view input) {
  const CheckpointManifest manifest = CheckpointManifest::from_text(std::string(input), "fuzz/manifest.json");
  for (const auto& file : manifest.files) {
    if (file.name.find('/') != std::string::npos) std::abort();
  }
  const std::string text = manifest.to_text();
  if (CheckpointManifest::from_text(text, "again/manifest.json").to_text() != text) std::abort();
  entries_of(manifest, "fuzz");
}

}  // namespace palimpsest::fuzz
