#include <xtape/engine/error.hpp>
#include <xtape/engine/threads.hpp>
#include <xtape/models/gate/tool_calls.hpp>
#include <xtape/nn/file.hpp>
#include <xtape/nn/safetensors.hpp>
#include <xtape/tools/flags.hpp>
#include <xtape/tools/gate_audit.hpp>
#include <xtape/tools/gate_command.hpp>
#include <xtape/tools/gate_run.hpp>
#include <xtape/tools/text_run.hpp>
#include <xtape/tools/train_command.hpp>
#include <xtape/tools/trained.hpp>

#include <cerrno>
#include <cstring>
#include <memory>

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>
#include <CLI/App.hpp>

namespace xtape::tools {
namespace {

using models::Gate;
using models::GateConfig;
using models::GateLine;

Json to_json(const GateConfig& c) {
    return Json{{"vocab", c.vocab}, {"dim", c.dim},         {"layers", c.layers}, {"heads", c.heads},
                {"ffn", c.ffn},     {"context", c.context}, {"ln_eps", c.ln_eps}, {"init", c.init}};
}

GateConfig gate_config(const RunFolder& run) {
    return read_part(run, "config", [](const auto& json) {
        const GateConfig settings{.vocab = json.at("vocab"),
                                  .dim = json.at("dim"),
                                  .layers = json.at("layers"),
                                  .heads = json.at("heads"),
                                  .ffn = json.at("ffn"),
                                  .context = json.at("context"),
                                  .ln_eps = json.at("ln_eps"),
                                  .init = json.at("init")};
        settings.check();
        return settings;
    });
}

std::string source_of_calls(const std::string& path) { return path.empty() ? "the built-in tool calls" : path; }

/// All texts of some lines, one a line.
std::string text_of(std::span<const GateLine> lines) {
    std::string text;
    for (const GateLine& line : lines) text += line.input + (line.next ? '\n' + *line.next : "") + '\n';
    return text;
}

using TrainedGate = Trained<Gate<float>, models::Tokenizer, gate_config>;

/// A file that is open for reading for as long as this lives.
class InputFile {
public:
    explicit InputFile(const std::string& path) : file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
        if (file_ < 0) throw FileError(fmt::format("{}: cannot be opened: {}", path, std::strerror(errno)));
    }
    ~InputFile() { ::close(file_); }
    InputFile(const InputFile&) = delete;
    InputFile& operator=(const InputFile&) = delete;

    int number() const { return file_; }

private:
    int file_;
};

class GateCommand final : public ModelCommand {
public:
    std::string name() const override { return "gate"; }
    std::string description() const override { return "A classifier that learns to allow or block tool calls"; }

    void bind_train(CLI::App& app) override {
        settings_.out = "runs/gate";
        settings_.steps = 4000;
        settings_.batch = 32;
        settings_.lr = 3e-4;
        settings_.weight_decay = 0.01;
        settings_.val_fraction = 0.1;
        settings_.eval_every = 500;
        app_ = &app;
        bind(app, settings_);
        app.add_option("--dim", config_.dim, "Width of the model");
        app.add_option("--layers", config_.layers, "Layers");
        app.add_option("--heads", config_.heads, "Heads; they divide dim");
        app.add_option("--ffn", config_.ffn, "Width of the FFN");
        app.add_option("--ctx", config_.context, "The most tokens of a call");
        app.add_option("--init", config_.init, "Standard deviation of the initial weights")->check(not_negative());
        app.add_option("--tokenizer", tokenizer_, "word, byte, char (the bytes that occur) or bpe, made from the data")
            ->check(CLI::IsMember({"word", "byte", "char", "bpe", "auto"}));
        app.add_option("--vocab", vocab_, "Tokens of bpe")->check(between(256, models::most_bpe_tokens));
        app.add_option("--examples", calls_.count, "Built-in tool calls to make")->check(positive());
        app.add_option("--false-positive-weight", calls_.false_positive_weight,
                       "Weight of a built-in call that a gate would have let through")
            ->check(positive());
    }

    Exit train() override { return train_model(*this, settings_, *app_); }

    Exit prepare(const std::function<Exit(const PreparedCourse&)>& use) override {
        set_threads(settings_.threads);
        refuse_idle_vocab(*app_, settings_, tokenizer_);
        const std::vector<GateLine> lines = read_lines();
        const std::string text = text_of(lines);
        const models::Tokenizer tokenizer =
            tokenizer_for(settings_, std::string_view(text), source_of_calls(settings_.data), tokenizer_, vocab_);
        config_.vocab = tokenizer.vocab();
        config_.check();
        check_memory(name(), models::parameter_count(config_));
        std::string summary;
        GateLearner learner(config_, settings_, examples(lines, tokenizer, summary));
        return use({learner, to_json(config_), source_of_calls(settings_.data), tokenizer.to_json(), summary});
    }

    void check_config(const RunFolder& run) const override { (void)gate_config(run); }

    Exit generate(const RunFolder&, const GenerateSettings&) const override {
        throw UsageError("generate: a gate makes decisions, not text; take xtape predict");
    }

    Exit predict(const RunFolder& run, const std::string& data) const override {
        const TrainedGate trained(run);
        if (data.empty() || data == "-") {
            answer_lines(trained.model, trained.tokenizer, STDIN_FILENO, "standard input", stdout);
        } else {
            const InputFile file(data);
            answer_lines(trained.model, trained.tokenizer, file.number(), data, stdout);
        }
        return Exit::done;
    }

    Exit eval(const RunFolder& run, const std::filesystem::path& data, bool json) const override {
        const TrainedGate trained(run);
        const std::vector<GateLine> lines = models::read_gate_lines(nn::read_file(data, data_limit), data.string());
        warn_of_unknown(text_of(lines), trained.tokenizer, data.string());
        const models::GateExamples all =
            models::encode(lines, trained.tokenizer, trained.model.config().context, data.string());
        if (all.examples.empty())
            throw FileError(fmt::format("{}: all {} lines have more than the model's {} tokens", data.string(),
                                        lines.size(), trained.model.config().context));
        const GateScore of_data = score(trained.model, all.examples);
        (void)finite(of_data.loss);
        Json result = tools::to_json(of_data);
        result["too_long"] = all.too_long;
        if (json)
            fmt::print("{}\n", one_line(result));
        else
            print(of_data);
        if (!json && all.too_long > 0) fmt::print("{} lines too long, left out\n", all.too_long);
        return Exit::done;
    }

    AuditReport audit(const AuditRequest& request) const override { return audit_gate(request); }
    std::vector<AuditCase> audit_cases() const override { return gate_cases(); }

private:
    std::vector<GateLine> read_lines() {
        if (!settings_.data.empty())
            return models::read_gate_lines(nn::read_file(settings_.data, data_limit), settings_.data);
        calls_.seed = settings_.seed;
        return models::tool_calls(calls_);
    }

    /// With a summary of them. Throws FileError when there is nothing to learn from.
    models::GateSplit examples(std::span<const GateLine> lines, const models::Tokenizer& tokenizer,
                               std::string& summary) const {
        models::GateExamples all = models::encode(lines, tokenizer, config_.context, source_of_calls(settings_.data));
        summary =
            fmt::format("{} parameters, {} examples of {}{}, a vocabulary of {}", models::parameter_count(config_),
                        all.examples.size(), source_of_calls(settings_.data),
                        all.too_long > 0 ? fmt::format(" ({} too long, left out)", all.too_long) : "", config_.vocab);
        models::GateSplit parts = models::split(std::move(all.examples), settings_.val_fraction, settings_.seed);
        if (parts.training.empty())
            throw FileError(fmt::format("{}: no examples to learn from: {} are held out, {} are longer than {} tokens",
                                        source_of_calls(settings_.data), parts.held_out.size(), all.too_long,
                                        config_.context));
        return parts;
    }

    TrainSettings settings_;
    GateConfig config_;
    models::ToolCallOptions calls_;
    std::string tokenizer_ = "word";
    int vocab_ = 1024;
    CLI::App* app_ = nullptr;
};

}  // namespace

std::unique_ptr<ModelCommand> gate_command() { return std::make_unique<GateCommand>(); }

}  // namespace xtape::tools
