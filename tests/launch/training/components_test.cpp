// What of a run is in its checkpoints: through one and back, whatever the ranks and micro batches.
#include "launch/training/components.h"

#include <filesystem>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"
#include "launch/checkpoint/checkpointer.h"
#include "launch/checkpoint/components.h"
#include "tests/file_damage.h"
#include "tests/launch/tiny_model.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

class ComponentsTest : public testing::Test {
 protected:
  /// What `lanes` lanes from `first` on carry, in micro batches of `size`: in layer 1 the number of the lane. That of
  /// the second of several places that they read in turn is 100 larger.
  StepState carried(std::int64_t first, std::int64_t lanes, std::int64_t size, std::int64_t places = 1) {
    StepState state;
    state.first_lane = first;
    for (std::int64_t place = 0; place < places; ++place) {
      for (std::int64_t lane = first; lane < first + lanes; lane += size) {
        state.memories.push_back(model_->empty_state(pool_, size));
        for (std::int64_t i = 0; i < size; ++i) {
          const std::int64_t number = 100 * place + lane + i;
          state.memories.back().documents[static_cast<std::size_t>(i)] = number;
          Tensor matrix = state.memories.back().layers[1][0].tensor.rows(i, i + 1);
          fill(matrix, 10.0 + static_cast<double>(number));
        }
      }
    }
    return state;
  }

  std::unique_ptr<Stateful> component(StepState& state, bool carries = true, std::int64_t places = 1) {
    return std::make_unique<CarriedComponent>(
        state, CarriedComponent::Setting{carries, 4, places, /*saves=*/true, pool_, *communicator_});
  }

  Checkpoint save(const Components& components) {
    Checkpointer checkpointer(CheckpointStore(directory_ / "checkpoints"), *communicator_, /*asynchronous=*/false);
    const Stateful::Tensors tensors = tensors_of(components);
    checkpointer.save(3, tensors.replicated, tensors.owned, state_of(components), "");
    return Checkpoint::open(directory_ / "checkpoints" / "step-00000003", *communicator_);
  }

  TemporaryDirectory directory_;
  MemoryPool pool_;
  std::unique_ptr<LanguageModel> model_ = tiny_model(pool_);
  std::unique_ptr<Communicator> communicator_ = single_process();
};

TEST_F(ComponentsTest, CarriedStateComesBackForAnotherSharingOfLanes) {
  for (const std::int64_t places : {1, 2}) {
    StepState written = carried(0, 4, 2, places);
    Components components;
    components.push_back(component(written, /*carries=*/true, places));
    const Checkpoint checkpoint = save(components);
    EXPECT_EQ(checkpoint.entries().at("state/layers.1.matrix").shape[0], 4 * places);

    for (const std::int64_t size : {1, 2}) {  // lanes 2 and 3
      StepState read = carried(0, 2, size, places);
      read.first_lane = 2;
      Components readers;
      readers.push_back(component(read, /*carries=*/true, places));
      restore(checkpoint, readers, *communicator_);
      std::vector<std::int64_t> numbers = {2, 3};  // place by place
      if (places == 2) numbers.insert(numbers.end(), {102, 103});
      auto number = numbers.begin();
      for (const SequenceState& memory : read.memories) {
        for (std::int64_t i = 0; i < size; ++i, ++number) {
          EXPECT_EQ(memory.documents[static_cast<std::size_t>(i)], *number);
          EXPECT_EQ(memory.layers[1][0].tensor.rows(i, i + 1).to_doubles().back(), 10.0 + static_cast<double>(*number));
          EXPECT_EQ(memory.layers[0][1].tensor.rows(i, i + 1).to_doubles().front(), 0.0);
        }
      }
      EXPECT_EQ(number, numbers.end());
    }
    std::filesystem::remove_all(directory_ / "checkpoints");
  }
}

TEST_F(ComponentsTest, CarriedStateOfOtherLanesIsRefusedAndLeftWhereNobodyCarries) {
  StepState written = carried(0, 4, 4);
  Components components;
  components.push_back(component(written));
  const Checkpoint checkpoint = save(components);
  StepState other = carried(0, 2, 2);
  Components readers;
  readers.push_back(std::make_unique<CarriedComponent>(
      other, CarriedComponent::Setting{true, 2, /*places=*/1, /*saves=*/true, pool_, *communicator_}));
  EXPECT_THROW(restore(checkpoint, readers, *communicator_), FileError);
  StepState none;
  readers.clear();
  readers.push_back(component(none, /*carries=*/false));
  restore(checkpoint, readers, *communicator_);
  EXPECT_TRUE(none.memories.empty());
}

TEST_F(ComponentsTest, CountersWindowTokenizerAndOriginComeBack) {
  Progress progress{3, 1'000'000'000'000, 2, 1}, progress_read;
  LossSpikeDetector spikes({.policy = LossSpikePolicy::warn}), spikes_read({.policy = LossSpikePolicy::warn});
  for (const double loss : {1.0, 2.0, 1.5}) spikes.look(loss);
  TokenizerRecord tokenizer{"sentencepiece:hash", std::string("\0\xff\x10 model", 9)}, tokenizer_read;
  const Origin own{2, 8, "avx2"};
  Origin unused, origin_read;
  const auto make = [](Progress& p, LossSpikeDetector& s, TokenizerRecord& t, const Origin& from, Origin& to) {
    Components components;
    components.push_back(std::make_unique<ProgressComponent>(p));
    components.push_back(std::make_unique<LossSpikeComponent>(s));
    components.push_back(std::make_unique<TokenizerComponent>(t));
    components.push_back(std::make_unique<OriginComponent>(from, to));
    return components;
  };
  const Checkpoint checkpoint = save(make(progress, spikes, tokenizer, own, unused));
  const Components readers = make(progress_read, spikes_read, tokenizer_read, {}, origin_read);
  restore(checkpoint, readers, *communicator_);
  EXPECT_EQ(ProgressComponent(progress_read).state(), ProgressComponent(progress).state());
  EXPECT_EQ(spikes_read.window(), spikes.window());
  EXPECT_EQ(tokenizer_read.identity, tokenizer.identity);
  EXPECT_EQ(tokenizer_read.model, tokenizer.model);
  EXPECT_EQ(origin_read, own);
}

// 1,024 ranks of 16 lanes and 18 layers: an entry a rank and tensor, not one a lane.
TEST_F(ComponentsTest, TheManifestOfManyRanksIsReadAgain) {
  constexpr std::int64_t ranks = 1024, lanes = 16;
  ModelConfig config = tiny_config();
  config.num_layers = 18;
  LanguageModel model(pool_, config, DataType::float32);
  CheckpointManifest manifest{7, {}, {}, ""};
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    StepState state;
    state.first_lane = rank * lanes;
    if (rank < 2) {
      for (int i = 0; i < 2; ++i) state.memories.push_back(model.empty_state(pool_, lanes / 2));
      const auto owned =
          CarriedComponent(state, {true, ranks * lanes, /*places=*/1, /*saves=*/true, pool_, *communicator_})
              .tensors()
              .owned;
      CheckpointManifest::File file{
          checkpoint_file_name(static_cast<int>(rank)), {1'000'000'000, std::string(32, 'a')}, {}};
      for (const StateDictionary::Entry& entry : owned) {
        file.slices.push_back({"state/" + entry.name, entry.shape, entry.tensor.data_type(), entry.begin, entry.end(),
                               900'000'000, std::string(32, 'b')});
      }
      manifest.files.push_back(std::move(file));
    } else {  // as the one before, further on
      CheckpointManifest::File file = manifest.files.back();
      file.name = checkpoint_file_name(static_cast<int>(rank));
      for (StoredSlice& slice : file.slices) {
        const std::int64_t count = slice.end - slice.begin;
        slice.begin += count;
        slice.end += count;
      }
      manifest.files.push_back(std::move(file));
    }
  }
  const std::string text = manifest.to_text();
  EXPECT_LT(text.size(), CheckpointManifest::max_bytes / 4);
  const auto entries = entries_of(CheckpointManifest::from_text(text, "manifest"), "manifest");
  EXPECT_EQ(entries.size(), 36u);
  EXPECT_EQ(entries.at("state/layers.17.norm").shape[0], ranks * lanes);
}

TEST_F(ComponentsTest, AManifestThatWouldNotBeReadIsNotWritten) {
  const CheckpointManifest manifest{7, {}, {}, std::string(CheckpointManifest::max_bytes, 'a')};
  EXPECT_THROW(manifest.to_text(), WriteError);
}

}  // namespace
}  // namespace palimpsest
