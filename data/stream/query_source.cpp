#include "data/stream/query_source.h"

#include <algorithm>
#include <array>
#include <limits>
#include <span>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "core/error.h"
#include "core/io/file_hash.h"
#include "core/printable.h"
#include "data/stream/source_parts.h"
#include "data/text/json_records.h"
#include "data/text/line_blocks.h"
#include "data/text/sentences.h"

namespace palimpsest {

namespace {

constexpr std::int64_t most_draws = 1000;  // for one example

void require(bool holds, const std::string& message) {
  if (!holds) throw ConfigError("queries: " + message);
}

void append(std::vector<std::int32_t>& tokens, const std::vector<std::int32_t>& more) {
  tokens.insert(tokens.end(), more.begin(), more.end());
}

}  // namespace

QuerySource::QuerySource(const QueryConfig& config, const SourceShape& shape) : config_(config), shape_(shape) {
  require(!config.corpus.empty(), "data.corpus is empty: it names the documents to train on");
  require(!config.tokenizer.empty(), "data.tokenizer is empty: expected one, as for palimpsest pack");
  const QueryShares& shares = config.shares;
  require(shares.titles + shares.first_sentences + shares.sentences > 0,
          "data.titles, data.first_sentences and data.sentences are all 0");
  const std::int64_t least = together() * (together() + 1);
  require(shape.batch_size >= 1 && shape.segment_length >= 1 && shape.sequence_length % shape.segment_length == 0 &&
              shape.sequence_length / shape.segment_length >= least,
          fmt::format(
              "train.sequence_length is {}, expected a multiple of the segment's {} tokens, and {} of them or more: "
              "a segment at least for each document and its {}",
              shape.sequence_length, shape.segment_length, least,
              together() == 1 ? "query" : fmt::format("{} queries", together())));
  tokenizer_ = make_tokenizer(config.tokenizer);
  before_ = tokenizer_->encode(unescaped(config.before));
  require(!before_.empty() && static_cast<std::int64_t>(before_.size()) < shape.segment_length,
          fmt::format("data.before has {} tokens, expected 1 to {}", before_.size(), shape.segment_length - 1));
  read_corpus();
  if (!examples(0).empty()) return;
  throw DataError(fmt::format(
      "{}: too few documents among {} drawn have a query{}: expected titles, or texts of two "
      "sentences",
      config.corpus, most_draws, together() == 1 ? "" : fmt::format(" that differs from {} others", together() - 1)));
}

std::int64_t QuerySource::segments_of(const QueryExample& example) const {
  return (static_cast<std::int64_t>(example.document.size()) + shape_.segment_length - 1) / shape_.segment_length;
}

void QuerySource::read_corpus() {
  constexpr std::size_t block_bytes = std::size_t{1} << 20;
  constexpr std::uint64_t longest_line = std::uint64_t{1} << 30;
  LineBlocks blocks(config_.corpus, 0, std::numeric_limits<std::uint64_t>::max(), block_bytes, longest_line);
  FileHash hash;
  std::int64_t number = 0;
  while (const auto block = blocks.next()) {
    std::string_view left = block->text;
    while (!left.empty()) {
      const std::string_view line = left.substr(0, left.find('\n'));
      left.remove_prefix(std::min(line.size() + 1, left.size()));
      ++number;
      if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
      const RecordFormat format{.kind = RecordKind::text};
      Record record = parse_record(line, fmt::format("{}:{}", config_.corpus, number), format);
      auto* document = std::get_if<CorpusDocument>(&record.document);
      if (document == nullptr) continue;  // an empty text has no query
      hash.update(std::as_bytes(std::span(record.origin.title)));
      hash.update(std::as_bytes(std::span(document->text)));
      documents_.push_back({std::move(record.origin.title), std::move(document->text)});
    }
  }
  if (documents_.empty()) throw DataError(fmt::format("{}: holds no documents", config_.corpus));
  checksum_ = hash.digest();
}

std::optional<QueryExample> QuerySource::draw(Draws& draws, std::int64_t room) const {
  const std::int64_t drawn = draws.below(static_cast<std::int64_t>(documents_.size()));
  const Document& document = documents_[static_cast<std::size_t>(drawn)];
  const QueryShares& shares = config_.shares;
  const double kind = draws.uniform() * (shares.titles + shares.first_sentences + shares.sentences);
  const double which = draws.uniform(), stays = draws.uniform(), where = draws.uniform();
  const bool any_sentence = kind >= shares.titles + shares.first_sentences;
  std::string query, front, back;  // of the document, what stands before the query's place and behind it
  if (kind < shares.titles) {
    query = document.title;
    back = document.text;
  } else {
    const std::vector<SentencePlace> places = sentence_places(document.text);
    if (places.size() < 2) return std::nullopt;
    const auto chosen = static_cast<std::size_t>(which * static_cast<double>(places.size()));
    const SentencePlace place = places[any_sentence ? std::min(chosen, places.size() - 1) : 0];
    query = document.text.substr(place.begin, place.end - place.begin);
    front = (document.title.empty() ? "" : document.title + '\n') + document.text.substr(0, place.begin);
    back = document.text.substr(any_sentence && stays < config_.left_in ? place.begin : place.end);
  }
  QueryExample example;
  example.place = drawn;
  example.query = tokenizer_->encode(query);
  if (example.query.empty()) return std::nullopt;
  const auto longest = static_cast<std::size_t>(shape_.segment_length) - before_.size() + 1;
  if (example.query.size() > longest) example.query.resize(longest);
  example.document.push_back(tokenizer_->begin_id());
  append(example.document, tokenizer_->encode(front + back));
  const auto length = static_cast<std::int64_t>(example.document.size());
  if (length <= room) return example;
  // A run of them that has the place of the sentence in it; the begin token stays.
  if (any_sentence) {
    const auto place = static_cast<std::int64_t>(tokenizer_->encode(front).size()) + 1;
    const std::int64_t last = length - room + 1, least = std::clamp<std::int64_t>(place - room + 1, 1, last);
    const std::int64_t most = std::clamp(place, least, last);
    const std::int64_t first = least + static_cast<std::int64_t>(where * static_cast<double>(most - least + 1));
    const auto begin = example.document.begin();
    example.document.erase(begin + 1, begin + static_cast<std::ptrdiff_t>(first));
  }
  example.document.resize(static_cast<std::size_t>(room));
  return example;
}

std::vector<QueryExample> QuerySource::draw_group(Draws& draws, std::int64_t room) const {
  std::vector<QueryExample> group;
  for (std::int64_t tries = 0; static_cast<std::int64_t>(group.size()) < together() && tries < most_draws; ++tries) {
    std::optional<QueryExample> example = draw(draws, room);
    const auto same = [&](const QueryExample& other) {
      return other.place == example->place || other.query == example->query;
    };
    if (example && std::ranges::none_of(group, same)) group.push_back(std::move(*example));
  }
  return group;
}

std::vector<QueryExample> QuerySource::examples(std::int64_t lane) const {
  Draws draws(
      Random(shape_.seed, RandomPurpose::data, static_cast<std::uint64_t>(steps_), static_cast<std::uint32_t>(lane)));
  const std::int64_t together = this->together();
  std::vector<QueryExample> examples;
  std::int64_t left = shape_.sequence_length / shape_.segment_length;
  while (left >= together * (together + 1)) {
    std::vector<QueryExample> group = draw_group(draws, (left / together - together) * shape_.segment_length);
    if (static_cast<std::int64_t>(group.size()) < together) break;
    for (QueryExample& example : group) {
      left -= segments_of(example) + together;
      examples.push_back(std::move(example));
    }
  }
  return examples;
}

TokenBatch QuerySource::next(LaneRun lanes) {
  require_lanes(lanes, shape_.batch_size, "queries: ");
  TokenBatch batch = empty_batch(lanes, shape_.sequence_length);
  batch.write_weights.assign(batch.inputs.size(), 0.0F);
  if (together() > 1) batch.queries.assign(batch.inputs.size(), 0);
  const std::int64_t documents_a_step = shape_.sequence_length / shape_.segment_length;
  for (std::int64_t i = 0; i < lanes.count; ++i) {
    const std::int64_t lane_begin = i * shape_.sequence_length, lane_end = lane_begin + shape_.sequence_length;
    const std::vector<QueryExample> examples = this->examples(lanes.first + i);
    const auto size = static_cast<std::size_t>(together());
    std::int64_t document = steps_ * documents_a_step, row = lane_begin;
    for (std::size_t own = 0; own < examples.size(); ++own) {
      const std::int64_t begin = row;
      put_document(examples[own], batch, begin);
      row += segments_of(examples[own]) * shape_.segment_length;
      const std::size_t group = own - own % size;
      for (std::size_t asked = group; asked < group + size; ++asked) {
        put_query(examples[asked], asked == own, static_cast<std::int32_t>(asked + 1), batch, row);
        row += shape_.segment_length;
      }
      std::fill(batch.documents.begin() + begin, batch.documents.begin() + row, document++);
    }
    // What is left holds nothing.
    std::fill(batch.documents.begin() + row, batch.documents.begin() + lane_end, document);
  }
  ++steps_;
  return batch;
}

void QuerySource::put_document(const QueryExample& example, TokenBatch& batch, std::int64_t row) const {
  const auto length = static_cast<std::int64_t>(example.document.size());
  std::ranges::copy(example.document, batch.inputs.begin() + row);
  std::fill_n(batch.write_weights.begin() + row, length, 1.0F);
  if (config_.text_loss == 0) return;
  std::copy(example.document.begin() + 1, example.document.end(), batch.targets.begin() + row);
  std::fill_n(batch.loss_weights.begin() + row, length - 1, static_cast<float>(config_.text_loss));
}

void QuerySource::put_query(const QueryExample& example, bool own, std::int32_t number, TokenBatch& batch,
                            std::int64_t row) const {
  const auto length = static_cast<std::int64_t>(example.query.size());
  const auto first = std::ranges::copy(before_, batch.inputs.begin() + row).out;
  std::copy(example.query.begin(), example.query.end() - 1, first);
  const std::int64_t predicted = row + static_cast<std::int64_t>(before_.size()) - 1;
  std::ranges::copy(example.query, batch.targets.begin() + predicted);
  if (own) std::fill_n(batch.loss_weights.begin() + predicted, length, 1.0F);
  if (together() > 1) std::fill_n(batch.queries.begin() + predicted, length, number);
}

nlohmann::json QuerySource::task() const {
  return {{"seed", shape_.seed},
          {"batch_size", shape_.batch_size},
          {"sequence_length", shape_.sequence_length},
          {"segment_length", shape_.segment_length},
          {"tokenizer", tokenizer_identity()},
          {"corpus", checksum_},
          {"before", config_.before},
          {"titles", config_.shares.titles},
          {"first_sentences", config_.shares.first_sentences},
          {"sentences", config_.shares.sentences},
          {"left_in", config_.left_in},
          {"text_loss", config_.text_loss},
          {"contrast", config_.contrast.weight},
          {"contrast_documents", together()},
          {"contrast_temperature", config_.contrast.temperature}};
}

nlohmann::json QuerySource::state() const {
  return {{"kind", "queries"}, {"task", task()}, {"steps", static_cast<std::uint64_t>(steps_)}};
}

void QuerySource::restore(const nlohmann::json& state) {
  if (!state.is_object() || state.value("kind", nlohmann::json()) != "queries") {
    throw ConfigError("queries: the position in the data cannot be resumed: it is not one in queries of documents");
  }
  const auto theirs = state.find("task"), steps = state.find("steps");
  if (theirs == state.end() || !theirs->is_object() || steps == state.end() || !steps->is_number_unsigned() ||
      steps->get<std::uint64_t>() >
          static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max() / shape_.sequence_length)) {
    throw DataError("data cursor: \"task\" or \"steps\" is not as expected");
  }
  require_same_task("queries", task(), *theirs);
  steps_ = steps->get<std::int64_t>();
}

std::string QuerySource::description() const {
  return fmt::format("queries of {} documents of {}: titles {}, first sentences {}, sentences {}{}", documents_.size(),
                     printable(config_.corpus), config_.shares.titles, config_.shares.first_sentences,
                     config_.shares.sentences,
                     together() == 1 ? "" : fmt::format("; {} documents are asked each other's", together()));
}

}  // namespace palimpsest
