// Checkpoints: a manifest whose hash is right, whatever it says, over a fixed file of tensors.
#include <fstream>
#include <memory>

#include "core/io/file_hash.h"
#include "launch/checkpoint/checkpoint.h"
#include "tests/fuzz/target.h"
#include "tests/temporary_directory.h"

namespace palimpsest::fuzz {

namespace {

/// The checkpoint's folder, with its file of tensors.
struct Fixed {
  Fixed() {
    StateDictionary entries;
    entries.add("parameters/a",
                Tensor::from_values(pool, Shape{2, 3}, DataType::float32, std::vector<double>{1, 2, 3, 4, 5, 6}));
    entries.add("memory/b", Tensor::from_values(pool, Shape{4}, DataType::bfloat16, std::vector<double>{1, 2, 3, 4}));
    const TensorFile written = write_tensor_file(directory / checkpoint_file_name(0), entries);
    manifest.step = 7;
    manifest.files = {{checkpoint_file_name(0), written.fingerprint, written.slices}};
    manifest.training_state = {{"step", 7}};
    manifest.config_yaml = "model:\n  hidden_size: 64\n";
  }

  MemoryPool pool;
  TemporaryDirectory directory;
  CheckpointManifest manifest;
  std::unique_ptr<Communicator> communicator = single_process();
};

Fixed& fixed() {
  static Fixed instance;
  return instance;
}

void write(std::string_view name, std::string_view content) {
  std::ofstream(fixed().directory / name, std::ios::binary | std::ios::trunc) << content;
}

}  // namespace

std::vector<std::string> seeds() { return {fixed().manifest.to_text()}; }

void run(std::string_view input) {
  write(CheckpointManifest::file_name, input);
  write(CheckpointManifest::hash_file_name, CheckpointManifest::hash_line(std::string(input)));
  const Checkpoint checkpoint = Checkpoint::open(fixed().directory.path(), *fixed().communicator);
  StateDictionary targets;
  targets.add("parameters/a", Tensor::zeros(fixed().pool, Shape{2, 3}, DataType::float32));
  targets.add("memory/b", Tensor::zeros(fixed().pool, Shape{4}, DataType::bfloat16));
  checkpoint.load(targets, *fixed().communicator);
}

}  // namespace palimpsest::fuzz
