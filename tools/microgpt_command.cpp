#include <xtape/engine/error.hpp>
#include <xtape/engine/tape.hpp>
#include <xtape/engine/threads.hpp>
#include <xtape/models/microgpt/microgpt.hpp>
#include <xtape/models/text/name_corpus.hpp>
#include <xtape/models/text/names.hpp>
#include <xtape/models/text/sampler.hpp>
#include <xtape/nn/file.hpp>
#include <xtape/nn/safetensors.hpp>
#include <xtape/optim/adam.hpp>
#include <xtape/optim/schedule.hpp>
#include <xtape/tools/flags.hpp>
#include <xtape/tools/microgpt_audit.hpp>
#include <xtape/tools/microgpt_command.hpp>
#include <xtape/tools/train_command.hpp>
#include <xtape/tools/trained.hpp>

#include <cmath>

#include <fmt/format.h>
#include <CLI/App.hpp>

namespace xtape::tools {
namespace {

using models::Batch;
using models::Microgpt;
using models::MicrogptConfig;
using models::NameTokenizer;
using Names = std::vector<std::vector<std::int32_t>>;

const Choices<MicrogptConfig::Norm> norms{{"none", MicrogptConfig::Norm::none},
                                          {"attention", MicrogptConfig::Norm::attention},
                                          {"full", MicrogptConfig::Norm::full}};
const Choices<MicrogptConfig::Act> acts{{"relu", MicrogptConfig::Act::relu},
                                        {"relu_squared", MicrogptConfig::Act::relu_squared}};

Json to_json(const MicrogptConfig& c) {
    return Json{
        {"vocab", c.vocab},           {"dim", c.dim},       {"heads", c.heads}, {"ffn", c.ffn},
        {"block", c.block},           {"layers", c.layers}, {"init", c.init},   {"norm", name_of(norms, c.norm)},
        {"act", name_of(acts, c.act)}};
}

MicrogptConfig microgpt_config(const RunFolder& run) {
    return read_part(run, "config", [](const auto& json) {
        const MicrogptConfig settings{.vocab = json.at("vocab"),
                                      .dim = json.at("dim"),
                                      .heads = json.at("heads"),
                                      .ffn = json.at("ffn"),
                                      .block = json.at("block"),
                                      .layers = json.at("layers"),
                                      .norm = value_of(norms, json.at("norm")),
                                      .act = value_of(acts, json.at("act")),
                                      .init = json.at("init")};
        settings.check();
        return settings;
    });
}

std::string read_data(const std::string& path) {
    return path.empty() ? std::string(models::built_in_names()) : nn::read_file(path, data_limit);
}

std::string source_of_names(const std::string& path) { return path.empty() ? "the built-in names" : path; }

models::NameCorpus read_corpus(const std::string& text, const NameTokenizer& tokenizer, int block,
                               const std::string& source) {
    models::NameCorpus corpus = models::read_names(text, tokenizer, block, source);
    if (corpus.unknown > 0)
        fmt::print(stderr, "xtape: {}: {} characters are not in the vocabulary of {} tokens, and are left out\n",
                   source, corpus.unknown, tokenizer.vocab());
    return corpus;
}

/// What is said behind the number of names, where some are too long for the model.
std::string left_out(const models::NameCorpus& corpus) {
    return corpus.too_long > 0 ? fmt::format(" ({} too long, left out)", corpus.too_long) : "";
}

/// The mean loss over names, a fixed number at a time, weighed by their positions.
double loss_over(const Microgpt<float>& model, std::span<const std::vector<std::int32_t>> names) {
    constexpr std::size_t at_once = 64;
    double total = 0;
    Index positions = 0;
    for (std::size_t first = 0; first < names.size(); first += at_once) {
        const Batch batch = models::pack(names.subspan(first, std::min(at_once, names.size() - first)));
        total += static_cast<double>(model.loss(batch).item()) * static_cast<double>(batch.tokens.size());
        positions += batch.tokens.size();
    }
    return total / static_cast<double>(positions);
}

class MicrogptLearner final : public Learner {
public:
    MicrogptLearner(const MicrogptConfig& config, const TrainSettings& settings, Names names)
        : settings_(settings),
          model_(nn::build<Microgpt<float>>(config, settings.seed)),
          names_(std::move(names)),
          held_out_(static_cast<std::size_t>(settings.val_fraction * static_cast<double>(names_.size()))),
          order_(static_cast<Index>(names_.size() - held_out_), settings.seed),
          parameters_(nn::parameters(model_)),
          adamw_(parameters_,
                 {.lr = settings.lr, .beta1 = 0.85, .beta2 = 0.99, .weight_decay = settings.weight_decay}) {}

    std::vector<nn::Named<float>> parameters() override { return parameters_; }
    Optimizer<float>& optimizer() override { return adamw_; }

    double learning_rate(Index step) const override {
        const double warm = static_cast<double>(step + 1) / static_cast<double>(std::max<Index>(1, settings_.warmup));
        return LinearDecay{settings_.lr, settings_.steps}(step)*std::min(1.0, warm);
    }

    Tensor<float> loss(Index draw) override {
        Names chosen;
        for (Index i = 0; i < settings_.batch; ++i)
            chosen.push_back(names_[held_out_ + static_cast<std::size_t>(order_[draw * settings_.batch + i])]);
        const Batch batch = models::pack(chosen);
        tokens_ = batch.tokens.size();
        return model_.loss(batch);
    }

    Index tokens() const override { return tokens_; }

    std::optional<double> validate() override {
        if (held_out_ == 0) return std::nullopt;
        return loss_over(model_, std::span(names_).first(held_out_));
    }

private:
    TrainSettings settings_;
    Microgpt<float> model_;
    Names names_;
    std::size_t held_out_;  ///< the first names of the shuffled list
    models::EpochOrder order_;
    std::vector<nn::Named<float>> parameters_;
    AdamW<float> adamw_;
    Index tokens_ = 0;
};

using TrainedMicrogpt = Trained<Microgpt<float>, NameTokenizer, microgpt_config>;

class MicrogptCommand final : public ModelCommand {
public:
    std::string name() const override { return "microgpt"; }
    std::string description() const override { return "A character GPT of 4,192 parameters that learns names"; }

    void bind_train(CLI::App& app) override {
        settings_.out = "runs/microgpt";
        settings_.lr = 0.01;
        app_ = &app;
        bind(app, settings_);
        app.add_option("--dim", config_.dim, "Width of the model");
        app.add_option("--layers", config_.layers, "Layers");
        app.add_option("--heads", config_.heads, "Heads; they divide dim");
        ffn_ = app.add_option("--ffn", config_.ffn, "Width of the FFN; 4 times dim unless given")
                   ->always_capture_default(false);
        app.add_option("--ctx", config_.block, "The most positions of a name");
        app.add_option("--init", config_.init, "Standard deviation of the initial values")->check(not_negative());
        add_choice(app, "--norm", config_.norm, norms, "Where norms stand");
        add_choice(app, "--act", config_.act, acts, "Of the FFN");
        app.add_option("--tokenizer", tokenizer_, "letters (a to z), or char: what occurs in the data")
            ->check(CLI::IsMember({"letters", "char"}));
    }

    Exit train() override { return train_model(*this, settings_, *app_); }

    Exit prepare(const std::function<Exit(const PreparedCourse&)>& use) override {
        if (ffn_->count() == 0) config_.ffn = 4 * config_.dim;
        set_threads(settings_.threads);
        const std::string text = read_data(settings_.data);
        const NameTokenizer tokenizer = settings_.resume ? read_tokenizer<NameTokenizer>(RunFolder(settings_.out))
                                        : tokenizer_ == "char"
                                            ? NameTokenizer::from_text(text, source_of_names(settings_.data))
                                            : NameTokenizer::letters();
        config_.vocab = tokenizer.vocab();
        config_.check();
        check_memory(name(), models::parameter_count(config_));
        models::NameCorpus corpus = read_corpus(text, tokenizer, config_.block, source_of_names(settings_.data));
        nn::Rng rng(settings_.seed);
        rng.shuffle(corpus.names);
        if (settings_.val_fraction > 0 && settings_.val_fraction * static_cast<double>(corpus.names.size()) < 1)
            throw FileError(fmt::format("{}: too few names to hold some out", source_of_names(settings_.data)));
        const std::string source = source_of_names(settings_.data);
        const std::string summary = fmt::format("{} parameters, {} names of {}{}", models::parameter_count(config_),
                                                corpus.names.size(), source, left_out(corpus));
        MicrogptLearner learner(config_, settings_, std::move(corpus.names));
        return use({learner, to_json(config_), source, tokenizer.to_json(), summary});
    }

    void check_config(const RunFolder& run) const override { (void)microgpt_config(run); }

    Exit generate(const RunFolder& run, const GenerateSettings& settings) const override {
        const TrainedMicrogpt trained(run);
        const models::SamplerOptions how{.temperature = settings.temperature < 0 ? 0.5 : settings.temperature,
                                         .top_k = settings.top_k,
                                         .top_p = settings.top_p < 0 ? 1 : settings.top_p};
        const int limit = settings.tokens > 0 ? settings.tokens : trained.model.config().block;
        nn::Rng rng(settings.seed);
        Json samples = Json::array();
        for (int i = 0; i < (settings.samples > 0 ? settings.samples : 20); ++i) {
            const std::string text = sample(trained, settings.prompt, limit, how, rng);
            if (settings.json)
                samples.push_back(text);
            else
                fmt::print("{}\n", text);
        }
        if (settings.json) fmt::print("{}\n", one_line({{"samples", samples}}));
        return Exit::done;
    }

    Exit eval(const RunFolder& run, const std::filesystem::path& data, bool json) const override {
        const TrainedMicrogpt trained(run);
        const models::NameCorpus corpus = read_corpus(nn::read_file(data, data_limit), trained.tokenizer,
                                                      trained.model.config().block, data.string());
        const double loss = finite(loss_over(trained.model, corpus.names));
        if (json)
            fmt::print("{}\n", one_line({{"loss", loss},
                                         {"perplexity", std::exp(loss)},
                                         {"names", corpus.names.size()},
                                         {"too_long", corpus.too_long}}));
        else
            fmt::print("loss {:.4f}, perplexity {:.3f}, over {} names{}\n", loss, std::exp(loss), corpus.names.size(),
                       left_out(corpus));
        return Exit::done;
    }

    AuditReport audit(const AuditRequest& request) const override { return audit_microgpt(request); }
    std::vector<AuditCase> audit_cases() const override { return microgpt_cases(); }

private:
    /// One name: the prompt, then a token at a time until the end token or `limit` tokens.
    static std::string sample(const TrainedMicrogpt& trained, const std::string& prompt, int limit,
                              const models::SamplerOptions& how, nn::Rng& rng) {
        const Microgpt<float>& model = trained.model;
        std::vector<std::int32_t> tokens = trained.tokenizer.encode(prompt);
        tokens.pop_back();
        if (static_cast<int>(tokens.size()) > model.config().block)
            throw ValueError(fmt::format("generate: the prompt has {} characters, more than the model's {} positions",
                                         tokens.size() - 1, model.config().block - 1));
        models::MicrogptCache<float> cache;
        Tensor<float> logits;
        for (const std::int32_t token : tokens) logits = model.next(token, cache);
        std::vector<std::int32_t> name(tokens.begin() + 1, tokens.end());
        for (int made = 0; made < limit; ++made) {
            const std::int32_t token = models::sample(logits.values(), how, rng);
            if (token == 0) break;
            name.push_back(token);
            if (cache.positions == model.config().block) break;
            logits = model.next(token, cache);
        }
        return trained.tokenizer.decode(name);
    }

    TrainSettings settings_;
    MicrogptConfig config_;
    CLI::App* app_ = nullptr;
    CLI::Option* ffn_ = nullptr;
    std::string tokenizer_ = "letters";
};

}  // namespace

std::unique_ptr<ModelCommand> microgpt_command() { return std::make_unique<MicrogptCommand>(); }

}  // namespace xtape::tools
