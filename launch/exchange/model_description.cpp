#include "launch/exchange/model_description.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <string_view>

#include <fmt/format.h>

#include "configs/schema.h"
#include "core/error.h"
#include "core/io/json_file.h"
#include "core/printable.h"
#include "launch/training/state_fields.h"

namespace palimpsest {

namespace {

constexpr std::string_view own_key = "palimpsest";

/// Of no consequence for what is computed without dropout.
constexpr auto harmless = std::to_array<std::string_view>(
    {"architectures", "_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache", "attention_dropout",
     "initializer_range", "pretraining_tp", "pad_token_id", "max_length", "id2label", "label2id"});

/// The object of config.json, and which of its keys have been asked for.
class Fields {
 public:
  Fields(nlohmann::json json, std::string name) : json_(std::move(json)), name_(std::move(name)) {}

  [[noreturn]] void fail(const std::string& what) const { throw FileError(fmt::format("{}: {}", name_, what)); }
  const nlohmann::json& json() const { return json_; }

  /// Null when the key is absent, or null.
  const nlohmann::json* find(const char* key) {
    used_.insert(key);
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }
  std::int64_t whole(const char* key, std::int64_t most) {
    if (find(key) == nullptr) fail(fmt::format("has no \"{}\"", key));
    try {
      return whole_number(json_, key, 1, most);
    } catch (const DataError& error) {
      fail(fmt::format("{}, at most {}", error.what(), most));
    }
  }
  std::int64_t whole(const char* key, std::int64_t most, std::int64_t otherwise) {
    return find(key) == nullptr ? otherwise : whole(key, most);
  }
  double number(const char* key, double otherwise) {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_number()) fail(fmt::format("\"{}\" is {}, expected a number", key, printable(value->dump())));
    return value->get<double>();
  }
  bool flag(const char* key) {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return false;
    if (!value->is_boolean()) fail(fmt::format("\"{}\" is {}, expected true or false", key, printable(value->dump())));
    return value->get<bool>();
  }
  std::string text(const char* key, const char* otherwise) {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_string()) fail(fmt::format("\"{}\" is {}, expected a text", key, printable(value->dump())));
    return value->get<std::string>();
  }
  /// Throws unless the key is absent or has this value.
  void require(const char* key, const nlohmann::json& only, std::string_view why) {
    const nlohmann::json* value = find(key);
    if (value == nullptr || *value == only) return;
    fail(fmt::format("\"{}\" is {}, supported is {}: {}", key, printable(value->dump()), only.dump(), why));
  }
  std::vector<std::string> unused() const {
    std::vector<std::string> keys;
    for (const auto& [key, value] : json_.items()) {
      if (!used_.contains(key) && std::ranges::count(harmless, key) == 0) keys.push_back(printable(key));
    }
    return keys;
  }

 private:
  nlohmann::json json_;
  std::string name_;
  std::set<std::string, std::less<>> used_;
};

/// transformers' model of a type, and what it takes where a file says nothing.
struct ModelType {
  std::string_view name;
  std::int64_t context;                          // max_position_embeddings
  std::int64_t num_kv_heads = 0, head_size = 0;  // 0: as many as query heads; hidden_size / num_heads
  bool qkv_bias = false, qk_norm = false;
};

constexpr auto model_types = std::to_array<ModelType>(
    {{.name = "llama", .context = 2048},
     {.name = "mistral", .context = 131072, .num_kv_heads = 8},
     {.name = "qwen2", .context = 32768, .num_kv_heads = 32, .qkv_bias = true},
     {.name = "qwen3", .context = 32768, .num_kv_heads = 32, .head_size = 128, .qk_norm = true}});

const ModelType& read_type(Fields& fields) {
  const std::string name = fields.text("model_type", "");
  const auto* const type = std::ranges::find(model_types, name, &ModelType::name);
  if (type != model_types.end()) return *type;
  fields.fail(fmt::format("\"model_type\" is \"{}\"; supported are llama, mistral, qwen2 and qwen3", printable(name)));
}

/// What would make the model compute something else.
void refuse_what_differs(Fields& fields, const ModelType& type) {
  const nlohmann::json no = false;
  // transformers' Qwen2 has its three biases whatever the file says.
  if (!type.qkv_bias) fields.require("attention_bias", no, "this model's output projection has no bias");
  fields.require("mlp_bias", no, "this model's feed-forward has no biases");
  fields.require("hidden_act", "silu", "the feed-forward is SwiGLU");
  fields.require("partial_rotary_factor", 1.0, "RoPE turns whole heads");
  for (const char* key : {"quantization_config", "auto_map"}) {
    if (fields.find(key) != nullptr) fields.fail(fmt::format("has \"{}\", which is not supported", key));
  }
}

RotaryScaling read_scaling(const nlohmann::json& json, Fields& fields) {
  if (!json.is_object()) fields.fail(fmt::format("\"rope_scaling\" is {}", printable(json.dump())));
  RotaryScaling scaling;
  const auto number = [&](const char* key) {
    const auto found = json.find(key);
    if (found == json.end() || !found->is_number() || !(found->get<double>() > 0)) {
      fields.fail(fmt::format("\"rope_scaling\" has no positive number \"{}\"", key));
    }
    return found->get<double>();
  };
  const auto name = json.contains("rope_type") ? json.find("rope_type") : json.find("type");
  const std::string kind = name != json.end() && name->is_string() ? name->get<std::string>() : "";
  if (kind == "default") return scaling;
  if (kind != "linear" && kind != "llama3") {
    fields.fail(
        fmt::format("\"rope_scaling\" is of type \"{}\"; supported are default, linear and llama3", printable(kind)));
  }
  scaling.kind = kind == "linear" ? RotaryScalingKind::linear : RotaryScalingKind::llama3;
  scaling.factor = number("factor");
  if (kind == "linear") return scaling;
  scaling.low_frequency_factor = number("low_freq_factor");
  scaling.high_frequency_factor = number("high_freq_factor");
  try {
    scaling.original_length = whole_number(json, "original_max_position_embeddings", 1, schema::max_length);
  } catch (const std::exception& error) {
    fields.fail(fmt::format("\"rope_scaling\": {}", printable(error.what())));
  }
  return scaling;
}

/// Newer files have one object "rope_parameters", the base within, in place of "rope_theta" and "rope_scaling".
void read_rotary(Fields& fields, ModelConfig& model) {
  model.rope_theta = fields.number("rope_theta", 10000);
  if (const nlohmann::json* scaling = fields.find("rope_scaling")) model.rope_scaling = read_scaling(*scaling, fields);
  const nlohmann::json* parameters = fields.find("rope_parameters");
  if (parameters == nullptr) return;
  const RotaryScaling scaling = read_scaling(*parameters, fields);
  const auto theta = parameters->find("rope_theta");
  if (theta == parameters->end() || !theta->is_number())
    fields.fail("\"rope_parameters\" has no number \"rope_theta\"");
  const bool twice = fields.find("rope_theta") != nullptr || fields.find("rope_scaling") != nullptr;
  if (twice && (model.rope_theta != theta->get<double>() || model.rope_scaling != scaling)) {
    fields.fail("\"rope_parameters\" says otherwise than \"rope_theta\" and \"rope_scaling\"");
  }
  model.rope_theta = theta->get<double>();
  model.rope_scaling = scaling;
}

/// Of Qwen's layers, how many see a sliding window alone. Without "layer_types" it would be all from the one numbered
/// "max_window_layers" on, or all before it: transformers has had it both ways.
std::int64_t sliding_layers(Fields& fields, std::int64_t layers, bool slides) {
  fields.find("max_window_layers");
  const nlohmann::json* types = fields.find("layer_types");
  if (types == nullptr && slides) {
    fields.fail("\"use_sliding_window\" is true without \"layer_types\", which would say of what layers");
  }
  if (types == nullptr) return 0;
  if (!types->is_array() || static_cast<std::int64_t>(types->size()) != layers) {
    fields.fail(fmt::format("\"layer_types\" is {}, expected a list of {}", printable(types->dump()), layers));
  }
  const auto sliding = std::ranges::count(*types, nlohmann::json("sliding_attention"));
  if (sliding + std::ranges::count(*types, nlohmann::json("full_attention")) != layers) {
    fields.fail(fmt::format("\"layer_types\" is {}, supported are full_attention and sliding_attention",
                            printable(types->dump())));
  }
  if (sliding > 0 && !slides) fields.fail("\"layer_types\" has sliding_attention without \"use_sliding_window\"");
  return sliding;
}

/// Tokens that a token of every layer attends to at most; 0: all.
std::int64_t read_window(Fields& fields, const ModelType& type, std::int64_t layers) {
  if (type.name == "llama") return 0;
  fields.find("sliding_window");  // known, and whatever it is of no consequence where nothing slides
  // Left out it is 4096, null means none.
  const bool given = fields.json().contains("sliding_window");
  const bool counts = type.name == "mistral" || fields.flag("use_sliding_window");
  const std::int64_t window = counts ? fields.whole("sliding_window", schema::max_length, given ? 0 : 4096) : 0;
  if (type.name == "mistral") return window;
  const std::int64_t sliding = sliding_layers(fields, layers, window > 0);
  if (sliding > 0 && sliding < layers) {
    fields.fail(fmt::format("\"layer_types\" has sliding_attention for {} of {} layers, supported is for all or none",
                            sliding, layers));
  }
  return sliding > 0 ? window : 0;
}

/// One token; of several end tokens the first.
std::optional<std::int64_t> read_token(Fields& fields, const char* key) {
  const nlohmann::json* value = fields.find(key);
  if (value != nullptr && value->is_array() && !value->empty()) value = &value->front();
  if (value == nullptr || !value->is_number_unsigned()) return std::nullopt;
  return value->get<std::int64_t>();
}

}  // namespace

ModelDescription read_model_description(const std::filesystem::path& path) {
  Fields fields(parse_json(read_text_file(path), path.string()), path.string());
  if (!fields.json().is_object()) fields.fail("is no JSON object");
  const ModelType& type = read_type(fields);
  refuse_what_differs(fields, type);
  ModelDescription result;
  ModelConfig& model = result.model;
  model.vocab_size = fields.whole("vocab_size", schema::max_length);
  model.hidden_size = fields.whole("hidden_size", schema::max_width);
  model.num_layers = fields.whole("num_hidden_layers", 10'000);
  model.num_heads = fields.whole("num_attention_heads", schema::max_heads);
  // Null means as many as query heads.
  const bool kv_heads_given = fields.json().contains("num_key_value_heads");
  model.num_kv_heads = fields.whole("num_key_value_heads", schema::max_heads, kv_heads_given ? 0 : type.num_kv_heads);
  model.head_size = fields.whole("head_dim", 10'000, type.head_size);
  model.qkv_bias = type.qkv_bias;
  model.qk_norm = type.qk_norm;
  model.ffn_size = fields.whole("intermediate_size", schema::max_width);
  model.norm_epsilon = fields.number("rms_norm_eps", 1e-6);
  model.tie_embeddings = fields.flag("tie_word_embeddings");
  read_rotary(fields, model);
  result.context = fields.whole("max_position_embeddings", schema::max_length, type.context);
  result.window = read_window(fields, type, model.num_layers);
  result.begin_id = read_token(fields, "bos_token_id");
  result.end_id = read_token(fields, "eos_token_id");
  if (const nlohmann::json* own = fields.find(own_key.data())) result.own = *own;
  result.ignored = fields.unused();
  try {
    model = model.resolved();
  } catch (const ConfigError& error) {
    fields.fail(error.what());
  }
  return result;
}

std::string_view architecture_of(const ModelConfig& model) {
  if (model.qkv_bias && model.qk_norm) {
    throw ConfigError("with model.qkv_bias and model.qk_norm the model is none that transformers has");
  }
  if (model.qk_norm) return "Qwen3";
  return model.qkv_bias ? "Qwen2" : "Llama";
}

nlohmann::ordered_json describe_model(const RunConfig& config, std::int64_t begin_id, std::int64_t end_id,
                                      const std::string& data_type, const nlohmann::ordered_json& own) {
  const ModelConfig& model = config.model;
  const bool within_segments = model.attention.kind != AttentionKind::full;
  nlohmann::ordered_json scaling;
  if (model.rope_scaling.kind != RotaryScalingKind::none) {
    const bool llama3 = model.rope_scaling.kind == RotaryScalingKind::llama3;
    scaling = {{"rope_type", llama3 ? "llama3" : "linear"}, {"factor", model.rope_scaling.factor}};
    if (llama3) {
      scaling["low_freq_factor"] = model.rope_scaling.low_frequency_factor;
      scaling["high_freq_factor"] = model.rope_scaling.high_frequency_factor;
      scaling["original_max_position_embeddings"] = model.rope_scaling.original_length;
    }
  }
  const std::string_view architecture = architecture_of(model);
  std::string type(architecture);
  type[0] = static_cast<char>(type[0] - 'A' + 'a');
  nlohmann::ordered_json description = {
      {"architectures", nlohmann::ordered_json::array({fmt::format("{}ForCausalLM", architecture)})},
      {"model_type", type},
      {"vocab_size", model.vocab_size},
      {"hidden_size", model.hidden_size},
      {"intermediate_size", model.ffn_size},
      {"num_hidden_layers", model.num_layers},
      {"num_attention_heads", model.num_heads},
      {"num_key_value_heads", model.num_kv_heads},
      {"head_dim", model.head_size},
      {"max_position_embeddings", within_segments ? model.segment_length : config.train.sequence_length},
      {"rms_norm_eps", model.norm_epsilon},
      {"rope_theta", model.rope_theta},
      {"rope_scaling", scaling},
      {"hidden_act", "silu"},
      {"attention_bias", false},
      {"mlp_bias", false},
      {"tie_word_embeddings", model.tie_embeddings},
      {"initializer_range", model.initializer_range},
      {"bos_token_id", begin_id},
      {"eos_token_id", end_id},
      {"torch_dtype", data_type},
      {own_key, own}};
  // Of Qwen2 there is no such key; elsewhere it means the output projection's, too.
  if (model.qkv_bias) description.erase("attention_bias");
  return description;
}

}  // namespace palimpsest
