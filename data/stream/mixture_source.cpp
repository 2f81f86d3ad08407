#include "data/stream/mixture_source.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/printable.h"
#include "data/stream/source_parts.h"
#include "data/stream/source_seed.h"

namespace palimpsest {

namespace {

/// What logs call each source: no two alike.
std::vector<std::string> names_of(const std::vector<MixtureEntry>& entries) {
  std::vector<std::string> names;
  for (const MixtureEntry& entry : entries) {
    std::string name = entry.name;
    if (name.empty()) {
      name = entry.kind == DataKind::passkey ? "passkey" : printable(std::filesystem::path(entry.file).stem().string());
    }
    const std::string plain = name;
    for (int copy = 2; std::ranges::find(names, name) != names.end(); ++copy) name = fmt::format("{}-{}", plain, copy);
    names.push_back(std::move(name));
  }
  return names;
}

}  // namespace

MixtureSource::MixtureSource(const std::vector<MixtureEntry>& entries, const SourceShape& shape)
    : entries_(entries), shape_(shape), names_(names_of(entries)) {
  if (entries.empty() || entries.size() > most_sources) {
    throw ConfigError(fmt::format("data.train lists {} sources, expected 1 to {}", entries.size(), most_sources));
  }
  if (shape.batch_size < 1 || shape.sequence_length < 1 || shape.segment_length < 1) {
    throw ConfigError(fmt::format("a mixture for {} lanes of {} tokens in segments of {}", shape.batch_size,
                                  shape.sequence_length, shape.segment_length));
  }
  double weights = 0;
  for (const MixtureEntry& entry : entries) weights += entry.weight;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].weight >= least_share * weights) continue;
    throw ConfigError(fmt::format("data.train[{}].weight is {} of {} in all, expected at least a {:.0f}th of it", i,
                                  entries[i].weight, weights, 1 / least_share));
  }

  std::vector<MixedFile> texts = open_texts(weights);
  double text_share = 0;
  for (const MixedFile& mixed : texts) text_share += mixed.share;
  std::vector<double> shares;
  if (!texts.empty()) shares.push_back(text_share);
  for (const MixtureEntry& entry : entries) {
    if (entry.kind == DataKind::passkey) shares.push_back(entry.weight / weights);
  }
  turns_.emplace(shares, shape.batch_size);
  const auto shape_of = [&](std::size_t holder, std::size_t number) {
    SourceShape own = shape;
    own.batch_size = turns_->lanes(holder);
    own.seed = source_seed(shape.seed, number);
    return own;
  };
  const TokenFile* mixed_with = texts.empty() ? nullptr : texts.front().file.get();
  if (!texts.empty()) {
    for (MixedFile& mixed : texts) mixed.share /= text_share;
    text_.emplace(std::move(texts), shape_of(0, 0));
    write_weights_ = text_->has_write_weights();
  }
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].kind != DataKind::passkey) continue;
    try {
      const auto language = passkey_language(entries[i].passkey, mixed_with);
      const Tokenizer& tokenizer = language->tokenizer();
      take_tokenizer(i, "its prompts", tokenizer.identity(), tokenizer.model(), tokenizer.vocab_size());
      prompts_.push_back(
          {PasskeySource(entries[i].passkey, shape_of(first_prompts() + prompts_.size(), i), language), i});
    } catch (const ConfigError& error) {
      throw ConfigError(fmt::format("data.train[{}]: {}", i, error.what()));
    }
    write_weights_ = true;
  }
}

std::vector<MixedFile> MixtureSource::open_texts(double weights) {
  std::vector<MixedFile> texts;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const MixtureEntry& entry = entries_[i];
    if (entry.kind != DataKind::text) continue;
    if (entry.file.empty()) {
      throw ConfigError(fmt::format("data.train[{}].file is empty: it names the token file of this source", i));
    }
    auto file = std::make_shared<const TokenFile>(entry.file);
    take_tokenizer(i, file->path().string(), file->tokenizer_identity(), file->tokenizer_model(), file->vocab_size());
    texts.push_back({std::move(file), entry.weight / weights, entry.virtual_length, i});
  }
  return texts;
}

void MixtureSource::take_tokenizer(std::size_t number, const std::string& whose, const std::string& identity,
                                   std::string_view model, std::int64_t vocab_size) {
  if (tokenizer_identity_.empty()) {
    tokenizer_identity_ = identity;
    tokenizer_model_ = model;
    vocab_size_ = vocab_size;
  }
  if (identity == tokenizer_identity_) return;
  throw DataError(
      fmt::format("data.train[{}]: the tokenizer of {} is {}, that of the sources before it is {}: a mixture "
                  "needs one tokenizer",
                  number, whose, identity, tokenizer_identity_));
}

TokenBatch MixtureSource::empty_batch(LaneRun lanes) const {
  TokenBatch batch = palimpsest::empty_batch(lanes, shape_.sequence_length);
  const std::size_t size = batch.inputs.size();
  batch.sources.resize(size);
  if (!prompts_.empty()) batch.answers.resize(size);
  if (write_weights_) batch.write_weights.resize(size, 1.0f);
  return batch;
}

TokenBatch MixtureSource::next(LaneRun lanes) {
  require_lanes(lanes, shape_.batch_size);
  TokenBatch batch = empty_batch(lanes);
  std::vector<LaneTurns::Place> places;
  for (std::int64_t row = 0; row < lanes.count; ++row) places.push_back(turns_->at(lanes.first + row, steps_));
  for (std::size_t i = 0; i < prompts_.size(); ++i) {
    const std::size_t holder = first_prompts() + i;
    if (!turns_->has_any(holder, steps_)) continue;  // no step of this source's
    std::int64_t first = -1, count = 0;
    for (std::int64_t row = 0; row < lanes.count; ++row) {
      if (places[static_cast<std::size_t>(row)].holder != holder) continue;
      if (count++ == 0) first = row;
    }
    if (count == 0) {
      prompts_[i].source.skip();
      continue;
    }
    const TokenBatch prompts = prompts_[i].source.next({places[static_cast<std::size_t>(first)].lane, count});
    for (std::int64_t j = 0; j < count; ++j) copy_prompts(prompts, j, prompts_[i].number, first + j, batch);
  }
  for (std::int64_t row = 0; text_ && row < lanes.count; ++row) {
    const LaneTurns::Place& place = places[static_cast<std::size_t>(row)];
    if (place.holder != 0) continue;
    text_->fill(place.lane, place.steps, row, batch);
    // From the text's own tokens of the lane to all of its tokens. A break ends what was read before it.
    const std::int64_t others = (steps_ - place.steps) * shape_.sequence_length;
    const std::int64_t since = place.since * shape_.sequence_length;
    const auto begin = batch.documents.begin() + row * shape_.sequence_length;
    std::for_each(begin, begin + shape_.sequence_length,
                  [&](std::int64_t& document) { document = std::max(document + others, since); });
  }
  ++steps_;
  return batch;
}

void MixtureSource::copy_prompts(const TokenBatch& prompts, std::int64_t from, std::size_t number, std::int64_t row,
                                 TokenBatch& batch) const {
  const std::int64_t tokens = shape_.sequence_length;
  const auto copy = [&](const auto& source, auto& target) {
    std::copy_n(source.begin() + from * tokens, tokens, target.begin() + row * tokens);
  };
  copy(prompts.inputs, batch.inputs);
  copy(prompts.targets, batch.targets);
  copy(prompts.loss_weights, batch.loss_weights);
  copy(prompts.answers, batch.answers);
  copy(prompts.write_weights, batch.write_weights);
  std::fill_n(batch.sources.begin() + row * tokens, tokens, static_cast<std::uint8_t>(number));
  std::int64_t began = 0;
  for (std::int64_t t = 0; t < tokens; ++t) {
    const auto at = static_cast<std::size_t>(from * tokens + t);
    if (t > 0 && prompts.documents[at] != prompts.documents[at - 1]) began = t;
    batch.documents[static_cast<std::size_t>(row * tokens + t)] = steps_ * tokens + began;
  }
}

void MixtureSource::observe_each(std::span<const SourceTotals> sources) {
  for (std::size_t i = 0; i < prompts_.size(); ++i) {
    if (turns_->has_any(first_prompts() + i, steps_ - 1)) {
      prompts_[i].source.observe(sources[prompts_[i].number].answers);
    }
  }
}

nlohmann::json MixtureSource::task() const {
  nlohmann::json task = {{"seed", shape_.seed},
                         {"batch_size", shape_.batch_size},
                         {"sequence_length", shape_.sequence_length},
                         {"sources", entries_.size()}};
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const bool prompts = entries_[i].kind == DataKind::passkey;
    task[fmt::format("source {}", i)] = {{"kind", prompts ? "passkey" : "text"}, {"weight", entries_[i].weight}};
  }
  for (std::size_t i = 0; text_ && i < text_->files().size(); ++i) {
    const MixedFile& mixed = text_->files()[i];
    task[fmt::format("source {}", mixed.source)]["data"] = mixed.file->checksum();
  }
  return task;
}

nlohmann::json MixtureSource::state() const {
  nlohmann::json prompts = nlohmann::json::array();
  for (const Prompts& each : prompts_) prompts.push_back(each.source.state());
  return {{"kind", "mixture"}, {"task", task()}, {"steps", static_cast<std::uint64_t>(steps_)}, {"passkey", prompts}};
}

void MixtureSource::restore(const nlohmann::json& state) {
  if (!state.is_object() || state.value("kind", nlohmann::json()) != "mixture") {
    throw ConfigError("data.train: the position in the data cannot be resumed: it is not one in a mixture");
  }
  const auto theirs = state.find("task"), steps = state.find("steps"), prompts = state.find("passkey");
  const std::int64_t last = std::numeric_limits<std::int64_t>::max() / shape_.sequence_length - 1;
  if (theirs == state.end() || !theirs->is_object() || steps == state.end() || !steps->is_number_unsigned() ||
      steps->get<std::uint64_t>() > static_cast<std::uint64_t>(last) || prompts == state.end() ||
      !prompts->is_array()) {
    throw DataError("data cursor: \"task\", \"steps\" or \"passkey\" is not as expected");
  }
  require_same_task("data.train", task(), *theirs);
  if (prompts->size() != prompts_.size()) {
    throw DataError(
        fmt::format("data cursor: \"passkey\" has {} sources, expected {}", prompts->size(), prompts_.size()));
  }
  for (std::size_t i = 0; i < prompts_.size(); ++i) prompts_[i].source.restore((*prompts)[i]);
  steps_ = steps->get<std::int64_t>();
}

std::string MixtureSource::name() const { return "the mixture of " + fmt::format("{}", fmt::join(names_, ", ")); }

std::string MixtureSource::description() const {
  double weights = 0;
  for (const MixtureEntry& entry : entries_) weights += entry.weight;
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    std::string what;
    for (const Prompts& each : prompts_) {
      if (each.number == i) what = each.source.description();
    }
    for (std::size_t file = 0; text_ && file < text_->files().size(); ++file) {
      const MixedFile& mixed = text_->files()[file];
      if (mixed.source != i) continue;
      what = fmt::format("{} tokens in {} documents", mixed.file->token_count(), mixed.file->document_count());
    }
    parts.push_back(fmt::format("{:.3g} % {} ({})", 100 * entries_[i].weight / weights, names_[i], what));
  }
  return fmt::format("{}", fmt::join(parts, " + "));
}

std::string MixtureSource::position() const {
  std::vector<std::string> parts;
  for (const Prompts& each : prompts_) {
    parts.push_back(prompts_.size() == 1 ? each.source.position()
                                         : fmt::format("{} {}", names_[each.number], each.source.position()));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace palimpsest
