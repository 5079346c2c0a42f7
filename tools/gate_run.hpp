#pragma once
// What the commands of the gate do with a model: measure it, train it, and answer lines as they come.

#include <xtape/models/gate/data.hpp>
#include <xtape/models/gate/gate.hpp>
#include <xtape/models/gate/metrics.hpp>
#include <xtape/models/text/name_corpus.hpp>
#include <xtape/optim/adam.hpp>
#include <xtape/tools/trainer.hpp>

#include <cstdio>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace xtape::tools {

/// How a model does on some examples.
struct GateScore {
    Index examples = 0;
    double loss = 0;        ///< as in training, weighted
    double perplexity = 0;  ///< of the next tokens; NaN without any
    models::Confusion confusion;
};

GateScore score(const models::Gate<float>& model, std::span<const models::GateExample> examples);
Json to_json(const GateScore& score);
void print(const GateScore& score);

/// A gate in training: batches in an order that each epoch shuffles.
class GateLearner final : public Learner {
public:
    GateLearner(const models::GateConfig& config, const TrainSettings& settings, models::GateSplit data);

    std::vector<nn::Named<float>> parameters() override { return nn::parameters(model_); }
    Optimizer<float>& optimizer() override { return adamw_; }
    double learning_rate(Index step) const override;
    Tensor<float> loss(Index draw) override;
    Index tokens() const override { return tokens_; }
    std::optional<double> validate() override;
    double flops_per_token() const override;
    void stepped(double loss) override { losses_.add(loss); }
    Json state() const override;
    void restore(const Json& json) override;

    /// The metrics of the course so far, those of decisions by the held-out examples.
    Json report() const override;
    void print_report() const override;

private:
    TrainSettings settings_;
    models::Gate<float> model_;
    AdamW<float> adamw_;
    models::GateSplit data_;
    models::EpochOrder order_;
    models::LossHistory losses_;
    std::optional<GateScore> score_;  ///< by the last validation
    Index tokens_ = 0;
};

/// The probability of allow of each text. One with more tokens than the context is read in windows that overlap by
/// half, and has the least of their probabilities: nothing in it goes unread.
std::vector<double> allow_probabilities(const models::Gate<float>& model, const models::Tokenizer& tokenizer,
                                        std::span<const std::string> texts);

/// Answers each line of `in` (JSON with an input, or plain text; blank ones are passed over) by a line on `out`, all
/// that have come at once together, and flushes before it waits for more. Throws FileError that names `source` and the
/// number of a line that is bad, with those before it answered.
void answer_lines(const models::Gate<float>& model, const models::Tokenizer& tokenizer, int in,
                  const std::string& source, std::FILE* out);

}  // namespace xtape::tools
