#include "launch/training/training_state.h"

#include <charconv>
#include <cstring>
#include <limits>
#include <span>

#include <fmt/format.h>

#include "core/error.h"
#include "core/printable.h"

namespace palimpsest {

namespace {

std::string to_hexadecimal(std::string_view bytes) {
  std::string text;
  text.reserve(2 * bytes.size());
  for (const char byte : bytes) fmt::format_to(std::back_inserter(text), "{:02x}", static_cast<unsigned char>(byte));
  return text;
}

std::string from_hexadecimal(const std::string& text) {
  if (text.size() % 2 != 0) throw DataError("not hexadecimal: an odd number of digits");
  std::string bytes(text.size() / 2, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    unsigned char value = 0;
    const char* digits = text.data() + 2 * i;
    if (std::from_chars(digits, digits + 2, value, 16).ptr != digits + 2) throw DataError("not hexadecimal");
    bytes[i] = static_cast<char>(value);
  }
  return bytes;
}

/// A whole number of at least `least`. The library's own conversion takes fractions and wraps what is too large.
template <class T = std::int64_t>
T whole_number(const nlohmann::json& json, const char* key, T least = 0) {
  const nlohmann::json& value = json.at(key);
  const bool wraps =
      value.is_number_unsigned() && value.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max();
  if (!value.is_number_integer() || wraps || value.get<std::int64_t>() < least ||
      value.get<std::int64_t>() > std::numeric_limits<T>::max()) {
    throw DataError(
        fmt::format("\"{}\" is {}, expected a whole number of at least {}", key, printable(value.dump()), least));
  }
  return value.get<T>();
}

std::vector<std::int64_t> whole_numbers(const nlohmann::json& json, const char* key) {
  std::vector<std::int64_t> result;
  for (const nlohmann::json& value : json.at(key)) {
    result.push_back(whole_number<std::int64_t>({{key, value}}, key, -1));
  }
  return result;
}

std::vector<double> numbers(const nlohmann::json& json, const char* key) {
  std::vector<double> result;
  for (const nlohmann::json& value : json.at(key)) {
    if (!value.is_number()) {
      throw DataError(fmt::format("\"{}\" holds {}, expected numbers", key, printable(value.dump())));
    }
    result.push_back(value.get<double>());
  }
  return result;
}

/// Calls `visit(name, tensor)` for what every lane of the memories holds, lanes in order.
template <class Visit>
void visit_lanes(const std::vector<MemoryState>& memories, std::int64_t first_lane, const Visit& visit) {
  std::int64_t lane = first_lane;
  for (const MemoryState& memory : memories) {
    for (std::int64_t i = 0; i < memory.lanes(); ++i, ++lane) {
      for (std::size_t layer = 0; layer < memory.layers.size(); ++layer) {
        const std::string prefix = fmt::format("memory/lane-{:05}/layers.{}", lane, layer);
        visit(prefix + "/matrix", memory.layers[layer].matrix.rows(i, i + 1));
        visit(prefix + "/norm", memory.layers[layer].norm.rows(i, i + 1));
      }
    }
  }
}

}  // namespace

nlohmann::json to_json(const TrainingState& state) {
  return {{"step", state.step},
          {"optimizer_step", state.optimizer_step},
          {"tokens", state.tokens},
          {"skipped_steps", state.skipped_steps},
          {"consecutive_skips", state.consecutive_skips},
          {"loss_window", state.loss_window},
          {"cursor", to_json(state.cursor)},
          {"memory_documents", state.memory_documents},
          {"tokenizer", {{"identity", state.tokenizer_identity}, {"model", to_hexadecimal(state.tokenizer_model)}}},
          {"ranks", state.ranks},
          {"threads", state.threads},
          {"instruction_set", state.instruction_set}};
}

TrainingState training_state_of(const Checkpoint& checkpoint) {
  const nlohmann::json& json = checkpoint.training_state();
  try {
    TrainingState state;
    state.step = whole_number(json, "step");
    state.optimizer_step = whole_number(json, "optimizer_step");
    state.tokens = whole_number(json, "tokens");
    state.skipped_steps = whole_number(json, "skipped_steps");
    if (json.contains("consecutive_skips")) {  // not in earlier checkpoints
      state.consecutive_skips = whole_number(json, "consecutive_skips");
      state.loss_window = numbers(json, "loss_window");
    }
    state.cursor = stream_cursor_from_json(json.at("cursor"));
    state.memory_documents = whole_numbers(json, "memory_documents");
    state.tokenizer_identity = json.at("tokenizer").at("identity").get<std::string>();
    state.tokenizer_model = from_hexadecimal(json.at("tokenizer").at("model").get<std::string>());
    state.ranks = whole_number<int>(json, "ranks", 1);
    state.threads = whole_number<int>(json, "threads", 1);
    state.instruction_set = json.at("instruction_set").get<std::string>();
    return state;
  } catch (const nlohmann::json::exception& error) {
    throw FileError(
        fmt::format("{}: the training state is not as expected: {}", checkpoint.path().string(), error.what()));
  } catch (const DataError& error) {
    throw FileError(
        fmt::format("{}: the training state is not as expected: {}", checkpoint.path().string(), error.what()));
  }
}

StateDictionary memory_entries(const std::vector<MemoryState>& memories, std::int64_t first_lane) {
  StateDictionary entries;
  visit_lanes(memories, first_lane, [&](std::string name, Tensor tensor) { entries.add(std::move(name), tensor); });
  return entries;
}

std::vector<std::int64_t> gather_memory_documents(const std::vector<MemoryState>& memories,
                                                  Communicator& communicator) {
  std::vector<std::int64_t> mine, all;
  for (const MemoryState& memory : memories) mine.insert(mine.end(), memory.documents.begin(), memory.documents.end());
  for (const std::vector<std::byte>& bytes : communicator.all_gather(std::as_bytes(std::span(mine)))) {
    std::vector<std::int64_t> theirs(bytes.size() / sizeof(std::int64_t));
    if (!theirs.empty()) std::memcpy(theirs.data(), bytes.data(), bytes.size());
    all.insert(all.end(), theirs.begin(), theirs.end());
  }
  return all;
}

void set_memory_documents(const TrainingState& state, const std::filesystem::path& path, std::int64_t first_lane,
                          std::vector<MemoryState>& memories) {
  auto lane = static_cast<std::size_t>(first_lane);
  for (MemoryState& memory : memories) {
    for (std::int64_t& document : memory.documents) {
      if (lane >= state.memory_documents.size()) {
        throw FileError(fmt::format("{}: holds the memory of {} lanes, not of lane {}", path.string(),
                                    state.memory_documents.size(), lane));
      }
      document = state.memory_documents[lane++];
    }
  }
}

}  // namespace palimpsest
