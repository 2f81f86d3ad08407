// What the tests of import and export share: a folder with a small Llama, and runs beside it.
#pragma once

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "launch/exchange/import_model.h"
#include "layers/decode_state.h"
#include "tests/launch/exchange/model_folder.h"
#include "tests/tensors.h"

namespace palimpsest {

class Exchange : public ::testing::Test {
 protected:
  Exchange() { write_model_folder(folder_, tiny_description(), released_tensors(*model_)); }

  using Path = std::filesystem::path;

  ImportResult import(const Path& folder, const std::string& run, std::vector<std::string> overrides = {},
                      const std::string& tokenizer = "bytes") {
    return import_model({folder, directory_ / run, std::move(overrides), tokenizer}, *communicator_);
  }
  SavedModel open(const std::string& run) { return open_model(directory_ / run, 0, *communicator_, pool_); }
  /// The message with which the folder is refused, which leaves nothing behind.
  std::string refusal(const Path& folder) {
    std::string message = message_of([&] { import(folder, "refused"); });
    EXPECT_FALSE(std::filesystem::exists(directory_ / "refused"));
    return message;
  }
  /// The tensors of a Llama without, or with another, `name`.
  StateDictionary tensors_but(const std::string& name, const Tensor& other = {}) {
    StateDictionary changed;
    for (const auto& entry : released_tensors(*model_)) {
      if (entry.name != name) changed.add(entry.name, entry.tensor);
    }
    if (other) changed.add(name, other);
    return changed;
  }
  static std::vector<float> values_of(LanguageModel& model, const std::string& name) {
    const auto values = model.parameters().find(name).master.values<float>();
    return {values.begin(), values.end()};
  }
  static void expect_equal(LanguageModel& a, LanguageModel& b) {
    ASSERT_EQ(a.parameters().size(), b.parameters().size());
    for (const Parameter& parameter : a.parameters()) {
      EXPECT_EQ(values_of(a, parameter.name), values_of(b, parameter.name)) << parameter.name;
    }
  }
  /// Logits after every token.
  std::vector<double> logits(const LanguageModel& model, const std::vector<std::int32_t>& tokens, bool decoded) {
    std::vector<double> all;
    DecodeState state(model, pool_);
    if (!decoded) return state.advance(std::span(tokens)).to_doubles();
    for (const std::int32_t token : tokens) all = state.advance(token).to_doubles();
    return all;
  }

  TemporaryDirectory directory_;
  MemoryPool pool_;
  std::unique_ptr<LanguageModel> model_ = tiny_model(pool_);
  std::unique_ptr<Communicator> communicator_ = single_process();
  Path folder_ = directory_ / "folder";
};

}  // namespace palimpsest
