#include <xtape/engine/error.hpp>
#include <xtape/engine/threads.hpp>
#include <xtape/models/lrnn/checkpoint.hpp>
#include <xtape/models/lrnn/lrnn.hpp>
#include <xtape/models/lrnn/state.hpp>
#include <xtape/models/text/epoch_windows.hpp>
#include <xtape/nn/safetensors.hpp>
#include <xtape/optim/adam.hpp>
#include <xtape/optim/schedule.hpp>
#include <xtape/tools/flags.hpp>
#include <xtape/tools/lrnn_audit.hpp>
#include <xtape/tools/lrnn_command.hpp>
#include <xtape/tools/text_run.hpp>
#include <xtape/tools/train_command.hpp>
#include <xtape/tools/trained.hpp>

#include <algorithm>

#include <fmt/format.h>
#include <CLI/App.hpp>

namespace xtape::tools {
namespace {

using models::Lrnn;
using models::LrnnCheckpointForm;
using models::LrnnConfig;

Json to_json(const LrnnConfig& c) {
    return Json{{"vocab", c.vocab},
                {"layers", c.layers},
                {"dim", c.dim},
                {"heads", c.heads},
                {"context", c.context},
                {"decay_rank", c.decay_rank},
                {"ffn_multiplier", c.ffn_multiplier},
                {"slots", c.slots},
                {"label_smoothing", c.label_smoothing}};
}

LrnnConfig lrnn_config(const RunFolder& run) {
    return read_part(run, "config", [](const auto& json) {
        return LrnnConfig{.vocab = json.at("vocab"),
                          .layers = json.at("layers"),
                          .dim = json.at("dim"),
                          .heads = json.at("heads"),
                          .context = json.at("context"),
                          .decay_rank = json.at("decay_rank"),
                          .ffn_multiplier = json.at("ffn_multiplier"),
                          .slots = json.at("slots"),
                          .label_smoothing = json.at("label_smoothing")}
            .checked();
    });
}

/// The form of the checkpoint that a run folder was made of; the usual one for a run of ours.
LrnnCheckpointForm form_of(const RunFolder& run) {
    if (!run.read_config().contains("checkpoint")) return {};
    return read_part(run, "checkpoint", [](const auto& json) {
        const LrnnCheckpointForm form{.version = json.at("version"), .unknown_byte = json.at("unknown_byte")};
        if (form.version < 1 || form.version > 2) throw ValueError(fmt::format("version is {}", form.version));
        return form;
    });
}

/// 6 for each weight of a product, forward and backward, and 24 for N and E of each slot and channel.
double operations_per_token(const LrnnConfig& c) {
    const auto products = static_cast<double>(parameter_count(c) - Index{c.vocab} * c.dim);
    return 6 * products + 24.0 * c.layers * c.slots * c.dim;
}

/// The loss without label smoothing, whatever the training has.
Tensor<float> plain_loss(const Lrnn<float>& model, const models::Batch& batch) {
    return cross_entropy(model(batch), batch.targets);
}

using TrainedLrnn = Trained<Lrnn<float>, models::Tokenizer, lrnn_config>;

class LrnnLearner final : public TextLearner<Lrnn<float>> {
public:
    LrnnLearner(Lrnn<float>& model, Optimizer<float>& optimizer, const models::TextCorpus& corpus,
                models::EpochWindows& windows, const TrainSettings& settings)
        : TextLearner(model, optimizer, corpus,
                      {.windows = [&windows](Index draw) { return windows[draw]; },
                       .learning_rate = WarmupCosine{settings.lr, settings.steps, settings.warmup, 1},
                       .context = model.config().context,
                       .batch = settings.batch,
                       .flops_per_token = operations_per_token(model.config())}),
          model_(model),
          corpus_(corpus),
          windows_(windows),
          batch_(static_cast<std::size_t>(settings.batch)) {}

    std::optional<double> validate() override {
        if (corpus_.validation().size() < 2) return std::nullopt;
        return loss_over(corpus_, models::side_by_side_windows(corpus_.validation(), model_.config().context), batch_,
                         [&](const models::Batch& batch) { return plain_loss(model_, batch); });
    }
    Index epochs(Index draws) override { return windows_.epochs_in(draws); }
    bool skips_bad_steps() const override { return true; }

private:
    const Lrnn<float>& model_;
    const models::TextCorpus& corpus_;
    models::EpochWindows& windows_;
    std::size_t batch_;
};

class LrnnCommand final : public ModelCommand {
public:
    std::string name() const override { return "lrnn"; }
    std::string description() const override { return "A linear recurrent network with slot memory that learns text"; }

    void bind_train(CLI::App& app) override {
        settings_.out = "runs/lrnn";
        settings_.lr = 3e-4;
        settings_.clip = 5;
        app_ = &app;
        bind(app, settings_);
        app.get_option("--steps")->default_str("as many as the epochs have");
        app.add_option("--epochs", epochs_, "Times that the course goes through the data")->check(positive());
        app.add_option("--save-epochs", settings_.save_epochs, "Epochs between checkpoints; 0 for one at the end")
            ->default_val(5)
            ->check(not_negative());
        app.add_option("--label-smoothing", config_.label_smoothing, "Part of a target that goes to all tokens alike")
            ->check(between(0.0, 0.99));
        app.add_option("--tokenizer", tokenizer_, "char, word, or auto: char below 20,000 bytes, else word")
            ->check(CLI::IsMember({"char", "word", "auto"}));
        app.add_flag("--auto-config,!--no-auto-config", automatic_,
                     "Sizes that follow from the data, unless one is given");
        const auto size = [&](const char* flag, auto& value, const char* what) {
            sizes_.push_back(app.add_option(flag, value, what)->always_capture_default(false));
        };
        size("--dim", config_.dim, "Width of the model");
        size("--layers", config_.layers, "Layers");
        size("--heads", config_.heads, "Groups of channels that forget at one rate; they divide dim");
        size("--ctx", config_.context, "Tokens of a window");
        size("--decay-rank", config_.decay_rank, "Rank of what makes the decay depend on the data");
        size("--ffn-multiplier", config_.ffn_multiplier, "Width of the FFN over dim");
        size("--slots", config_.slots, "Slots of the memory");
    }

    Exit train() override { return train_model(*this, settings_, *app_); }

    Exit prepare(const std::function<Exit(const PreparedCourse&)>& use) override {
        set_threads(settings_.threads);
        const models::Text text = open_text(settings_.data);
        const models::Tokenizer tokenizer =
            tokenizer_for(settings_, text, source_of_text(settings_.data), tokenizer_, 0);
        settle_sizes(text, tokenizer);
        check_memory(name(), parameter_count(config_));
        const models::TextCorpus corpus(text, tokenizer, settings_.val_fraction, source_of_text(settings_.data));
        models::EpochWindows windows(corpus.training(), config_.context, settings_.batch, settings_.seed);
        auto model = nn::build<Lrnn<float>>(config_, settings_.seed);
        AdamW<float> adam(model, {.lr = settings_.lr, .weight_decay = settings_.weight_decay, .decays = matrices});
        const CLI::Option* steps = app_->get_option_no_throw("--steps");
        if (steps == nullptr || steps->count() == 0)
            settings_.steps = (windows.batches_of(epochs_) + settings_.accumulate - 1) / settings_.accumulate;
        LrnnLearner learner(model, adam, corpus, windows, settings_);
        return use({learner, to_json(config_), source_of_text(settings_.data), tokenizer.to_json(),
                    fmt::format("{} parameters, {} {} tokens of {}, a vocabulary of {}", parameter_count(config_),
                                corpus.size(), tokenizer.kind(), source_of_text(settings_.data), config_.vocab)});
    }

    void check_config(const RunFolder& run) const override { (void)lrnn_config(run); }

    bool keeps_state() const override { return true; }

    Exit generate(const RunFolder& run, const GenerateSettings& settings) const override {
        const TrainedLrnn trained(run);
        const Lrnn<float>& model = trained.model;
        if (!settings.save_state.empty() && settings.samples > 1)
            throw UsageError("generate: --save-state saves the end of one sample; leave --samples away");
        const bool goes_on = !settings.load_state.empty();
        const models::LrnnPause<float> before =
            goes_on ? models::load_pause(settings.load_state, model) : models::LrnnPause<float>{model.start()};
        models::LrnnPause<float> now;
        Speech speech{.start =
                          [&] {
                              now.state = before.state;
                              return [&](std::span<const std::int32_t> tokens) {
                                  Tensor<float> logits;
                                  for (const std::int32_t token : tokens) logits = model.next(token, now.state);
                                  return logits;
                              };
                          },
                      .top_p = 0.9,
                      .stop = [&](std::int32_t token) { now.token = token; }};
        if (goes_on) speech.before = {before.token};
        const Exit status = generate_texts(trained.tokenizer, settings, speech);
        if (!settings.save_state.empty()) models::save_pause(settings.save_state, now);
        return status;
    }

    Exit eval(const RunFolder& run, const std::filesystem::path& data, bool json) const override {
        const TrainedLrnn trained(run);
        return eval_text(trained.tokenizer, data, trained.model.config().context, json,
                         [&](const models::Batch& batch) { return plain_loss(trained.model, batch); });
    }

    AuditReport audit(const AuditRequest& request) const override { return audit_lrnn(request); }
    std::vector<AuditCase> audit_cases() const override { return lrnn_cases(); }

    std::string formats() const override { return "a run folder to a checkpoint lrnnC01 or lrnnC02 and back"; }

    bool convert(const std::filesystem::path& in, const std::filesystem::path& out) const override {
        if (std::filesystem::is_regular_file(in)) {
            if (!models::is_lrnn_checkpoint(in)) return false;
            write_run(models::read_lrnn_checkpoint(in), in, RunFolder(out));
            return true;
        }
        const RunFolder run(in);
        if (run.is_foreign() || run.read_config().at("model") != name()) return false;
        const TrainedLrnn trained(run);
        models::write_lrnn_checkpoint(out, trained.model, trained.tokenizer, form_of(run));
        return true;
    }

private:
    /// The sizes that the flags and the text ask for.
    void settle_sizes(const models::Text& text, const models::Tokenizer& tokenizer) {
        const bool given = std::ranges::any_of(sizes_, [](const CLI::Option* size) { return size->count() > 0; });
        const bool asked = app_->get_option("--auto-config")->count() > 0;
        if (asked ? automatic_ : !given) {
            const bool words = tokenizer.kind() == "word";
            LrnnConfig fitting = models::automatic_sizes(static_cast<double>(text.size()) / (words ? 5 : 1));
            fitting.label_smoothing = config_.label_smoothing;
            config_ = fitting;
            for (CLI::Option* size : sizes_) {
                if (size->count() > 0) size->run_callback();
            }
        }
        config_.vocab = tokenizer.vocab();
        config_ = config_.checked();
    }

    void write_run(const models::LrnnCheckpoint& checkpoint, const std::filesystem::path& in,
                   const RunFolder& run) const {
        check_finite(nn::parameters(checkpoint.model), in.string());
        run.begin_converted();
        const Json form{{"version", checkpoint.form.version}, {"unknown_byte", checkpoint.form.unknown_byte}};
        const Json config{{"model", name()},
                          {"config", to_json(checkpoint.model.config())},
                          {"data", in.string()},
                          {"checkpoint", form}};
        run.write_config(config);
        run.write_text("tokenizer.json", checkpoint.tokenizer.to_json());
        nn::save(run.file("model.safetensors"), checkpoint.model);
    }

    TrainSettings settings_;
    LrnnConfig config_;
    int epochs_ = 20;
    bool automatic_ = true;
    std::string tokenizer_ = "auto";
    CLI::App* app_ = nullptr;
    std::vector<CLI::Option*> sizes_;  ///< the flags that turn automatic sizes off
};

}  // namespace

std::unique_ptr<ModelCommand> lrnn_command() { return std::make_unique<LrnnCommand>(); }

}  // namespace xtape::tools
