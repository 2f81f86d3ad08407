// What of a run is in its checkpoints, a component each (core/io/stateful.h); docs/file-formats.md has their fields.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "autograd/parameter.h"
#include "core/comm/communicator.h"
#include "core/io/stateful.h"
#include "core/storage.h"
#include "data/stream/token_source.h"
#include "data/text/tokenizer.h"
#include "launch/training/loss_spike.h"
#include "launch/training/training_step.h"
#include "optim/optimizer.h"

namespace palimpsest {

/// All of these must outlive their adapters.
class ParametersComponent final : public Stateful {
 public:
  explicit ParametersComponent(ParameterList& parameters) : parameters_(parameters) {}
  std::string name() const override { return "parameters"; }
  Tensors tensors() override;
  void restore(const nlohmann::json& state) override;

 private:
  ParameterList& parameters_;
};

class OptimizerComponent final : public Stateful {
 public:
  explicit OptimizerComponent(Optimizer& optimizer) : optimizer_(optimizer) {}
  std::string name() const override { return "optimizer"; }
  Tensors tensors() override;
  nlohmann::json state() override { return {{"step", optimizer_.step()}}; }
  void restore(const nlohmann::json& state) override;

 private:
  Optimizer& optimizer_;
};

/// What the lanes of the global batch carry from step to step. A tensor has all of them, whoever computes them:
/// "state/layers.3.matrix" is (lanes, ...), so another number of ranks or micro batches can share them otherwise. Where
/// lanes read several places in turn, it is (lanes * places, ...), a lane's places side by side.
class CarriedComponent final : public Stateful {
 public:
  struct Setting {
    bool carries;         // train.carry_memory; without it nothing is saved, and what there is is passed over
    std::int64_t lanes;   // of the global batch
    std::int64_t places;  // that each reads in turn: train.interleave
    bool saves;           // of the ranks that share sequences, and have the same state, one does
    MemoryPool& pool;
    Communicator& communicator;
  };
  CarriedComponent(StepState& state, const Setting& setting) : state_(state), setting_(setting) {}
  std::string name() const override { return "state"; }
  Tensors tensors() override;
  void release() override { joined_ = {}; }
  bool exact() const override { return setting_.carries; }
  /// The document that every lane is in.
  nlohmann::json state() override;
  void restore(const nlohmann::json& state) override;

 private:
  std::int64_t rows() const { return setting_.lanes * setting_.places; }  // of all ranks
  std::int64_t own_rows() const;
  std::int64_t first_row() const { return state_.first_lane * setting_.places; }
  /// use(memory, lane, row): every lane of every memory, and its row among those of this rank.
  template <class Use>
  void for_each_lane(const Use& use) const;

  StepState& state_;
  Setting setting_;
  StateDictionary joined_;  // of all micro batches: what `restore` cuts up again
};

class CursorComponent final : public Stateful {
 public:
  explicit CursorComponent(TokenSource& source) : source_(source) {}
  std::string name() const override { return "cursor"; }
  nlohmann::json state() override { return source_.state(); }
  void restore(const nlohmann::json& state) override { source_.restore(state); }

 private:
  TokenSource& source_;
};

class LossSpikeComponent final : public Stateful {
 public:
  explicit LossSpikeComponent(LossSpikeDetector& detector) : detector_(detector) {}
  std::string name() const override { return "loss_spike"; }
  nlohmann::json state() override { return {{"window", detector_.window()}}; }
  void restore(const nlohmann::json& state) override;

 private:
  LossSpikeDetector& detector_;
};

class ProgressComponent final : public Stateful {
 public:
  explicit ProgressComponent(Progress& progress) : progress_(progress) {}
  std::string name() const override { return "progress"; }
  nlohmann::json state() override;
  void restore(const nlohmann::json& state) override;

 private:
  Progress& progress_;
};

/// By what the data's text became tokens: with it a checkpoint alone is enough to evaluate and generate.
struct TokenizerRecord {
  std::string identity;
  std::string model;  // its bytes, if it has any

  std::unique_ptr<Tokenizer> tokenizer() const { return make_tokenizer(identity, model); }
};

class TokenizerComponent final : public Stateful {
 public:
  explicit TokenizerComponent(TokenizerRecord& record) : record_(record) {}
  std::string name() const override { return "tokenizer"; }
  nlohmann::json state() override;
  void restore(const nlohmann::json& state) override;

 private:
  TokenizerRecord& record_;
};

/// What the bits of results depend on, beside configuration and data.
struct Origin {
  int ranks = 1;
  int threads = 1;              // per rank
  std::string instruction_set;  // as core/matmul.h names it

  bool operator==(const Origin&) const = default;
  /// "2 ranks with 8 threads each on avx2".
  std::string describe() const;
};

/// `restore` fills in who wrote the checkpoint; `state` says who writes the next.
class OriginComponent final : public Stateful {
 public:
  OriginComponent(Origin own, Origin& restored) : own_(std::move(own)), restored_(restored) {}
  std::string name() const override { return "origin"; }
  nlohmann::json state() override;
  void restore(const nlohmann::json& state) override;

 private:
  Origin own_;
  Origin& restored_;
};

}  // namespace palimpsest
