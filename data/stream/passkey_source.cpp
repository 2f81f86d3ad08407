#include "data/stream/passkey_source.h"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/printable.h"
#include "data/stream/source_parts.h"
#include "data/stream/virtual_length.h"
#include "data/tokens/token_file.h"

namespace palimpsest {

namespace {

constexpr double most_virtual_length = 1e9;
// What a whole step draws; no lane has this number.
constexpr std::uint32_t step_lane = std::numeric_limits<std::uint32_t>::max();

void require(bool holds, const std::string& message) {
  if (!holds) throw ConfigError("passkey: " + message);
}

std::int64_t count_of(const nlohmann::json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_unsigned() || found->get<std::uint64_t>() > (std::uint64_t{1} << 62)) {
    throw DataError(fmt::format("data cursor: \"{}\" is {}, expected a non-negative integer", key,
                                found == json.end() ? "missing" : printable(found->dump())));
  }
  return found->get<std::int64_t>();
}

}  // namespace

std::shared_ptr<const PasskeyLanguage> passkey_language(const PasskeyConfig& config, const TokenFile* mixed_with) {
  std::shared_ptr<const TokenFile> text;
  std::shared_ptr<const Tokenizer> tokenizer;
  if (!config.filler.empty()) {
    text = std::make_shared<const TokenFile>(config.filler);
    tokenizer = text->tokenizer();
  } else if (config.tokenizer.empty() && mixed_with != nullptr) {
    tokenizer = mixed_with->tokenizer();
  } else {
    tokenizer = make_tokenizer(config.tokenizer.empty() ? PasskeyConfig().tokenizer : config.tokenizer);
  }
  return std::make_shared<const PasskeyLanguage>(
      std::move(tokenizer), PasskeyTask{config.digits, config.keys, config.updates}, std::move(text));
}

PasskeySource::PasskeySource(const PasskeyConfig& config, const SourceShape& shape,
                             std::shared_ptr<const PasskeyLanguage> language)
    : config_(config), shape_(shape), language_(std::move(language)) {
  stages_ = config.stages.empty() ? default_stages() : config.stages;
  check();
}

void PasskeySource::check() const {
  require(shape_.batch_size >= 1 && shape_.segment_length >= 1 && shape_.sequence_length >= shape_.segment_length,
          fmt::format("{} lanes of {} tokens in segments of {}", shape_.batch_size, shape_.sequence_length,
                      shape_.segment_length));
  require(shape_.sequence_length % shape_.segment_length == 0,
          fmt::format("train.sequence_length is {}, expected a multiple of the segment's {} tokens",
                      shape_.sequence_length, shape_.segment_length));
  require(config_.advance_over >= 1, fmt::format("advance_over is {}, expected at least 1", config_.advance_over));
  const std::int64_t most = shape_.sequence_length / shape_.segment_length;
  Draws draws(Random(shape_.seed, RandomPurpose::data));
  for (const PasskeyStage& stage : stages_) {
    require(stage.segments >= 1 && stage.segments <= most,
            fmt::format("a stage has {} segments, the sequence of {} tokens has {}", stage.segments,
                        shape_.sequence_length, most));
    require(stage.virtual_length >= 1 && static_cast<double>(stage.virtual_length) <= most_virtual_length,
            fmt::format("a stage's virtual_length is {}, expected 1 to {}", stage.virtual_length, most_virtual_length));
    require(stage.keys >= 0 && stage.keys <= config_.keys,
            fmt::format("a stage has {} keys, the task {}", stage.keys, config_.keys));
    // One that is too short says so.
    PasskeyPrompt::for_training(language_, stage.segments * shape_.segment_length,
                                {shape_.segment_length, stage.keys, 0, 1}, draws);
  }
}

std::vector<PasskeyStage> PasskeySource::default_stages() const {
  const std::int64_t most = shape_.sequence_length / shape_.segment_length, longest = config_.virtual_length;
  std::vector<PasskeyStage> stages;
  std::int64_t repetitions = 1;
  // The recipe: 2 and 4 segments as they are, then with 10, 100, 1,000 ... repetitions.
  for (std::int64_t segments = std::min<std::int64_t>(2, most);; segments = std::min(2 * segments, most)) {
    if (stages.size() >= 2) repetitions = std::min(10 * repetitions, longest);
    stages.push_back({segments, repetitions, 0});
    if (segments == most) break;
  }
  while (repetitions < longest) {
    repetitions = std::min(10 * repetitions, longest);
    stages.push_back({most, repetitions, 0});
  }
  return stages;
}

std::int64_t PasskeySource::prompt_segments() const {
  Draws draws(Random(shape_.seed, RandomPurpose::data, static_cast<std::uint64_t>(steps_), step_lane));
  const std::int64_t own = stages_[static_cast<std::size_t>(stage())].segments;
  if (draws.uniform() >= config_.earlier_lengths) return own;
  std::set<std::int64_t> seen;
  for (std::int64_t i = 0; i <= stage(); ++i) seen.insert(stages_[static_cast<std::size_t>(i)].segments);
  return *std::next(seen.begin(), draws.below(static_cast<std::int64_t>(seen.size())));
}

std::vector<PasskeySource::Slot> PasskeySource::slots(std::int64_t lane) const {
  const PasskeyStage& stage = stages_[static_cast<std::size_t>(this->stage())];
  const std::int64_t segments = prompt_segments(), all = shape_.sequence_length / shape_.segment_length;
  Draws draws(
      Random(shape_.seed, RandomPurpose::data, static_cast<std::uint64_t>(steps_), static_cast<std::uint32_t>(lane)));
  const PasskeyPrompt::Spread spread{shape_.segment_length, stage.keys, config_.across_borders,
                                     config_.question_anywhere, stage.questions};
  std::vector<Slot> slots;
  for (std::int64_t begin = 0; begin < all;) {
    const std::int64_t count = all - begin < 2 * segments ? all - begin : segments;
    Slot slot{PasskeyPrompt::for_training(language_, count * shape_.segment_length, spread, draws), {}};
    const VirtualLength virtual_length(static_cast<double>(stage.virtual_length), draws);
    for (std::int64_t segment = 0; segment < count; ++segment) {
      const float weight = virtual_length.segment_weight(draws);
      const bool filler = segment + 1 < count &&
                          slot.prompt.is_filler(segment * shape_.segment_length, (segment + 1) * shape_.segment_length);
      slot.segment_weights.push_back(filler ? weight : 1.0f);
    }
    slots.push_back(std::move(slot));
    begin += count;
  }
  return slots;
}

std::vector<PasskeyPrompt> PasskeySource::prompts(std::int64_t lane) const {
  std::vector<PasskeyPrompt> prompts;
  for (Slot& slot : slots(lane)) prompts.push_back(std::move(slot.prompt));
  return prompts;
}

std::vector<float> PasskeySource::segment_weights(std::int64_t lane) const {
  std::vector<float> weights;
  for (const Slot& slot : slots(lane)) {
    weights.insert(weights.end(), slot.segment_weights.begin(), slot.segment_weights.end());
  }
  return weights;
}

TokenBatch PasskeySource::next(LaneRun lanes) {
  require_lanes(lanes, shape_.batch_size, "passkey: ");
  TokenBatch batch = empty_batch(lanes, shape_.sequence_length);
  batch.answers.resize(batch.inputs.size());
  batch.write_weights.resize(batch.inputs.size());
  const std::int64_t documents_a_step = shape_.sequence_length / shape_.segment_length;
  for (std::int64_t i = 0; i < lanes.count; ++i) {
    auto row = static_cast<std::size_t>(i * shape_.sequence_length);
    std::int64_t document = steps_ * documents_a_step;
    for (const Slot& slot : slots(lanes.first + i)) {
      const PasskeyPrompt& prompt = slot.prompt;
      const std::int64_t length = prompt.length();
      std::vector<std::int32_t> tokens(static_cast<std::size_t>(length));
      prompt.read(0, tokens);
      std::vector<std::uint8_t> is_answer(static_cast<std::size_t>(length + 1));
      double answers = 0;
      for (const auto& [begin, end] : prompt.answers()) {
        std::fill(is_answer.begin() + begin, is_answer.begin() + end, std::uint8_t{1});
        answers += static_cast<double>(end - begin);
      }
      const auto predicted = static_cast<double>(prompt.questions_end() - 1);
      const double scale = static_cast<double>(length) / (1 + config_.text_loss);
      for (std::int64_t t = 0; t < length; ++t, ++row) {
        const bool is_predicted = t + 1 < prompt.questions_end();
        const bool answered = is_answer[static_cast<std::size_t>(t + 1)] != 0;
        batch.inputs[row] = tokens[static_cast<std::size_t>(t)];
        batch.targets[row] = is_predicted ? tokens[static_cast<std::size_t>(t + 1)] : 0;
        batch.loss_weights[row] = static_cast<float>(
            scale * ((answered ? 1 / answers : 0.0) + (is_predicted ? config_.text_loss / predicted : 0.0)));
        batch.answers[row] = answered ? 1 : 0;
        batch.write_weights[row] = slot.segment_weights[static_cast<std::size_t>(t / shape_.segment_length)];
        batch.documents[row] = document;
      }
      ++document;
    }
  }
  ++steps_;
  return batch;
}

void PasskeySource::observe(const AnswerCounts& answers) {
  const std::size_t now = static_cast<std::size_t>(stage());
  --steps_;  // of the batch that was answered
  const bool own_length = prompt_segments() == stages_[now].segments;
  ++steps_;
  if (!own_length) return;
  ++counted_steps_;
  counted_.right += answers.right;
  counted_.all += answers.all;
  if (counted_steps_ < config_.advance_over) return;
  const bool learned =
      static_cast<double>(counted_.right) >= config_.advance_at * static_cast<double>(counted_.all) && counted_.all > 0;
  if (learned && now + 1 < stages_.size()) stage_begins_.push_back(steps_);
  counted_steps_ = 0;
  counted_ = {};
}

nlohmann::json PasskeySource::task() const {
  nlohmann::json stages = nlohmann::json::array();
  for (const PasskeyStage& stage : stages_) {
    stages.push_back({stage.segments, stage.virtual_length, stage.keys});
    if (stage.questions > 1) stages.back().push_back(stage.questions);
  }
  const TokenFile* text = language_->text();
  nlohmann::json task = {{"seed", shape_.seed},
                         {"batch_size", shape_.batch_size},
                         {"sequence_length", shape_.sequence_length},
                         {"segment_length", shape_.segment_length},
                         {"tokenizer", tokenizer_identity()},
                         {"filler", text == nullptr ? "" : text->checksum()},
                         {"digits", config_.digits},
                         {"keys", config_.keys},
                         {"updates", config_.updates},
                         {"across_borders", config_.across_borders},
                         {"question_anywhere", config_.question_anywhere},
                         {"text_loss", config_.text_loss},
                         {"advance_at", config_.advance_at},
                         {"advance_over", config_.advance_over},
                         {"earlier_lengths", config_.earlier_lengths},
                         {"stages", stages}};
  // Earlier versions said none; of one key their prompts were the same.
  if (config_.keys > 1) task["version of the prompts"] = prompts_version(language_->task());
  return task;
}

nlohmann::json PasskeySource::state() const {
  const auto count = [](std::int64_t value) { return static_cast<std::uint64_t>(value); };
  return {
      {"kind", "passkey"},
      {"task", task()},
      {"steps", count(steps_)},
      {"stage_begins", std::vector<std::uint64_t>(stage_begins_.begin(), stage_begins_.end())},
      {"counted", {{"steps", count(counted_steps_)}, {"right", count(counted_.right)}, {"all", count(counted_.all)}}}};
}

void PasskeySource::restore(const nlohmann::json& state) {
  require_kind(state, "passkey", "passkey", "one in passkey prompts");
  const auto theirs = state.find("task"), begins = state.find("stage_begins"), counted = state.find("counted");
  if (theirs == state.end() || !theirs->is_object() || begins == state.end() || !begins->is_array() ||
      begins->empty() || begins->size() > stages_.size() || counted == state.end() || !counted->is_object()) {
    throw DataError("data cursor: \"task\", \"stage_begins\" or \"counted\" is not as expected");
  }
  require_same_task("passkey", task(), *theirs);
  std::vector<std::int64_t> stage_begins;
  const std::int64_t steps = count_of(state, "steps");
  for (const nlohmann::json& begin : *begins)
    stage_begins.push_back(count_of({{"stage_begins", begin}}, "stage_begins"));
  if (stage_begins.front() != 0 || !std::ranges::is_sorted(stage_begins) || stage_begins.back() > steps ||
      steps > std::numeric_limits<std::int64_t>::max() / shape_.sequence_length - 1) {
    throw DataError("data cursor: \"stage_begins\" does not rise from 0 to at most \"steps\"");
  }
  const AnswerCounts answers{count_of(*counted, "right"), count_of(*counted, "all")};
  counted_steps_ = count_of(*counted, "steps");
  steps_ = steps;
  stage_begins_ = std::move(stage_begins);
  counted_ = answers;
}

std::string PasskeySource::description() const {
  std::vector<std::string> stages;
  for (const PasskeyStage& stage : stages_) {
    stages.push_back(stage.virtual_length == 1 ? fmt::format("{}", stage.segments)
                                               : fmt::format("{} up to {}-fold", stage.segments, stage.virtual_length));
  }
  return fmt::format("passkey prompts: {} of {} digits{} in {}; stages of {} segments",
                     config_.keys == 1 ? "a key" : fmt::format("{} keys", config_.keys), config_.digits,
                     config_.updates > 0 ? fmt::format(", replaced {} times,", config_.updates) : "",
                     language_->text() == nullptr ? "the paper's sentences" : language_->text()->path().string(),
                     fmt::join(stages, ", "));
}

std::string PasskeySource::position() const { return fmt::format("stage {} of {}", stage() + 1, stages_.size()); }

}  // namespace palimpsest
