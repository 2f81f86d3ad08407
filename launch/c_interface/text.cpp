// Texts.
#include <algorithm>
#include <cstddef>
#include <string_view>

#include "launch/c_interface/handles.h"
#include "launch/c_interface/sized_struct.h"

using namespace palimpsest::c_interface;
using palimpsest::ConfigError;
using palimpsest::Generator;

static_assert(palimpsest_finish_length == static_cast<int>(palimpsest::Finish::length) &&
              palimpsest_finish_end == static_cast<int>(palimpsest::Finish::end) &&
              palimpsest_finish_stop == static_cast<int>(palimpsest::Finish::stop) &&
              palimpsest_finish_interrupted == static_cast<int>(palimpsest::Finish::interrupted));

namespace {

/// A new handle on the text that `make` gives of a model.
template <class Make>
int make_text(const PalimpsestModel* model, PalimpsestText** text, Make&& make) {
  return guarded([&] {
    const SharedModel& shared = required(model, "model").shared;
    auto& result = required(text, "text");
    const Threads computing(shared);
    result = new PalimpsestText(shared, make(*shared.model));
  });
}

/// What `action` does with the text, while no other thread does anything with it.
template <class Action>
int with_text(PalimpsestText* text, Action&& action) {
  return guarded([&] {
    PalimpsestText& found = required(text, "text");
    const std::scoped_lock lock(found.mutex);
    if (found.busy) throw ConfigError("a callback has called a function with the text that it was called for");
    struct Busy {
      explicit Busy(bool& flag) : flag_(flag) { flag_ = true; }
      ~Busy() { flag_ = false; }
      Busy(const Busy&) = delete;
      Busy& operator=(const Busy&) = delete;

     private:
      bool& flag_;
    } const busy(found.busy);
    const Threads computing(found.shared);
    action(found);
  });
}

palimpsest::GenerationOptions options_of(const PalimpsestGeneration& given) {
  palimpsest::GenerationOptions options{.sampling = {.temperature = given.temperature,
                                                     .top_k = given.top_k,
                                                     .top_p = given.top_p,
                                                     .min_p = given.min_p,
                                                     .repetition_penalty = given.repetition_penalty,
                                                     .seed = given.seed},
                                        .max_tokens = given.max_tokens};
  if (given.max_tokens < 0) throw ConfigError(fmt::format("max_tokens is {}: expected 0 or more", given.max_tokens));
  for (const char* stop : elements(given.stop, given.stop_count, "stop")) {
    options.stop.emplace_back(&required(stop, "a stop text"));
  }
  return options;
}

/// The size of the first version of this struct, up to its last member: it stays when members are added.
constexpr std::size_t least_decoding = offsetof(PalimpsestDecoding, length_penalty) + sizeof(double);

PalimpsestDecoding default_decoding() {
  const palimpsest::GenerationOptions defaults;
  return {.size = sizeof(PalimpsestDecoding),
          .min_tokens = defaults.sampling.min_tokens,
          .no_repeat_ngram = defaults.sampling.no_repeat_ngram,
          .beams = defaults.beams,
          .length_penalty = defaults.length_penalty};
}

palimpsest::GenerationOptions options_of(const PalimpsestGeneration& given, const PalimpsestDecoding& of_caller) {
  const PalimpsestDecoding decoding = from_caller(of_caller, default_decoding(), least_decoding, "decoding");
  palimpsest::GenerationOptions options = options_of(given);
  options.sampling.min_tokens = decoding.min_tokens;
  options.sampling.no_repeat_ngram = decoding.no_repeat_ngram;
  options.beams = decoding.beams;
  options.length_penalty = decoding.length_penalty;
  return options;
}

using Write = int (*)(void* user, const char* text, size_t bytes);

/// Throws ConfigError on null.
void require_callback(Write write) {
  if (write == nullptr) throw ConfigError("write is null");
}

void generate(PalimpsestText& text, const palimpsest::GenerationOptions& options, Write write, void* user,
              int64_t* tokens, int* finish) {
  require_callback(write);
  bool goes_on = true;
  const palimpsest::GenerationResult result = text.generator.generate(
      options,
      [&](std::string_view piece) {
        if (!piece.empty()) goes_on = write(user, piece.data(), piece.size()) == 0;
      },
      [&] { return goes_on; });
  if (tokens != nullptr) *tokens = result.tokens;
  if (finish != nullptr) *finish = static_cast<int>(result.finish);
}

}  // namespace

int palimpsest_text_new(const PalimpsestModel* model, PalimpsestText** text) {
  return make_text(model, text, [](palimpsest::Model& of) { return of.new_text(); });
}

int palimpsest_text_open(const PalimpsestModel* model, const char* path, PalimpsestText** text) {
  return make_text(model, text, [&](palimpsest::Model& of) { return of.open_text(&required(path, "path")); });
}

int palimpsest_text_from_state(const PalimpsestModel* model, PalimpsestState* state, PalimpsestText** text) {
  return make_text(model, text, [&](palimpsest::Model& of) {
    PalimpsestState& found = required(state, "state");
    const std::scoped_lock lock(found.mutex);
    std::vector<palimpsest::StateArray> arrays;
    for (const auto& array : found.arrays) arrays.push_back(*array);
    const palimpsest::GeneratorFile content = palimpsest::from_arrays(arrays, of.pool());
    require_same(content.identity, identity_of(of.language_model(), of.tokenizer()), "the state");
    return Generator(of.language_model(), of.tokenizer(), of.pool(), content.state);
  });
}

int palimpsest_text_copy(PalimpsestText* text, PalimpsestText** copy) {
  return with_text(text,
                   [&](PalimpsestText& of) { required(copy, "copy") = new PalimpsestText(of.shared, of.generator); });
}

void palimpsest_text_close(PalimpsestText* text) { delete text; }

int palimpsest_text_append(PalimpsestText* text, const char* bytes, size_t count) {
  return with_text(text, [&](PalimpsestText& of) { of.generator.append(required_text(bytes, count)); });
}

int palimpsest_text_append_tokens(PalimpsestText* text, const int32_t* tokens, size_t count) {
  return with_text(text, [&](PalimpsestText& of) { of.generator.append_tokens(elements(tokens, count, "tokens")); });
}

int palimpsest_text_read(PalimpsestText* text) {
  return with_text(text, [](PalimpsestText& of) { of.generator.read(); });
}

int palimpsest_text_position(PalimpsestText* text, int64_t* read, int64_t* unread) {
  return with_text(text, [&](PalimpsestText& of) {
    std::int64_t& tokens = required(read, "read");
    required(unread, "unread") = of.generator.unread();
    tokens = of.generator.tokens();
  });
}

int palimpsest_text_logits(PalimpsestText* text, float* logits, size_t count) {
  return with_text(text, [&](PalimpsestText& of) {
    const auto vocabulary = static_cast<std::size_t>(of.generator.model().config().vocab_size);
    if (count != vocabulary) {
      throw ConfigError(fmt::format("count is {}: expected {}, the model's vocabulary", count, vocabulary));
    }
    required(logits, "logits");
    std::ranges::copy(of.generator.logits(), logits);
  });
}

void palimpsest_generation_defaults(PalimpsestGeneration* options) {
  if (options == nullptr) return;
  const palimpsest::GenerationOptions defaults;
  const palimpsest::SamplingOptions& sampling = defaults.sampling;
  *options = {.max_tokens = defaults.max_tokens,
              .temperature = sampling.temperature,
              .top_k = sampling.top_k,
              .top_p = sampling.top_p,
              .min_p = sampling.min_p,
              .repetition_penalty = sampling.repetition_penalty,
              .seed = sampling.seed,
              .stop = nullptr,
              .stop_count = 0};
}

int palimpsest_text_generate(PalimpsestText* text, const PalimpsestGeneration* options,
                             int (*write)(void* user, const char* text, size_t bytes), void* user, int64_t* tokens,
                             int* finish) {
  return with_text(text, [&](PalimpsestText& of) {
    generate(of, options_of(required(options, "options")), write, user, tokens, finish);
  });
}

int palimpsest_decoding_defaults(PalimpsestDecoding* decoding, size_t size) {
  return guarded(
      [&] { to_caller(required(decoding, "decoding"), default_decoding(), size, least_decoding, "decoding"); });
}

int palimpsest_text_generate_decoding(PalimpsestText* text, const PalimpsestGeneration* options,
                                      const PalimpsestDecoding* decoding,
                                      int (*write)(void* user, const char* text, size_t bytes), void* user,
                                      int64_t* tokens, int* finish) {
  return with_text(text, [&](PalimpsestText& of) {
    generate(of, options_of(required(options, "options"), required(decoding, "decoding")), write, user, tokens, finish);
  });
}

int palimpsest_text_flush(PalimpsestText* text, int (*write)(void* user, const char* text, size_t bytes), void* user) {
  return with_text(text, [&](PalimpsestText& of) {
    require_callback(write);
    const std::string held = of.generator.flush();
    if (!held.empty()) write(user, held.data(), held.size());
  });
}

int palimpsest_text_save(PalimpsestText* text, const char* path) {
  return with_text(text,
                   [&](PalimpsestText& of) { palimpsest::Model::save_text(&required(path, "path"), of.generator); });
}

int palimpsest_text_state(PalimpsestText* text, PalimpsestState** state) {
  return with_text(text, [&](PalimpsestText& of) {
    auto& result = required(state, "state");
    const Generator& generator = of.generator;
    auto made = std::make_unique<PalimpsestState>();
    for (palimpsest::StateArray& array :
         palimpsest::to_arrays({identity_of(generator.model(), generator.tokenizer()), generator.state()})) {
      made->arrays.push_back(std::make_unique<palimpsest::StateArray>(std::move(array)));
    }
    result = made.release();
  });
}
