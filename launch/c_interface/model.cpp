// Models.
#include <algorithm>

#include <fmt/ranges.h>

#include "launch/c_interface/handles.h"

using namespace palimpsest::c_interface;
using palimpsest::ConfigError;

namespace {

/// Copies values where there is room for all of them, and tells their number.
template <class Values, class T>
void hand_out(const Values& values, T* target, std::size_t capacity, std::size_t& count) {
  if (values.size() <= capacity) std::ranges::copy(values, elements(target, values.size(), "the target").data());
  count = values.size();
}

/// Where the system cannot start so many, OpenMP ends the process.
constexpr std::int64_t most_threads = 1024;

}  // namespace

int palimpsest_model_open(const char* path, int64_t step, int64_t threads, PalimpsestModel** model) {
  return guarded([&] {
    required(path, "path");
    if (step < 0) throw ConfigError(fmt::format("step is {}: expected 0 or more", step));
    if (threads < 0 || threads > most_threads) {
      throw ConfigError(fmt::format("threads is {}: expected 0 to {}", threads, most_threads));
    }
    auto& result = required(model, "model");
    auto opened = std::make_unique<PalimpsestModel>();
    opened->shared.threads = static_cast<int>(threads);
    const Threads computing(opened->shared);
    opened->shared.model = std::make_shared<palimpsest::Model>(path, step);
    opened->warnings = fmt::format("{}", fmt::join(opened->shared.model->warnings(), "\n"));
    result = opened.release();
  });
}

void palimpsest_model_close(PalimpsestModel* model) { delete model; }

int palimpsest_model_info(const PalimpsestModel* model, PalimpsestModelInfo* info) {
  return guarded([&] {
    const palimpsest::Model& of = *required(model, "model").shared.model;
    const palimpsest::ModelConfig& config = of.language_model().config();
    required(info, "info") = {.vocabulary = config.vocab_size,
                              .tokens = of.tokenizer().vocab_size(),
                              .layers = config.num_layers,
                              .segment_length = config.segment_length,
                              .parameters = of.language_model().parameters().elements(),
                              .step = of.progress().step,
                              .begin_token = of.tokenizer().begin_id(),
                              .end_token = of.tokenizer().end_id()};
  });
}

int palimpsest_model_warnings(const PalimpsestModel* model, const char** warnings) {
  return guarded([&] { required(warnings, "warnings") = required(model, "model").warnings.c_str(); });
}

int palimpsest_model_encode(const PalimpsestModel* model, const char* text, size_t bytes, int32_t* tokens,
                            size_t capacity, size_t* count) {
  return guarded([&] {
    const std::string_view content = required_text(text, bytes);
    const palimpsest::Tokenizer& tokenizer = required(model, "model").shared.model->tokenizer();
    hand_out(tokenizer.encode(content), tokens, capacity, required(count, "count"));
  });
}

int palimpsest_model_decode(const PalimpsestModel* model, const int32_t* tokens, size_t count, char* text,
                            size_t capacity, size_t* bytes) {
  return guarded([&] {
    const palimpsest::Tokenizer& tokenizer = required(model, "model").shared.model->tokenizer();
    hand_out(tokenizer.decode(elements(tokens, count, "tokens")), text, capacity, required(bytes, "bytes"));
  });
}
