// The keys of `data`.
#include "configs/schema.h"

namespace palimpsest {

using namespace schema;

namespace {

constexpr std::int64_t max_digits = 1'000;
constexpr std::int64_t max_keys = 16;
constexpr std::int64_t max_questions = 1000;
constexpr std::int64_t max_repetitions = 1'000'000'000;

void describe_prompts(PasskeyConfig& passkey, std::string_view tokenizer, SchemaVisitor& visitor) {
  visitor.field("tokenizer", passkey.tokenizer, Text{}, tokenizer);
  visitor.field("filler", passkey.filler, Text{},
                "Token file whose text hides the keys. Empty: the paper's sentences over and over.");
  visitor.field("digits", passkey.digits, between<std::int64_t>(1, max_digits), "Of a key.");
  visitor.field("keys", passkey.keys, between<std::int64_t>(1, max_keys),
                "Hidden in a prompt, which asks for one of them. Of several each has a name before its digits.");
  visitor.field("updates", passkey.updates, between<std::int64_t>(0, 100),
                "How often each key is replaced by another one further on; the last one is asked for.");
  visitor.field("across_borders", passkey.across_borders, between(0.0, 1.0),
                "Share of the keys that are moved onto a border of two segments.");
  visitor.field("question_anywhere", passkey.question_anywhere, between(0.0, 1.0),
                "Share of the questions that stand anywhere in the last segment, not at its end.");
  visitor.field("text_loss", passkey.text_loss, at_least(0.0),
                "Weight of the mean loss over all tokens; that over the answer has weight 1.");
  visitor.field("advance_at", passkey.advance_at, between(0.0, 1.0),
                "The next stage begins when this share of the answers' tokens was the likeliest ...");
  visitor.field("advance_over", passkey.advance_over, between<std::int64_t>(1, max_count), "... over so many steps.");
  visitor.field("earlier_lengths", passkey.earlier_lengths, between(0.0, 1.0),
                "Share of the steps whose prompts are as long as those of a stage so far, drawn anew.");
  visitor.field("virtual_length", passkey.virtual_length, between<std::int64_t>(1, max_repetitions),
                "Where `stages` is empty: prompts have 2, 4, 8 ... segments up to the sequence's, and from the third "
                "stage on segments of filler write to the memory as up to 10, 100 ... repetitions would, up to this.");
  visitor.list("stages", passkey.stages, "The curriculum. Empty: it follows from `virtual_length`.");
}

void describe_queries(QueryConfig& queries, SchemaVisitor& visitor) {
  visitor.field("corpus", queries.corpus, Text{},
                "A .jsonl file, a document a line: `text`, and perhaps `title`. All of it is held in memory.");
  visitor.field("tokenizer", queries.tokenizer, Text{}, "As for `palimpsest pack --tokenizer`.");
  visitor.field(
      "before", queries.before, Text{},
      "Stands between document and query, as `--before` of `palimpsest search` does. `\\n`, `\\t` and `\\\\` are a "
      "line end, a tab and a backslash.");
  visitor.field("titles", queries.shares.titles, at_least(0.0),
                "How often a title is the query, beside the other two, and the text without it the document.");
  visitor.field("first_sentences", queries.shares.first_sentences, at_least(0.0),
                "How often the first sentence is, and the rest the document.");
  visitor.field("sentences", queries.shares.sentences, at_least(0.0), "How often any sentence is.");
  visitor.field("left_in", queries.left_in, between(0.0, 1.0), "Share of those that stay in the document, too.");
  visitor.field("text_loss", queries.text_loss, at_least(0.0),
                "How much predicting a document's own tokens weighs, beside 1 for those of its query.");
  visitor.field(
      "contrast", queries.contrast.weight, at_least(0.0),
      "Weight of the cross-entropy over documents that are asked each other's queries, beside the loss of the "
      "queries. 0: none are.");
  visitor.field("contrast_documents", queries.contrast.documents, between<std::int64_t>(2, 64), "How many they are.");
  visitor.field("contrast_temperature", queries.contrast.temperature, positive(),
                "By which a query's mean log-likelihoods, nats a token, are divided before the softmax.");
}

}  // namespace

void describe(PasskeyStage& stage, SchemaVisitor& visitor) {
  visitor.field("segments", stage.segments, between<std::int64_t>(1, max_length), "Of a prompt.");
  visitor.field("virtual_length", stage.virtual_length, between<std::int64_t>(1, max_repetitions),
                "The most repetitions that a segment of filler stands for.");
  visitor.field("keys", stage.keys, between<std::int64_t>(0, max_keys), "Hidden in a prompt. 0: all.");
  visitor.field("questions", stage.questions, between<std::int64_t>(1, max_questions),
                "Asked one after the other at the end of a prompt, each about any of its keys; no more than its last "
                "segment holds. Many teach faster which key belongs to which name.");
}

void describe(MixtureEntry& entry, SchemaVisitor& visitor) {
  visitor.field("kind", entry.kind, Choices{Choice{"text", DataKind::text}, Choice{"passkey", DataKind::passkey}},
                "`text`, a token file, or `passkey`, made up prompts.");
  visitor.field("name", entry.name, Text{}, "In logs. Empty: the file's name without its ending, or `passkey`.");
  visitor.field("weight", entry.weight, between(1e-6, 1e6),
                "Its part of the tokens: this weight over that of all sources.");
  visitor.options_of("text", entry.kind == DataKind::text, [&](SchemaVisitor& options) {
    options.field("file", entry.file, Text{}, "Token file.");
    options.field("virtual_length", entry.virtual_length, between(1.0, static_cast<double>(max_repetitions)),
                  "As `virtual_length` below, for the tokens of this source.");
  });
  visitor.options_of("passkey", entry.kind == DataKind::passkey, [&](SchemaVisitor& options) {
    describe_prompts(entry.passkey,
                     "As for `palimpsest pack --tokenizer`. Empty: that of the text in the mixture, or without any "
                     "`passkey`. With a `filler` file its tokenizer is taken.",
                     options);
  });
}

void describe(DataConfig& data, SchemaVisitor& visitor) {
  visitor.field(
      "kind", data.kind,
      Choices{Choice{"text", DataKind::text}, Choice{"passkey", DataKind::passkey},
              Choice{"queries", DataKind::queries}},
      "What is trained on: `text`, a token file; `passkey`, prompts made up on the way that hide keys in filler "
      "and ask for one (docs/passkey.md); `queries`, documents and parts of them to find them by (docs/search.md).");
  visitor.options_of("text", data.kind == DataKind::text, [&](SchemaVisitor& options) {
    options.field_or_list("train", data.train, Text{}, data.mixture,
                          "The training split. A list of sources instead mixes them by their weights (docs/data.md).");
    options.field(
        "virtual_length", data.virtual_length, between(1.0, static_cast<double>(max_repetitions)),
        "The most repetitions that a segment stands for when it writes to the memory; drawn anew for each. 1: "
        "none, the text is what it is.");
    options.field(
        "segments_before_targets", data.segments_before_targets, between<std::int64_t>(0, max_length),
        "K: of a document with a masked prompt, as one of a summary, a step begins exactly K segments before the "
        "first target, through which its gradients flow, and lanes read whole documents (docs/data.md). 0: "
        "steps lie on a fixed grid, whatever the documents are.");
  });
  visitor.options_of("passkey", data.kind == DataKind::passkey, [&](SchemaVisitor& options) {
    describe_prompts(
        data.passkey,
        "As for `palimpsest pack --tokenizer`; `passkey` is the list of the prompts' own words, digits and names. "
        "With a `filler` file its tokenizer is taken.",
        options);
  });
  visitor.options_of("queries", data.kind == DataKind::queries,
                     [&](SchemaVisitor& options) { describe_queries(data.queries, options); });
  visitor.field("validation", data.validation, Text{},
                "The validation split, evaluated while training. Empty: no evaluation while training.");
  visitor.field("test", data.test, Text{}, "The test split, for `palimpsest eval`.");
}

}  // namespace palimpsest
