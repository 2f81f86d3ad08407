// Checkpoints of version 2 under the names of version 3.
#include "launch/checkpoint/manifest_version_2.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/file_damage.h"

namespace palimpsest {
namespace {

CheckpointManifest version_2() {
  CheckpointManifest manifest;
  manifest.training_state = {{"step", 7},
                             {"optimizer_step", 6},
                             {"tokens", 100},
                             {"skipped_steps", 1},
                             {"consecutive_skips", 1},
                             {"loss_window", {2.5, 2.0}},
                             {"cursor", {{"steps", 7}}},
                             {"memory_documents", {4, -1, 9}},
                             {"tokenizer", {{"identity", "bytes"}, {"model", ""}}},
                             {"ranks", 2},
                             {"threads", 3},
                             {"instruction_set", "avx2"}};
  const StoredSlice slice = {"memory/lane-00002/layers.11/matrix", Shape{1, 2, 3, 3}, DataType::float32, 0, 18, 64, ""};
  const StoredSlice other = {"parameters/norm.weight", Shape{8}, DataType::float32, 2, 8, 8, ""};
  CheckpointManifest::File& file = manifest.files.emplace_back();
  file.name = "state-00000.h5";
  file.fingerprint.bytes = 1000;
  file.slices = {slice, other};
  return manifest;
}

TEST(ManifestVersion2, ALaneBecomesAPartOfAllLanes) {
  CheckpointManifest manifest = version_2();
  upgrade_from_version_2(manifest);
  const StoredSlice& slice = manifest.files[0].slices[0];
  EXPECT_EQ(slice.name, "state/layers.11.matrix");
  EXPECT_EQ(slice.shape, (Shape{3, 2, 3, 3}));
  EXPECT_EQ(slice.begin, 36);
  EXPECT_EQ(slice.end, 54);
  EXPECT_EQ(slice.offset, 64u);
  EXPECT_EQ(manifest.files[0].slices[1].name, "parameters/norm.weight");
  EXPECT_EQ(manifest.files[0].slices[1].begin, 2);
}

TEST(ManifestVersion2, TheStateBecomesThatOfComponents) {
  CheckpointManifest manifest = version_2();
  upgrade_from_version_2(manifest);
  const nlohmann::json& state = manifest.training_state;
  EXPECT_EQ(state["progress"],
            (nlohmann::json{{"step", 7}, {"tokens", 100}, {"skipped_steps", 1}, {"consecutive_skips", 1}}));
  EXPECT_EQ(state["optimizer"]["step"], 6);
  EXPECT_EQ(state["state"]["documents"], (nlohmann::json{4, -1, 9}));
  EXPECT_EQ(state["loss_spike"]["window"], (nlohmann::json{2.5, 2.0}));
  EXPECT_EQ(state["origin"]["ranks"], 2);
  // The first programs knew neither of these.
  manifest = version_2();
  manifest.training_state.erase("consecutive_skips");
  manifest.training_state.erase("loss_window");
  upgrade_from_version_2(manifest);
  EXPECT_EQ(manifest.training_state["progress"]["consecutive_skips"], 0);
  EXPECT_TRUE(manifest.training_state["loss_spike"]["window"].empty());
}

TEST(ManifestVersion2, RefusesWhatItDidNotWrite) {
  const auto with = [](const std::string& name, const Shape& shape) {
    CheckpointManifest manifest = version_2();
    manifest.files[0].slices[0].name = name;
    manifest.files[0].slices[0].shape = shape;
    return message_of([&] { upgrade_from_version_2(manifest); });
  };
  const Shape one{1, 2, 3, 3};
  for (const char* name :
       {"memory/lane-00003/layers.1/norm", "memory/lane--0001/layers.1/norm", "memory/lane-x/layers.1/norm",
        "memory/lane-00001", "memory/lane-00001/layers.1", "memory/lane-99999999999999999999/layers.1/norm"}) {
    EXPECT_TRUE(holds(with(name, one), name));
  }
  EXPECT_TRUE(holds(with("memory/lane-00002/layers.1/norm", Shape{2, 3}), "is not the memory of one of 3 lanes"));
  EXPECT_TRUE(holds(with("memory/lane-00002/layers.1/norm", Shape{}), "is not the memory of one of 3 lanes"));
  CheckpointManifest manifest = version_2();
  manifest.training_state = nullptr;
  EXPECT_THROW(upgrade_from_version_2(manifest), nlohmann::json::exception);
}

}  // namespace
}  // namespace palimpsest
