#include <xtape/models/llama/checkpoint.hpp>
#include <xtape/nn/file.hpp>
#include <xtape/nn/json.hpp>
#include <xtape/nn/module.hpp>
#include <xtape/nn/safetensors.hpp>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>

#include <fmt/format.h>

namespace xtape::models {
namespace {

static_assert(std::endian::native == std::endian::little, "checkpoints are little-endian");

using Header = std::array<std::int32_t, 7>;  // dim, ffn, layers, heads, kv_heads, vocab (< 0: untied), context

/// The parameters in the order of llama2.c; the rotation tables stand before the classifier.
std::vector<std::string> llama2c_order(const LlamaConfig& config) {
    std::vector<std::string> names{"token_embedding"};
    for (const char* name : {"attention_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w1", "w2", "w3"}) {
        for (int layer = 0; layer < config.layers; ++layer) names.push_back(fmt::format("layers.{}.{}", layer, name));
    }
    names.emplace_back("final_norm");
    if (!config.tied) names.emplace_back("classifier");
    return names;
}

template <class P> std::map<std::string, P> by_name(const auto& parameters) {
    std::map<std::string, P> all;
    for (const auto& [name, parameter] : parameters) all[name] = parameter;
    return all;
}

/// The cosines, then the sines, of all positions and pairs.
std::vector<float> rotation_tables(const LlamaConfig& config) {
    const int pairs = config.head_width() / 2;
    std::vector<float> cosines, sines;
    for (int t = 0; t < config.context; ++t) {
        for (int i = 0; i < pairs; ++i) {
            const double angle = t * std::pow(config.rope_theta, -static_cast<double>(i) / pairs);
            cosines.push_back(static_cast<float>(std::cos(angle)));
            sines.push_back(static_cast<float>(std::sin(angle)));
        }
    }
    cosines.insert(cosines.end(), sines.begin(), sines.end());
    return cosines;
}

std::string_view bytes_of(std::span<const float> values) {
    return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

LlamaConfig config_of(const Header& header, const std::string& path) {
    const auto [dim, ffn, layers, heads, kv_heads, vocab, context] = header;
    constexpr std::int32_t most = 1 << 24;
    for (const std::int32_t size : {dim, ffn, layers, heads, kv_heads, context, std::max(vocab, -most - 1)}) {
        if (size == 0 || size > most || (size < 0 && size != vocab) || size < -most)
            throw FileError(
                fmt::format("{}: not a llama2.c checkpoint: its sizes are {}", path, fmt::join(header, ", ")));
    }
    try {
        return LlamaConfig{.vocab = std::abs(vocab),
                           .dim = dim,
                           .layers = layers,
                           .heads = heads,
                           .kv_heads = kv_heads,
                           .ffn = ffn,
                           .context = context,
                           .tied = vocab > 0}
            .checked();
    } catch (const ValueError& error) {
        throw FileError(fmt::format("{}: {}", path, error.what()));
    }
}

/// The parameter that a tensor of a Hugging Face checkpoint is; empty for one that is none.
std::string name_of(std::string_view tensor) {
    static const std::map<std::string_view, std::string_view> outside{{"model.embed_tokens.weight", "token_embedding"},
                                                                      {"model.norm.weight", "final_norm"},
                                                                      {"lm_head.weight", "classifier"}};
    static const std::map<std::string_view, std::string_view> inside{{"input_layernorm.weight", "attention_norm"},
                                                                     {"self_attn.q_proj.weight", "wq"},
                                                                     {"self_attn.k_proj.weight", "wk"},
                                                                     {"self_attn.v_proj.weight", "wv"},
                                                                     {"self_attn.o_proj.weight", "wo"},
                                                                     {"post_attention_layernorm.weight", "ffn_norm"},
                                                                     {"mlp.gate_proj.weight", "w1"},
                                                                     {"mlp.down_proj.weight", "w2"},
                                                                     {"mlp.up_proj.weight", "w3"}};
    if (const auto known = outside.find(tensor); known != outside.end()) return std::string(known->second);
    constexpr std::string_view prefix = "model.layers.";
    if (!tensor.starts_with(prefix)) return {};
    tensor.remove_prefix(prefix.size());
    const std::size_t dot = tensor.find('.');
    if (dot == std::string_view::npos) return {};
    const auto known = inside.find(tensor.substr(dot + 1));
    return known == inside.end() ? std::string() : fmt::format("layers.{}.{}", tensor.substr(0, dot), known->second);
}

LlamaConfig hugging_face_config(const std::filesystem::path& path) {
    const std::string text = nn::read_file(path, 1 << 20);
    try {
        const auto all = nn::parse_foreign_json(text);
        const nn::Members json(all);
        if (const auto type = json.value<std::string>("model_type", "llama"); type != "llama")
            throw FileError(fmt::format("the model is `{}`, not llama", type));
        if (all.contains("rope_scaling") && !all.at("rope_scaling").is_null())
            throw FileError("scaled rotary positions (rope_scaling) are not supported");
        if (const auto act = json.value<std::string>("hidden_act", "silu"); act != "silu" && act != "swish")
            throw FileError(fmt::format("the FFN's activation is `{}`, not silu", act));
        const bool has_rope = all.contains("rope_parameters") && !all.at("rope_parameters").is_null();
        const nn::Members rope(has_rope ? all.at("rope_parameters") : all);
        if (const auto type = rope.value<std::string>("rope_type", "default"); type != "default")
            throw FileError(fmt::format("scaled rotary positions (rope_type `{}`) are not supported", type));
        const int heads = json.at("num_attention_heads");
        return LlamaConfig{.vocab = json.at("vocab_size"),
                           .dim = json.at("hidden_size"),
                           .layers = json.at("num_hidden_layers"),
                           .heads = heads,
                           .kv_heads = json.value("num_key_value_heads", heads),
                           .ffn = json.at("intermediate_size"),
                           .context = json.value("max_position_embeddings", 2048),
                           .rope_theta = rope.value("rope_theta", json.value("rope_theta", 10000.0)),
                           .norm_eps = json.value("rms_norm_eps", 1e-6),
                           .tied = json.value("tie_word_embeddings", false),
                           .rope = RopeForm::half_split}
            .checked();
    } catch (const Error& error) {
        throw FileError(fmt::format("{}: {}", path.string(), error.what()));
    }
}

}  // namespace

void write_llama2c(const std::filesystem::path& path, const Llama<float>& model) {
    const LlamaConfig& c = model.config();
    if (c.rope != RopeForm::interleaved || c.rope_theta != 10000 || c.norm_eps != 1e-5)
        throw ValueError(
            fmt::format("llama2.c: its files say nothing of rope and eps, which are interleaved, theta "
                        "10000 and 1e-05 there: this model has {}, {} and {}",
                        c.rope == RopeForm::interleaved ? "interleaved" : "half_split", c.rope_theta, c.norm_eps));
    const Header header{c.dim, c.ffn, c.layers, c.heads, c.kv_heads, c.tied ? c.vocab : -c.vocab, c.context};
    const auto parameters = by_name<const Parameter<float>*>(nn::parameters(model));
    const std::vector<float> tables = rotation_tables(c);
    std::vector<std::string_view> parts{{reinterpret_cast<const char*>(header.data()), sizeof header}};
    for (const std::string& name : llama2c_order(c)) {
        if (name == "classifier") parts.push_back(bytes_of(tables));
        parts.push_back(bytes_of(parameters.at(name)->values()));
    }
    if (c.tied) parts.push_back(bytes_of(tables));
    nn::atomic_write(path, parts);
}

Llama<float> read_llama2c(const std::filesystem::path& path) {
    const std::string bytes = nn::read_file(path);
    Header header{};
    if (bytes.size() < sizeof header)
        throw FileError(fmt::format("{}: {} bytes are no llama2.c checkpoint", path.string(), bytes.size()));
    std::memcpy(header.data(), bytes.data(), sizeof header);
    const LlamaConfig config = config_of(header, path.string());
    const Index tables = Index{config.context} * (config.head_width() / 2) * 2;
    const std::size_t wanted =
        sizeof header + sizeof(float) * static_cast<std::size_t>(parameter_count(config) + tables);
    if (bytes.size() != wanted)
        throw FileError(fmt::format("{}: its sizes make {} bytes, but it has {}", path.string(), wanted, bytes.size()));
    auto model = nn::build<Llama<float>>(config, 0);
    const auto parameters = by_name<Parameter<float>*>(nn::parameters(model));
    const char* at = bytes.data() + sizeof header;
    for (const std::string& name : llama2c_order(config)) {
        if (name == "classifier") at += sizeof(float) * static_cast<std::size_t>(tables);
        const std::span<float> values = parameters.at(name)->write();
        std::memcpy(values.data(), at, values.size_bytes());
        at += values.size_bytes();
    }
    return model;
}

Llama<float> read_hugging_face(const std::filesystem::path& folder) {
    const LlamaConfig config = hugging_face_config(folder / "config.json");
    if (!std::filesystem::exists(folder / "model.safetensors") &&
        std::filesystem::exists(folder / "model.safetensors.index.json"))
        throw FileError(fmt::format("{}: weights in several files are not supported; join them into model.safetensors",
                                    folder.string()));
    const nn::SafetensorsFile file(folder / "model.safetensors");
    Index elements = 0;
    for (const auto& entry : file.entries()) elements += entry.shape.size();
    if (elements < parameter_count(config))
        throw FileError(fmt::format("{}: {} numbers, but the settings of config.json want {}", file.path(), elements,
                                    parameter_count(config)));
    auto model = nn::build<Llama<float>>(config, 0);
    auto missing = by_name<Parameter<float>*>(nn::parameters(model));
    for (const auto& entry : file.entries()) {
        const auto wanted = missing.find(name_of(entry.name));
        const bool tied_copy = config.tied && entry.name == "lm_head.weight";
        if (tied_copy || entry.name.ends_with("rotary_emb.inv_freq")) continue;
        if (wanted == missing.end())
            throw FileError(fmt::format("{}: {} has no place in a llama of these settings", file.path(), entry.name));
        if (entry.shape != wanted->second->shape())
            throw FileError(fmt::format("{}: {} is {}, config.json wants {}", file.path(), entry.name,
                                        to_string(entry.shape), to_string(wanted->second->shape())));
        file.read<float>(entry, wanted->second->write());
        missing.erase(wanted);
    }
    if (!missing.empty()) throw FileError(fmt::format("{}: no tensor for {}", file.path(), missing.begin()->first));
    return model;
}

}  // namespace xtape::models
