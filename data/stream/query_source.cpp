#include "data/stream/query_source.h"

#include <algorithm>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "core/error.h"
#include "core/io/file_hash.h"
#include "core/printable.h"
#include "core/white_space.h"
#include "data/stream/source_parts.h"
#include "data/text/json_records.h"
#include "data/text/line_blocks.h"
#include "data/text/sentences.h"

namespace palimpsest {

namespace {

// For one group. Up to the first of them no document may have another one's query in it.
constexpr std::int64_t choosy_draws = 200, most_draws = 1000;

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
}

std::int64_t QuerySource::segments_of(const QueryExample& example) const {
  return (static_cast<std::int64_t>(example.document.size()) + shape_.segment_length - 1) / shape_.segment_length;
}

void QuerySource::read_corpus() {
  constexpr std::size_t block_bytes = std::size_t{1} << 20;
  constexpr std::uint64_t longest_line = std::uint64_t{1} << 30;
  LineBlocks blocks(config_.corpus, 0, std::numeric_limits<std::uint64_t>::max(), block_bytes, longest_line);
  FileHash hash;
  std::int64_t number = 0, read = 0;
  while (const auto block = blocks.next()) {
    std::string_view left = block->text;
    while (!left.empty()) {
      const std::string_view line = left.substr(0, left.find('\n'));
      left.remove_prefix(std::min(line.size() + 1, left.size()));
      ++number;
      if (is_blank(line)) continue;
      const RecordFormat format{.kind = RecordKind::text};
      Record record = parse_record(line, fmt::format("{}:{}", config_.corpus, number), format);
      auto* document = std::get_if<CorpusDocument>(&record.document);
      if (document == nullptr) continue;  // an empty text has no query
      ++read;
      for (const std::string_view part : {std::string_view(record.origin.title), std::string_view(document->text)}) {
        const std::string size = fmt::format("{} ", part.size());
        hash.update(std::as_bytes(std::span(size)));
        hash.update(std::as_bytes(std::span(part)));
      }
      add({.title = std::move(record.origin.title), .text = std::move(document->text)});
    }
  }
  if (read == 0) throw DataError(fmt::format("{}: holds no documents", config_.corpus));
  checksum_ = hash.digest();
  const QueryShares& shares = config_.shares;
  const std::string expected = fmt::format("expected {} or more, with {}", together(),
                                           shares.first_sentences + shares.sentences == 0 ? "titles"
                                           : shares.titles == 0                           ? "texts of two sentences"
                                                                : "titles, or texts of two sentences");
  if (documents_.empty()) {
    throw DataError(fmt::format("{}: none of its {} documents has a query: {}", config_.corpus, read, expected));
  }
  if (together() == 1 || static_cast<std::int64_t>(reserve_.size()) == together()) return;
  throw DataError(fmt::format(
      "{}: {} of its {} documents have a query that is not another one's, but data.contrast_documents is {}: {}",
      config_.corpus, reserve_.size(), read, together(), expected));
}

void QuerySource::add(Document document) {
  const QueryShares& shares = config_.shares;
  document.has_title = shares.titles > 0 && !query_tokens(document.title).empty();
  std::vector<SentencePlace> places;
  if (shares.first_sentences + shares.sentences > 0) places = sentence_places(document.text);
  const auto sentence = [&](const SentencePlace& place) {
    return query_tokens(std::string_view(document.text).substr(place.begin, place.end - place.begin));
  };
  document.sentences = places.size() >= 2 && !sentence(places.front()).empty() ? places.size() : 0;
  if (!document.has_title && document.sentences == 0) return;
  documents_.push_back(std::move(document));
  if (together() == 1 || static_cast<std::int64_t>(reserve_.size()) == together()) return;
  // The first of its queries that none of the others has.
  Choice choice{.document = static_cast<std::int64_t>(documents_.size()) - 1};
  const auto is_new = [&](const std::string_view query) {
    std::vector<std::int32_t> tokens = query_tokens(query);
    return !tokens.empty() && reserved_.insert(std::move(tokens)).second;
  };
  const Document& own = documents_.back();
  bool found = own.has_title && is_new(own.title);
  if (!found && own.sentences > 0) {
    if (shares.sentences == 0) places.resize(1);
    choice.is_title = false;
    choice.is_first = shares.sentences == 0;
    for (choice.sentence = 0; choice.sentence < places.size(); ++choice.sentence) {
      const SentencePlace& place = places[choice.sentence];
      found = is_new(std::string_view(own.text).substr(place.begin, place.end - place.begin));
      if (found) break;
    }
  }
  if (found) reserve_.push_back(choice);
}

std::vector<std::int32_t> QuerySource::query_tokens(std::string_view query) const {
  if (is_blank(query)) return {};
  std::vector<std::int32_t> tokens = tokenizer_->encode(query);
  const auto longest = static_cast<std::size_t>(shape_.segment_length) - before_.size() + 1;
  if (tokens.size() > longest) tokens.resize(longest);
  return tokens;
}

QuerySource::Choice QuerySource::draw(Draws& draws) const {
  Choice choice{.document = draws.below(static_cast<std::int64_t>(documents_.size()))};
  const Document& document = documents_[static_cast<std::size_t>(choice.document)];
  QueryShares shares = config_.shares;  // of what the document has
  if (!document.has_title) shares.titles = 0;
  if (document.sentences == 0) shares.first_sentences = shares.sentences = 0;
  const double kind = draws.uniform() * (shares.titles + shares.first_sentences + shares.sentences);
  const double which = draws.uniform(), stays = draws.uniform();
  choice.where = draws.uniform();
  choice.is_title = document.has_title && (kind < shares.titles || document.sentences == 0);
  if (choice.is_title) return choice;
  choice.is_first = shares.sentences == 0 || kind < shares.titles + shares.first_sentences;
  choice.stays = !choice.is_first && stays < config_.left_in;
  if (choice.is_first) return choice;
  const auto drawn = static_cast<std::size_t>(which * static_cast<double>(document.sentences));
  choice.sentence = std::min(drawn, document.sentences - 1);
  return choice;
}

QueryExample QuerySource::example(const Choice& choice, std::int64_t room) const {
  const Document& document = documents_[static_cast<std::size_t>(choice.document)];
  QueryExample example;
  example.place = choice.document;
  std::string front, back;  // of the document, what stands before the query's place and behind it
  if (choice.is_title) {
    example.text = document.title;
    back = document.text;
  } else {
    const std::vector<SentencePlace> places = sentence_places(document.text);
    const auto text_of = [&](const SentencePlace& place) {
      return document.text.substr(place.begin, place.end - place.begin);
    };
    SentencePlace place = places[choice.sentence];
    if (query_tokens(text_of(place)).empty()) place = places.front();  // of characters that the tokenizer leaves out
    example.text = text_of(place);
    front = (document.title.empty() ? "" : document.title + '\n') + document.text.substr(0, place.begin);
    back = document.text.substr(choice.stays ? place.begin : place.end);
  }
  example.query = query_tokens(example.text);
  example.document.push_back(tokenizer_->begin_id());
  append(example.document, tokenizer_->encode(front + back));
  const auto length = static_cast<std::int64_t>(example.document.size());
  if (length <= room) return example;
  // A run of them that has the place of the sentence in it; the begin token stays.
  if (!choice.is_title && !choice.is_first) {
    const auto place = static_cast<std::int64_t>(tokenizer_->encode(front).size()) + 1;
    const std::int64_t last = length - room + 1, least = std::clamp<std::int64_t>(place - room + 1, 1, last);
    const std::int64_t most = std::clamp(place, least, last);
    const std::int64_t first = least + static_cast<std::int64_t>(choice.where * static_cast<double>(most - least + 1));
    const auto begin = example.document.begin();
    example.document.erase(begin + 1, begin + static_cast<std::ptrdiff_t>(first));
  }
  example.document.resize(static_cast<std::size_t>(room));
  return example;
}

bool QuerySource::has(std::int64_t document, std::string_view query) const {
  const Document& searched = documents_[static_cast<std::size_t>(document)];
  return searched.text.find(query) != std::string::npos || searched.title.find(query) != std::string::npos;
}

std::vector<QueryExample> QuerySource::draw_group(Draws& draws, std::int64_t room) const {
  std::vector<QueryExample> group;
  const auto is_whole = [&] { return static_cast<std::int64_t>(group.size()) == together(); };
  for (std::int64_t tries = 0; !is_whole() && tries < most_draws; ++tries) {
    if (tries < choosy_draws && tries % (8 * together()) == 0) group.clear();  // none may go with what it has
    QueryExample drawn = example(draw(draws), room);
    const auto clashes = [&](const QueryExample& other) {
      return other.place == drawn.place || other.query == drawn.query ||
             (tries < choosy_draws && (has(other.place, drawn.text) || has(drawn.place, other.text)));
    };
    if (std::ranges::none_of(group, clashes)) group.push_back(std::move(drawn));
  }
  if (is_whole()) return group;
  group.clear();
  for (const Choice& choice : reserve_) group.push_back(example(choice, room));
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
  steps_ = restored_steps(state,
                          {.kind = "queries",
                           .whose = "queries",
                           .expected = "one in queries of documents",
                           .sequence_length = shape_.sequence_length},
                          task());
}

std::string QuerySource::description() const {
  return fmt::format("queries of {} documents of {}: titles {}, first sentences {}, sentences {}{}", documents_.size(),
                     printable(config_.corpus), config_.shares.titles, config_.shares.first_sentences,
                     config_.shares.sentences,
                     together() == 1 ? "" : fmt::format("; {} documents are asked each other's", together()));
}

}  // namespace palimpsest
