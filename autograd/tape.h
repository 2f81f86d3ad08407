// The record of a computation: operators append a closure each, backward runs them in reverse.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "autograd/operator_profile.h"
#include "autograd/variable.h"

namespace palimpsest {

/// A step of backward that no gradient leads to (Tape::record_stage): it runs if a step before it asked for it.
class BackwardStage {
 public:
  /// Of nothing recorded: asking does nothing.
  BackwardStage() = default;
  /// Called by the backward of an operation that was recorded later, which therefore runs earlier.
  void ask() const {
    if (asked_) *asked_ = true;
  }

 private:
  friend class Tape;
  explicit BackwardStage(std::shared_ptr<bool> asked) : asked_(std::move(asked)) {}

  std::shared_ptr<bool> asked_;
};

class Tape {
 public:
  enum class Mode {
    /// Operators append their backward.
    record,
    /// Nothing is recorded: evaluation and generation.
    inference,
    /// The first pass of `recompute`: results say whether they need a gradient, as those of `record` do, and operators
    /// whose value is only needed in backward (the loss) skip it, but nothing is recorded.
    preview,
  };

  /// Operators report their times to `profile` if there is one.
  explicit Tape(MemoryPool& pool, Mode mode = Mode::record, OperatorProfile* profile = nullptr)
      : pool_(pool), mode_(mode), profile_(profile) {}
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  MemoryPool& pool() { return pool_; }
  Mode mode() const { return mode_; }
  OperatorProfile* profile() const { return profile_; }

  /// Whether an operation on these inputs has to record its backward, and its result needs a gradient.
  bool records(std::initializer_list<Variable> inputs) const;

  /// Appends the backward of an operation. It runs if any of `outputs` has received a gradient, may
  /// read or take those gradients and adds to those of its inputs; whatever it holds is freed afterwards,
  /// and so are the outputs' gradients. The tape keeps no output's value: a backward that needs one holds it.
  void record(std::initializer_list<Variable> outputs, std::function<void()> backward);
  void record(std::vector<GradientSlot> outputs, std::function<void()> backward);

  /// Appends a step that backward takes at this point if somebody has asked for it by then.
  BackwardStage record_stage(std::function<void()> step);

  /// Backward calls `callback` once it has come back to this point, when everything recorded later has run: also where
  /// nothing is recorded, but not in a preview, which backward does not pass.
  void when_back_at_this_point(std::function<void()> callback);

  /// Back-propagates from `roots`, scalars seeded with 1. The tape is empty afterwards.
  void backward(std::span<const Variable> roots);
  void backward(Variable root) { backward(std::span(&root, 1)); }
  /// Back-propagates from whatever gradients the outputs already have.
  void backward_from_gradients();

  std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::vector<GradientSlot> outputs;
    std::function<void()> backward;
    std::string_view family;
    std::shared_ptr<const bool> asked;  // of a stage, and of what runs whether or not a gradient reaches it

    bool reached() const;
  };
  friend class OperatorScope;

  void run(Entry& entry);

  MemoryPool& pool_;
  Mode mode_;
  OperatorProfile* profile_;
  std::string_view family_;  // of the operator at work
  std::vector<Entry> entries_;
};

}  // namespace palimpsest
