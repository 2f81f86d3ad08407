// Checkpoints that were damaged, and such that somebody forged: thousands of mutants, with and without right hashes.
#include "launch/checkpoint/checkpoint.h"

#include <cstdlib>

#include <gtest/gtest.h>
#include <unistd.h>

#include "core/error.h"
#include "core/io/child_process.h"
#include "core/io/file_hash.h"
#include "core/random.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

/// So many in a test; PALIMPSEST_MUTANTS, for longer runs by hand, in each.
std::uint64_t mutants(std::uint64_t usual) {
  const char* const asked = std::getenv("PALIMPSEST_MUTANTS");
  return asked != nullptr ? std::strtoull(asked, nullptr, 10) : usual;
}

class CheckpointHostileTest : public testing::Test {
 protected:
  CheckpointHostileTest() {
    StateDictionary entries;
    entries.add("parameters/a",
                Tensor::from_values(pool_, Shape{2, 3}, DataType::float32, std::vector<double>{1, 2, 3, 4, 5, 6}));
    entries.add("parameters/b",
                Tensor::from_values(pool_, Shape{4}, DataType::bfloat16, std::vector<double>{1, 2, 3, 4}));
    const TensorFile written = write_tensor_file(state_, entries);
    manifest_.step = 7;
    manifest_.files = {{checkpoint_file_name(0), written.fingerprint, written.slices}};
    manifest_.training_state = {{"step", 7}};
    manifest_.config_yaml = "model:\n  hidden_size: 64\n";
    write_manifest(manifest_.to_text());
  }

  /// With the right hash beside it.
  void write_manifest(const std::string& text) {
    overwrite_file(directory_ / std::string(CheckpointManifest::file_name), text);
    overwrite_file(directory_ / std::string(CheckpointManifest::hash_file_name), CheckpointManifest::hash_line(text));
  }

  /// What the checkpoint says the two tensors are.
  std::vector<double> load() {
    StateDictionary targets;
    targets.add("parameters/a", Tensor::zeros(pool_, Shape{2, 3}, DataType::float32));
    targets.add("parameters/b", Tensor::zeros(pool_, Shape{4}, DataType::bfloat16));
    Checkpoint::open(directory_.path(), *communicator_).load(targets, *communicator_);
    std::vector<double> values = targets.at("parameters/a").to_doubles();
    for (const double value : targets.at("parameters/b").to_doubles()) values.push_back(value);
    return values;
  }

  /// `content` with one to four bytes changed; never the same.
  static std::string mutant(std::string content, std::uint64_t number) {
    const Random random(37, RandomPurpose::test);
    std::uint64_t index = number * 16;
    const std::string original = content;
    for (std::uint64_t changes = 1 + random.below(index++, 4); changes > 0; --changes) {
      char& byte = content[random.below(index++, content.size())];
      byte = static_cast<char>(random.below(index++, 256));
    }
    if (content == original) content[0] = static_cast<char>(content[0] ^ 1);
    return content;
  }

  void expect_refused(const CheckpointManifest& manifest, const std::string& part) {
    write_manifest(manifest.to_text());
    const std::string message = message_of([&] { load(); });
    EXPECT_TRUE(holds(message, part)) << message;
    EXPECT_TRUE(message.starts_with(directory_.path().string())) << message;
  }

  MemoryPool pool_;
  TemporaryDirectory directory_;
  fs::path state_ = directory_ / checkpoint_file_name(0);
  CheckpointManifest manifest_;
  std::unique_ptr<Communicator> communicator_ = single_process();
  const std::vector<double> values_ = {1, 2, 3, 4, 5, 6, 1, 2, 3, 4};
};

TEST_F(CheckpointHostileTest, MutantsOfTheTensorsAreNoticed) {
  EXPECT_EQ(load(), values_);
  const std::string intact = file_content(state_);
  for (std::uint64_t i = 0; i < mutants(1000); ++i) {
    overwrite_file(state_, mutant(intact, i));
    const std::string message = message_of([&] { load(); });
    ASSERT_TRUE(holds(message, state_.string() + ": damaged: its hash is")) << i << ": " << message;
  }
}

TEST_F(CheckpointHostileTest, MutantsWithTheRightHashNeitherCrashNorHang) {
  // The places of the tensors come from the manifest, so that what HDF5 would make of the file does not matter.
  const std::string intact = file_content(state_);
  const std::uint64_t in_a_batch = 100;
  for (std::uint64_t batch = 0; batch < mutants(400) / in_a_batch; ++batch) {
    const auto trouble = try_in_child([&] {
      for (std::uint64_t i = batch * in_a_batch; i < (batch + 1) * in_a_batch; ++i) {
        overwrite_file(state_, mutant(intact, i));
        manifest_.files[0].fingerprint = fingerprint_file(state_);
        write_manifest(manifest_.to_text());
        load();  // has to succeed: everything that is checked is right
      }
      _exit(0);
    });
    EXPECT_EQ(trouble, std::nullopt) << "batch " << batch;
  }
}

TEST_F(CheckpointHostileTest, MutantsOfTheManifestAreRefusedOrRight) {
  const std::string intact = manifest_.to_text();
  const std::uint64_t count = mutants(500);
  std::uint64_t refused = 0, wrong = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    write_manifest(mutant(intact, i));
    try {
      if (load() != values_) ++wrong;
    } catch (const FileError& error) {
      ++refused;
    }
  }
  EXPECT_GT(refused, count / 2);
  EXPECT_EQ(wrong, 0u) << "a changed offset or hash is noticed";
}

TEST_F(CheckpointHostileTest, PlacesOutsideTheFileAreRefused) {
  for (const std::uint64_t offset :
       {manifest_.files[0].fingerprint.bytes - 3, std::uint64_t{1} << 50, std::uint64_t{1} << 62}) {
    CheckpointManifest manifest = manifest_;
    manifest.files[0].slices[0].offset = offset;
    expect_refused(manifest, "not a part of file");
  }
  CheckpointManifest overlapping = manifest_;
  overlapping.files[0].slices[1].offset = overlapping.files[0].slices[0].offset;
  expect_refused(overlapping, "not one piece of this file");
}

TEST_F(CheckpointHostileTest, ShapesOfTheFileAreNotBelieved) {
  CheckpointManifest manifest = manifest_;
  manifest.files[0].slices[0].shape = Shape{std::int64_t{1} << 50};
  manifest.files[0].slices[0].end = std::int64_t{1} << 50;
  expect_refused(manifest, "not a part of file");
  manifest = manifest_;
  manifest.files[0].slices[0].end = 5;
  expect_refused(manifest, "lacks elements 5 to 6");
  manifest.files[0].slices[0].end = 6;
  manifest.files[0].slices[0].shape = Shape{6};
  expect_refused(manifest, "expected float32 (2, 3)");
  manifest = manifest_;
  manifest.files[0].slices[0].type = DataType::float64;
  expect_refused(manifest, "expected float32 (2, 3)");
}

TEST_F(CheckpointHostileTest, FilesElsewhereAreNotRead) {
  const fs::path elsewhere = directory_ / "elsewhere.h5";
  fs::rename(state_, elsewhere);
  for (const fs::path& target : {fs::path("elsewhere.h5"), elsewhere}) {
    fs::create_symlink(target, state_);
    EXPECT_TRUE(holds(message_of([&] { load(); }), state_.string() + ": not a regular file"));
    fs::remove(state_);
  }
  for (const char* name :
       {"elsewhere.h5", "../state-00000.h5", "./state-00000.h5", "/etc/passwd", "state-00001.h5", ""}) {
    CheckpointManifest manifest = manifest_;
    manifest.files[0].name = name;
    expect_refused(manifest, "is listed where 'state-00000.h5' is expected");
  }
}

}  // namespace
}  // namespace palimpsest
