#include "layers/decoder.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "autograd/ops/head_views.h"
#include "core/sequence_layout.h"

namespace palimpsest {

namespace {

/// One lane holding one document, carried in or just starting.
LayoutPointer single_document(std::int64_t tokens, bool carried, std::int64_t segment_length) {
  const std::vector<std::int64_t> documents(static_cast<std::size_t>(tokens), 0);
  const std::int64_t before = carried ? 0 : no_document;
  return std::make_shared<const SequenceLayout>(make_layout(documents, std::span(&before, 1), segment_length));
}

}  // namespace

Decoder::Decoder(const LanguageModel& model, MemoryPool& pool) : model_(model), pool_(pool) {
  const ModelConfig& config = model.config();
  for (const MemoryState::Layer& layer : model.empty_memory(pool, 1).layers) {
    memory_.push_back({Variable(layer.matrix), Variable(layer.norm)});
  }
  const Shape cache{config.segment_length, config.num_kv_heads * config.head_size};
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    const auto room = [&] { return Tensor(pool, cache, model.compute_type()); };
    caches_.push_back({room(), room(), room()});
  }
}

Tensor Decoder::advance(std::span<const std::int32_t> tokens) {
  if (tokens.empty()) throw ShapeError("Decoder::advance needs at least one token");
  const std::int64_t segment = model_.config().segment_length;
  Tensor logits;
  while (!tokens.empty()) {
    // A segment that has begun is finished token by token; whole ones and the rest go in batches.
    const auto count = position_ > 0 ? std::size_t{1} : std::min(tokens.size(), static_cast<std::size_t>(segment));
    logits = count == 1 ? advance_one(tokens.front()) : advance_batch(tokens.first(count));
    tokens = tokens.subspan(count);
  }
  return logits;
}

Tensor Decoder::advance_batch(std::span<const std::int32_t> tokens) {
  const auto count = static_cast<std::int64_t>(tokens.size());
  const ModelConfig& config = model_.config();
  Tape tape(pool_, Tape::Mode::inference);
  LanguageModel::KeysAndValues keys_and_values;
  LanguageModel::Result result =
      model_.forward(tape, tokens, single_document(count, holds_document_, config.segment_length), memory_,
                     Recompute::none, nullptr, {}, &keys_and_values);
  tokens_ += count;
  if (count == config.segment_length) {
    memory_ = std::move(result.memory);
    holds_document_ = true;
  } else {  // unfinished: its keys and values wait in the cache
    for (std::size_t i = 0; i < caches_.size(); ++i) {
      const auto& [key, value] = keys_and_values[i];
      const Shape rows{count, config.num_kv_heads * config.head_size};
      Tensor keys = caches_[i].key.rows(0, count), values = caches_[i].value.rows(0, count);
      copy(key.value().reshaped(rows), keys);
      copy(value.value().reshaped(rows), values);
      dispatch(model_.compute_type(), [&]<class T>() {
        for (std::int64_t head = 0; head < config.num_kv_heads; ++head) {
          const std::int64_t at = head * config.head_size;
          rotate(std::as_const(keys).data<T>() + at, rows[1], caches_[i].rotated_key.data<T>() + at, rows[1], count, 0,
                 *model_.rotary(), false);
        }
      });
    }
    position_ = count;
  }
  return model_.head(pool_, result.hidden.value().reshaped(Shape{count, config.hidden_size}).rows(count - 1, count))
      .reshaped(Shape{config.vocab_size});
}

Tensor Decoder::advance_one(std::int32_t token) {
  Tape tape(pool_, Tape::Mode::inference);
  const Variable hidden = model_.decode(tape, token, memory_, holds_document_, caches_, position_);
  ++tokens_;
  if (++position_ == model_.config().segment_length) finish_segment();
  return model_.head(pool_, hidden.value()).reshaped(Shape{model_.config().vocab_size});
}

void Decoder::finish_segment() {
  const ModelConfig& config = model_.config();
  const HeadCounts counts{config.num_heads, config.num_kv_heads, config.head_size};
  const Shape rows{1, config.segment_length, config.num_kv_heads * config.head_size};
  const LayoutPointer layout = single_document(config.segment_length, holds_document_, config.segment_length);
  Tape tape(pool_, Tape::Mode::inference);
  for (std::size_t i = 0; i < caches_.size(); ++i) {
    memory_[i] = memory_write(tape, Variable(caches_[i].key.reshaped(rows)), Variable(caches_[i].value.reshaped(rows)),
                              memory_[i], layout, counts,
                              {config.attention.memory_update == MemoryUpdate::delta, config.attention.memory_epsilon})
                     .after;
  }
  holds_document_ = true;
  position_ = 0;
}

}  // namespace palimpsest
