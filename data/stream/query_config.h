// Options of training on queries that documents ask for themselves.
#pragma once

#include <cstdint>
#include <string>

namespace palimpsest {

/// How often each kind of query is drawn, beside the others, of the documents that have it.
struct QueryShares {
  double titles = 1;           // the title, of the text without it
  double first_sentences = 1;  // the first sentence, of the rest
  double sentences = 2;        // any sentence, of the rest (inverse cloze)
};

/// Several documents that are asked the same queries.
struct QueryContrast {
  double weight = 0;           // beside the loss of the queries; 0: a document is asked its own query alone
  std::int64_t documents = 4;  // that are asked each other's queries, too
  double temperature = 0.1;    // of the softmax over their mean log-likelihoods, nats a token
};

struct QueryConfig {
  std::string corpus = {};     // .jsonl, a document a line: "text" and perhaps "title"
  std::string tokenizer = {};  // as for `palimpsest pack`
  std::string before = "\\n";  // the text between document and query; \n, \t and \\ are a line end, tab and backslash
  QueryShares shares = {};
  double left_in = 0.1;  // share of the sentences that also stay in the document
  double text_loss = 0;  // weight of a document's tokens in the loss, beside a query's
  QueryContrast contrast = {};
};

}  // namespace palimpsest
