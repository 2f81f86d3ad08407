// Every key of a run's configuration, described once: name, place in its owner's struct, what is allowed and what it
// means. From this come the YAML reader and writer, --set, differences and docs/configuration.md; a new key is one
// more line in the file of its section under configs/schema/.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "configs/run_config.h"
#include "configs/scalar.h"

namespace palimpsest {

namespace schema {

// Far beyond any machine, yet small enough for every product of sizes to fit 63 bits.
inline constexpr std::int64_t max_width = 100'000;
inline constexpr std::int64_t max_heads = 1'000;
inline constexpr std::int64_t max_length = 1'000'000'000;  // of sequences, batches and vocabularies
inline constexpr std::int64_t max_count = 1'000'000'000'000;

}  // namespace schema

/// One value of a configuration, whatever its type: the functions of configs/scalar.h over it.
class SchemaValue {
 public:
  virtual ~SchemaValue() = default;
  virtual void parse(std::string_view where, const Scalar& scalar) = 0;
  virtual std::string format() const = 0;
  virtual std::string_view type() const = 0;
  virtual std::string allowed() const = 0;
};

class SchemaVisitor;
using Description = std::function<void(SchemaVisitor&)>;

/// A list of sections, whatever their type.
class SchemaList {
 public:
  virtual ~SchemaList() = default;
  virtual void clear() = 0;
  /// Appends a section of defaults.
  virtual void append() = 0;
  virtual std::size_t size() const = 0;
  virtual void describe_item(std::size_t index, SchemaVisitor& visitor) = 0;
  /// Describes a section of defaults that belongs to no list.
  virtual void describe_default(SchemaVisitor& visitor) const = 0;
};

/// Is shown every key. `describe(options, visitor)` of each struct of options calls what follows, once a key.
class SchemaVisitor {
 public:
  virtual ~SchemaVisitor() = default;

  /// A key with one value; `allowed` is one of the kinds of configs/scalar.h.
  template <class T, class Allowed>
  void field(std::string_view name, T& value, const Allowed& allowed, std::string_view meaning) {
    Bound<T, Allowed> bound(value, allowed);
    visit_field(name, bound, meaning);
  }

  /// A key with keys of its own below it.
  template <class Options>
  void section(std::string_view name, Options& options, std::string_view meaning) {
    visit_section(
        name, [&options](SchemaVisitor& below) { describe(options, below); }, meaning);
  }

  /// A key with a list of sections.
  template <class Options>
  void list(std::string_view name, std::vector<Options>& items, std::string_view meaning) {
    Items<Options> list(items);
    visit_list(name, list, meaning);
  }

  /// A key with a list of texts; one of them may stand without brackets.
  void texts(std::string_view name, std::vector<std::string>& items, std::string_view meaning) {
    visit_texts(name, items, meaning);
  }

  /// A key with one value or, instead, a list of sections.
  template <class T, class Allowed, class Options>
  void field_or_list(std::string_view name, T& value, const Allowed& allowed, std::vector<Options>& items,
                     std::string_view meaning) {
    Bound<T, Allowed> bound(value, allowed);
    Items<Options> list(items);
    visit_field_or_list(name, bound, list, meaning);
  }

  /// Keys that are there only if the key `kind` of this section, described before, has this value: `chosen` says so.
  void options_of(std::string_view kind, bool chosen, const Description& keys) { visit_options(kind, chosen, keys); }

 protected:
  virtual void visit_field(std::string_view name, SchemaValue& value, std::string_view meaning) = 0;
  virtual void visit_section(std::string_view name, const Description& below, std::string_view meaning) = 0;
  virtual void visit_list(std::string_view name, SchemaList& list, std::string_view meaning) = 0;
  virtual void visit_texts(std::string_view name, std::vector<std::string>& items, std::string_view meaning) = 0;
  virtual void visit_field_or_list(std::string_view name, SchemaValue& value, SchemaList& list,
                                   std::string_view meaning) {
    if (list.size() == 0) return visit_field(name, value, meaning);
    visit_list(name, list, meaning);
  }
  virtual void visit_options(std::string_view, bool chosen, const Description& keys) {
    if (chosen) keys(*this);
  }

 private:
  template <class T, class Allowed>
  class Bound final : public SchemaValue {
   public:
    Bound(T& value, const Allowed& allowed) : value_(value), allowed_(allowed) {}
    void parse(std::string_view where, const Scalar& scalar) override {
      value_ = parse_scalar(where, scalar, allowed_);
    }
    std::string format() const override { return format_scalar(value_, allowed_); }
    std::string_view type() const override { return type_name(allowed_); }
    std::string allowed() const override { return describe_allowed(allowed_); }

   private:
    T& value_;
    const Allowed& allowed_;
  };

  template <class Options>
  class Items final : public SchemaList {
   public:
    explicit Items(std::vector<Options>& items) : items_(items) {}
    void clear() override { items_.clear(); }
    void append() override { items_.emplace_back(); }
    std::size_t size() const override { return items_.size(); }
    void describe_item(std::size_t index, SchemaVisitor& visitor) override { describe(items_[index], visitor); }
    void describe_default(SchemaVisitor& visitor) const override {
      Options defaults;
      describe(defaults, visitor);
    }

   private:
    std::vector<Options>& items_;
  };
};

// Each in the file of its section under configs/schema/.
void describe(RunConfig& config, SchemaVisitor& visitor);
void describe(ModelConfig& model, SchemaVisitor& visitor);
void describe(AttentionConfig& attention, SchemaVisitor& visitor);
void describe(RotaryScaling& scaling, SchemaVisitor& visitor);
void describe(LoraConfig& lora, SchemaVisitor& visitor);
void describe(DataConfig& data, SchemaVisitor& visitor);
void describe(MixtureEntry& entry, SchemaVisitor& visitor);
void describe(PasskeyStage& stage, SchemaVisitor& visitor);
void describe(TrainConfig& train, SchemaVisitor& visitor);
void describe(DistillationConfig& distillation, SchemaVisitor& visitor);
void describe(OptimizerConfig& optimizer, SchemaVisitor& visitor);
void describe(LearningRateMultiplier& multiplier, SchemaVisitor& visitor);
void describe(LossSpikeConfig& spike, SchemaVisitor& visitor);
void describe(EvaluationSet& set, SchemaVisitor& visitor);
void describe(SummaryEvaluationConfig& summaries, SchemaVisitor& visitor);
void describe(EvaluationConfig& evaluation, SchemaVisitor& visitor);
void describe(CheckpointConfig& checkpoint, SchemaVisitor& visitor);

}  // namespace palimpsest
