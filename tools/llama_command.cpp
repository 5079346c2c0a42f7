#include <xtape/engine/error.hpp>
#include <xtape/engine/precision.hpp>
#include <xtape/engine/threads.hpp>
#include <xtape/models/llama/checkpoint.hpp>
#include <xtape/models/llama/llama.hpp>
#include <xtape/models/text/bpe.hpp>
#include <xtape/nn/file.hpp>
#include <xtape/nn/safetensors.hpp>
#include <xtape/optim/adam.hpp>
#include <xtape/optim/schedule.hpp>
#include <xtape/tools/flags.hpp>
#include <xtape/tools/llama_audit.hpp>
#include <xtape/tools/llama_command.hpp>
#include <xtape/tools/text_run.hpp>
#include <xtape/tools/train_command.hpp>
#include <xtape/tools/trained.hpp>

#include <fmt/format.h>
#include <CLI/App.hpp>

namespace xtape::tools {
namespace {

using models::Llama;
using models::LlamaCache;
using models::LlamaConfig;

const Choices<Precision> precisions{{"f32", Precision::f32}, {"bf16", Precision::bf16}};
const Choices<RopeForm> ropes{{"interleaved", RopeForm::interleaved}, {"half_split", RopeForm::half_split}};

Json to_json(const LlamaConfig& c) {
    return Json{{"vocab", c.vocab},       {"dim", c.dim},   {"layers", c.layers},   {"heads", c.heads},
                {"kv_heads", c.kv_heads}, {"ffn", c.ffn},   {"context", c.context}, {"rope_theta", c.rope_theta},
                {"norm_eps", c.norm_eps}, {"tied", c.tied}, {"init", c.init},       {"rope", name_of(ropes, c.rope)}};
}

LlamaConfig llama_config(const RunFolder& run) {
    return read_part(run, "config", [](const auto& json) {
        return LlamaConfig{.vocab = json.at("vocab"),
                           .dim = json.at("dim"),
                           .layers = json.at("layers"),
                           .heads = json.at("heads"),
                           .kv_heads = json.at("kv_heads"),
                           .ffn = json.at("ffn"),
                           .context = json.at("context"),
                           .rope_theta = json.at("rope_theta"),
                           .norm_eps = json.at("norm_eps"),
                           .tied = json.at("tied"),
                           .rope = value_of(ropes, json.at("rope")),
                           .init = json.at("init")}
            .checked();
    });
}

/// 6 for each weight of a product, forward and backward, and 12 for each entry of attention's matrices.
double flops_per_token(const LlamaConfig& c) {
    const auto products = static_cast<double>(parameter_count(c) - (c.tied ? 0 : Index{c.vocab} * c.dim));
    return 6 * products + 12.0 * c.layers * c.dim * c.context / 2;
}

using TrainedLlama = Trained<Llama<float>, models::Tokenizer, llama_config>;

/// The tokens of a sequence and its cache. When the context is full, the last half of it begins a new one.
class Conversation {
public:
    explicit Conversation(const Llama<float>& model) : model_(model) {}

    Tensor<float> operator()(std::span<const std::int32_t> tokens) {
        const auto context = static_cast<std::size_t>(model_.config().context);
        seen_.insert(seen_.end(), tokens.begin(), tokens.end());
        if (static_cast<std::size_t>(cache_.positions) + tokens.size() <= context) return model_.next(tokens, cache_);
        cache_ = {};
        seen_.erase(seen_.begin(),
                    seen_.end() - static_cast<std::ptrdiff_t>(std::min(seen_.size(), (context + 1) / 2)));
        return model_.next(seen_, cache_);
    }

private:
    const Llama<float>& model_;
    LlamaCache<float> cache_;
    std::vector<std::int32_t> seen_;
};

/// A model from elsewhere as a run folder. Its tokenizer is the tokenizer.bin beside it, or bytes where there are 256.
void write_run(const std::filesystem::path& out, const Llama<float>& model, const std::filesystem::path& from) {
    const LlamaConfig& config = model.config();
    const std::filesystem::path tokens =
        (std::filesystem::is_directory(from) ? from : from.parent_path()) / "tokenizer.bin";
    const bool has_tokens = std::filesystem::exists(tokens);
    if (!has_tokens && config.vocab != 256)
        throw FileError(fmt::format("convert: {}: no such file; it says what the {} tokens of the model are",
                                    tokens.string(), config.vocab));
    const models::Tokenizer tokenizer =
        has_tokens ? models::Tokenizer::read_llama2c(tokens) : models::Tokenizer::bytes();
    if (tokenizer.vocab() != config.vocab)
        throw FileError(
            fmt::format("convert: {} has {} tokens, the model {}", tokens.string(), tokenizer.vocab(), config.vocab));
    check_finite(nn::parameters(model), from.string());
    const RunFolder run(out);
    run.begin_converted();
    run.write_config({{"model", "llama"}, {"config", to_json(config)}, {"data", from.string()}});
    run.write_text("tokenizer.json", tokenizer.to_json());
    nn::save(run.file("model.safetensors"), model);
}

class LlamaCommand final : public ModelCommand {
public:
    std::string name() const override { return "llama"; }
    std::string description() const override { return "A Llama-style transformer that learns text"; }

    void bind_train(CLI::App& app) override {
        settings_.out = "runs/llama";
        settings_.steps = 2000;
        settings_.batch = 12;
        settings_.lr = 3e-3;
        settings_.warmup = 100;
        settings_.clip = 1;
        settings_.weight_decay = 0.1;
        config_ = {.context = 64};
        app_ = &app;
        bind(app, settings_);
        app.add_option("--dim", config_.dim, "Width of the model");
        app.add_option("--layers", config_.layers, "Layers");
        app.add_option("--heads", config_.heads, "Heads; they divide dim");
        app.add_option("--kv-heads", config_.kv_heads, "Heads of keys and values; 0 for as many as heads");
        app.add_option("--ffn", config_.ffn, "Width of the FFN; 0 for 8/3 of dim");
        app.add_option("--ctx", config_.context, "Positions of a window");
        app.add_option("--rope-theta", config_.rope_theta, "The base of the rotary frequencies");
        app.add_option("--init", config_.init, "Standard deviation of the initial values")->check(not_negative());
        app.add_flag("--tied", config_.tied, "The classifier is the token embedding");
        add_choice(app, "--rope", config_.rope, ropes, "How channels pair up");
        add_choice(app, "--precision", precision_, precisions, "Of the products of matrices; weights stay in f32");
        app.add_option("--tokenizer", tokenizer_, "byte, char (the bytes that occur) or bpe (learned on the data)")
            ->check(CLI::IsMember({"byte", "char", "bpe"}));
        app.add_option("--vocab", vocab_, "Tokens of bpe")->check(between(256, models::most_bpe_tokens));
    }

    Exit train() override { return train_model(*this, settings_, *app_); }

    Exit prepare(const std::function<Exit(const PreparedCourse&)>& use) override {
        set_threads(settings_.threads);
        set_product_precision(precision_);
        refuse_idle_vocab(*app_, settings_, tokenizer_);
        const models::Text text = open_text(settings_.data);
        const models::Tokenizer tokenizer =
            tokenizer_for(settings_, text, source_of_text(settings_.data), tokenizer_, vocab_);
        config_.vocab = tokenizer.vocab();
        config_ = config_.checked();
        check_memory(name(), parameter_count(config_));
        const models::TextCorpus corpus(text, tokenizer, settings_.val_fraction, source_of_text(settings_.data));
        auto model = nn::build<Llama<float>>(config_, settings_.seed);
        AdamW<float> adamw(
            model, {.lr = settings_.lr, .beta2 = 0.99, .weight_decay = settings_.weight_decay, .decays = matrices});
        const WarmupCosine schedule{settings_.lr, settings_.steps, settings_.warmup, 0.1};
        TextLearner<Llama<float>> learner(model, adamw, corpus,
                                          {.windows =
                                               [&](Index draw) {
                                                   return models::random_windows(corpus.training(), config_.context,
                                                                                 settings_.batch, settings_.seed, draw);
                                               },
                                           .learning_rate = schedule,
                                           .context = config_.context,
                                           .batch = settings_.batch,
                                           .flops_per_token = flops_per_token(config_)});
        return use({learner, to_json(config_), source_of_text(settings_.data), tokenizer.to_json(),
                    fmt::format("{} parameters, {} {} tokens of {}, a vocabulary of {}", parameter_count(config_),
                                corpus.size(), tokenizer.kind(), source_of_text(settings_.data), config_.vocab)});
    }

    void check_config(const RunFolder& run) const override { (void)llama_config(run); }

    Exit generate(const RunFolder& run, const GenerateSettings& settings) const override {
        const TrainedLlama trained(run);
        return generate_texts(
            trained.tokenizer, settings,
            {.start = [&] { return Conversation(trained.model); }, .context = trained.model.config().context});
    }

    Exit eval(const RunFolder& run, const std::filesystem::path& data, bool json) const override {
        const TrainedLlama trained(run);
        return eval_text(trained.tokenizer, data, trained.model.config().context, json,
                         [&](const models::Batch& batch) { return trained.model.loss(batch); });
    }

    AuditReport audit(const AuditRequest& request) const override { return audit_llama(request); }
    std::vector<AuditCase> audit_cases() const override { return llama_cases(); }

    std::string formats() const override {
        return "a run folder to llama2.c's model.bin (with tokenizer.bin beside it) and back, "
               "and a Hugging Face folder to a run folder";
    }

    bool convert(const std::filesystem::path& in, const std::filesystem::path& out) const override {
        if (std::filesystem::is_regular_file(in)) {
            if (in.extension() != ".bin") return false;
            write_run(out, models::read_llama2c(in), in);
            return true;
        }
        const RunFolder run(in);
        if (run.is_foreign()) {
            write_run(out, models::read_hugging_face(in), in);
            return true;
        }
        if (out.extension() != ".bin" || run.read_config().at("model") != name()) return false;
        const TrainedLlama trained(run);
        const std::filesystem::path tokens = out.parent_path() / "tokenizer.bin";
        if (std::filesystem::exists(tokens) && nn::read_file(tokens) != trained.tokenizer.to_llama2c())
            throw UsageError(
                fmt::format("convert: {} holds another model's tokens; name another folder", tokens.string()));
        models::write_llama2c(out, trained.model);
        trained.tokenizer.write_llama2c(tokens);
        return true;
    }

private:
    TrainSettings settings_;
    LlamaConfig config_;
    Precision precision_ = Precision::f32;
    std::string tokenizer_ = "char";
    int vocab_ = 1024;
    CLI::App* app_ = nullptr;
};

}  // namespace

std::unique_ptr<ModelCommand> llama_command() { return std::make_unique<LlamaCommand>(); }

}  // namespace xtape::tools
