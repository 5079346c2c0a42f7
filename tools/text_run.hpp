#pragma once
// What the commands of the text models share: the text of a run and its tokens, a model that learns windows of it, and
// text that comes out token by token.

#include <xtape/models/text/corpus.hpp>
#include <xtape/models/text/sampler.hpp>
#include <xtape/models/text/text.hpp>
#include <xtape/models/text/tokenizer.hpp>
#include <xtape/nn/module.hpp>
#include <xtape/optim/optimizer.hpp>
#include <xtape/tools/trainer.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace xtape::tools {

/// The text of a file, or the built-in one for an empty path; and what to call it.
models::Text open_text(const std::string& path);
std::string source_of_text(const std::string& path);

/// How many bytes of a text a run's char vocabulary does not hold.
std::ptrdiff_t unknown_bytes(std::string_view text, const models::Tokenizer& tokenizer);
/// Says so on standard error, if there are any.
void warn_of_unknown(const models::Text& text, const models::Tokenizer& tokenizer, const std::string& source);

/// The tokenizer of a training: that of the run which it resumes, or one learnt on the text: see Tokenizer::learn.
models::Tokenizer tokenizer_for(const TrainSettings& settings, const models::Text& text, const std::string& source,
                                const std::string& kind, int vocab);
/// Throws UsageError where --vocab is given for a new run whose tokenizer is of a kind that it says nothing to.
void refuse_idle_vocab(const CLI::App& app, const TrainSettings& settings, const std::string& kind);
/// Throws ValueError that names the first character of a prompt that the vocabulary does not hold.
void check_prompt(std::string_view prompt, const models::Tokenizer& tokenizer);

/// The mean loss of windows of a corpus, `at_once` of them a batch, weighed by their positions.
double loss_over(const models::TextCorpus& corpus, std::span<const models::Window> windows, std::size_t at_once,
                 const std::function<Tensor<float>(const models::Batch&)>& loss);

/// A model that learns windows of a corpus: `Model` has a loss(batch).
template <class Model> class TextLearner : public Learner {
public:
    struct Course {
        std::function<std::vector<models::Window>(Index draw)> windows;  ///< of a micro-batch
        std::function<double(Index step)> learning_rate;
        Index context = 0;
        Index batch = 1;             ///< windows at once, in validation
        double flops_per_token = 0;  ///< of forward and backward
    };

    TextLearner(Model& model, Optimizer<float>& optimizer, const models::TextCorpus& corpus, Course course)
        : model_(model), optimizer_(optimizer), corpus_(corpus), course_(std::move(course)) {}

    std::vector<nn::Named<float>> parameters() override { return nn::parameters(model_); }
    Optimizer<float>& optimizer() override { return optimizer_; }
    double learning_rate(Index step) const override { return course_.learning_rate(step); }
    double flops_per_token() const override { return course_.flops_per_token; }

    Tensor<float> loss(Index draw) override {
        const models::Batch batch = corpus_.batch(course_.windows(draw));
        tokens_ = batch.tokens.size();
        return model_.loss(batch);
    }
    Index tokens() const override { return tokens_; }

    std::optional<double> validate() override {
        if (corpus_.validation().size() < 2) return std::nullopt;
        return loss_over(corpus_, models::side_by_side_windows(corpus_.validation(), course_.context),
                         static_cast<std::size_t>(course_.batch),
                         [&](const models::Batch& batch) { return model_.loss(batch); });
    }

private:
    Model& model_;
    Optimizer<float>& optimizer_;
    const models::TextCorpus& corpus_;
    Course course_;
    Index tokens_ = 0;
};

/// Logits [.., V] of the token that follows; called with the prompt's tokens, then with each token as it is drawn.
using NextToken = std::function<Tensor<float>(std::span<const std::int32_t>)>;

/// How a model generates, besides what the user says.
struct Speech {
    std::function<NextToken()> start;       ///< of each text
    Index context = 0;                      ///< of a longer prompt only the last half context is read; 0: all of any
    double top_p = 1;                       ///< unless the user names one
    std::vector<std::int32_t> before = {};  ///< the tokens that a prompt goes on from
    std::function<void(std::int32_t token)> stop =
        {};  ///< after each text, with its last token, which `next` never saw
};

/// `samples` texts, as `xtape generate` prints them.
Exit generate_texts(const models::Tokenizer& tokenizer, const GenerateSettings& settings, const Speech& speech);

/// Loss and perplexity over a file, as `xtape eval` prints them.
Exit eval_text(const models::Tokenizer& tokenizer, const std::filesystem::path& data, Index context, bool json,
               const std::function<Tensor<float>(const models::Batch&)>& loss);

}  // namespace xtape::tools
