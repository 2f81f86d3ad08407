// Training without labels to find documents: parts of documents as queries, predicted from what the memory holds of the
// rest, in the form in which launch/search asks. Sentences taken out of their document are the inverse cloze task of
// Lee, Chang and Toutanova (2019, arXiv 1906.00300).
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "data/stream/draws.h"
#include "data/stream/query_config.h"
#include "data/stream/token_source.h"
#include "data/text/tokenizer.h"

namespace palimpsest {

/// A document as the memory reads it, and what is asked then.
struct QueryExample {
  std::vector<std::int32_t> document;  // the begin token, the title in a line of its own, the text
  std::vector<std::int32_t> query;     // at least one token
  std::int64_t place = 0;              // of the document among those of the corpus that have a query
  std::string text = {};               // of the query, whole
};

/// Every lane holds examples one after the other, each a document of its own: its tokens from the border of a segment
/// on; what is missing to the next border, which is not written to the memory; then, in one segment, the text between
/// and the query. The loss is that of the query's tokens, and of the document's as `text_loss` says. A document that is
/// longer than the lane has room is cut: at its end, or around the sentence that was taken out.
///
/// With a contrast the examples of a lane form groups of `documents` of it, of which no two have a document or a query
/// in common, nor, unless such ones are hard to find, one that stands in another's document. Each document is followed
/// by the queries of all of them, in the same order, a segment each, and TokenBatch::queries tells these apart. As
/// nothing of a query is written, each is asked of the document's memory alone.
class QuerySource final : public TokenSource {
 public:
  /// Reads the corpus, all of which is held in memory. Throws ConfigError on numbers that do not go together,
  /// FileError and DataError, naming the line, on a record that is not one, and DataError where no document has a
  /// query of the kinds that are drawn, or fewer than a group needs have different ones.
  QuerySource(const QueryConfig& config, const SourceShape& shape);

  TokenBatch next(LaneRun lanes) override;
  nlohmann::json state() const override;
  void restore(const nlohmann::json& state) override;
  std::string name() const override { return config_.corpus; }
  std::string description() const override;
  std::string position() const override { return {}; }
  std::int64_t vocab_size() const override { return tokenizer_->vocab_size(); }
  std::string tokenizer_identity() const override { return tokenizer_->identity(); }
  std::string_view tokenizer_model() const override { return tokenizer_->model(); }

  /// The examples of one lane of the next batch, in order, group after group.
  std::vector<QueryExample> examples(std::int64_t lane) const;

 private:
  struct Document {
    std::string title, text;
    bool has_title = false;     // as a query, if titles are drawn
    std::size_t sentences = 0;  // likewise
  };
  /// What is asked of a document.
  struct Choice {
    std::int64_t document = 0;
    bool is_title = true;
    std::size_t sentence = 0;  // otherwise
    bool is_first = false;     // as such: a document that is too long is cut at its end
    bool stays = false;        // in the document
    double where = 0;          // it is cut, from 0 to below 1
  };

  /// Examples that are asked each other's queries.
  std::int64_t together() const { return config_.contrast.weight > 0 ? config_.contrast.documents : 1; }
  std::int64_t segments_of(const QueryExample& example) const;
  void read_corpus();
  /// To the documents, if it has a query, and to the reserve, as long as that is not whole.
  void add(Document document);
  /// As many as a segment has room for; none of a blank text.
  std::vector<std::int32_t> query_tokens(std::string_view query) const;
  Choice draw(Draws& draws) const;
  /// Of a document of at most so many tokens after its cut.
  QueryExample example(const Choice& choice, std::int64_t room) const;
  /// Whether a document's title or text has these words in it.
  bool has(std::int64_t document, std::string_view query) const;
  /// `together` examples, of documents of at most so many tokens each.
  std::vector<QueryExample> draw_group(Draws& draws, std::int64_t room) const;
  /// Fills rows of a batch, from `row` on.
  void put_document(const QueryExample& example, TokenBatch& batch, std::int64_t row) const;
  void put_query(const QueryExample& example, bool own, std::int32_t number, TokenBatch& batch, std::int64_t row) const;
  nlohmann::json task() const;

  QueryConfig config_;
  SourceShape shape_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<std::int32_t> before_;
  std::vector<Document> documents_;  // that have a query
  // With a contrast: a group of different queries for where too many draws make none, and these queries.
  std::vector<Choice> reserve_;
  std::set<std::vector<std::int32_t>> reserved_;
  std::string checksum_;  // of titles and texts
  std::int64_t steps_ = 0;
};

}  // namespace palimpsest
