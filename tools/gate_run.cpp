#include <xtape/engine/ops.hpp>
#include <xtape/optim/schedule.hpp>
#include <xtape/tools/gate_run.hpp>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace xtape::tools {

using models::Confusion;
using models::Gate;
using models::GateBatch;
using models::GateExample;

namespace {

constexpr std::size_t examples_at_once = 64;

/// `otherwise` for what could not be measured.
std::string measured(const char* format, double value, const char* otherwise) {
    return std::isnan(value) ? otherwise : fmt::format(fmt::runtime(format), value);
}

}  // namespace

GateScore score(const Gate<float>& model, std::span<const GateExample> examples) {
    GateScore result;
    double loss = 0, next_loss = 0;
    Index next_tokens = 0;
    for (std::size_t first = 0; first < examples.size(); first += examples_at_once) {
        const GateBatch batch =
            models::pack(examples.subspan(first, std::min(examples_at_once, examples.size() - first)));
        const auto logits = model(batch);
        loss += static_cast<double>(model.loss(logits, batch).item()) * static_cast<double>(batch.size());
        if (const Index count = batch.next.size(); count > 0) {
            next_loss +=
                static_cast<double>(cross_entropy(logits.next, batch.next).item()) * static_cast<double>(count);
            next_tokens += count;
        }
        for (std::size_t i = 0; i < batch.labels.size(); ++i)
            result.confusion.add(logits.allow.values()[i] >= 0, models::allows(batch.labels[i]));
    }
    result.examples = static_cast<Index>(examples.size());
    result.loss = loss / static_cast<double>(examples.size());
    result.perplexity = std::exp(next_loss / static_cast<double>(next_tokens));
    return result;
}

Json to_json(const GateScore& score) {
    const Confusion& c = score.confusion;
    return Json{{"loss", score.loss},
                {"perplexity", score.perplexity},
                {"examples", score.examples},
                {"decisions", c.decisions()},
                {"alignment", c.alignment()},
                {"converged", c.converged()},
                {"precision", c.precision()},
                {"recall", c.recall()},
                {"confusion",
                 {{"allow_allow", c.allow_allow},
                  {"allow_block", c.allow_block},
                  {"block_allow", c.block_allow},
                  {"block_block", c.block_block}}}};
}

void print(const GateScore& score) {
    const Confusion& c = score.confusion;
    fmt::print("loss {:.4f} over {} examples, {}\n", score.loss, score.examples,
               measured("perplexity of the next tokens {:.3f}", score.perplexity, "no next tokens among them"));
    fmt::print("{} decisions, {}{}, {}, {}\n", c.decisions(),
               measured("alignment {:.4f}", c.alignment(), "no alignment"), c.converged() ? " (converged)" : "",
               measured("precision of allow {:.4f}", c.precision(), "no allow predicted"),
               measured("recall of allow {:.4f}", c.recall(), "no allow wanted"));
    fmt::print("                should allow  should block\n");
    fmt::print("  says allow  {:>14}{:>14}\n  says block  {:>14}{:>14}\n", c.allow_allow, c.allow_block, c.block_allow,
               c.block_block);
}

GateLearner::GateLearner(const models::GateConfig& config, const TrainSettings& settings, models::GateSplit data)
    : settings_(settings),
      model_(nn::build<Gate<float>>(config, settings.seed)),
      adamw_(model_, {.lr = settings.lr, .weight_decay = settings.weight_decay}),
      data_(std::move(data)),
      order_(static_cast<Index>(data_.training.size()), settings.seed) {}

double GateLearner::learning_rate(Index step) const {
    return WarmupCosine{settings_.lr, settings_.steps, settings_.warmup, 1}(step);
}

Tensor<float> GateLearner::loss(Index draw) {
    std::vector<GateExample> examples;
    for (Index i = 0; i < settings_.batch; ++i)
        examples.push_back(data_.training[static_cast<std::size_t>(order_[draw * settings_.batch + i])]);
    const GateBatch batch = models::pack(examples);
    tokens_ = batch.tokens.size();
    return model_.loss(batch);
}

std::optional<double> GateLearner::validate() {
    if (data_.held_out.empty()) return std::nullopt;
    score_ = score(model_, data_.held_out);
    return score_->loss;
}

/// 6 for each weight of the layers' products, forward and backward, and 12 for each entry of attention's matrices.
double GateLearner::flops_per_token() const {
    const models::GateConfig& c = model_.config();
    double tokens = 0;
    for (const GateExample& example : data_.training) tokens += static_cast<double>(example.tokens.size());
    const double length = tokens / static_cast<double>(data_.training.size());
    return 6.0 * c.layers * (4.0 * c.dim * c.dim + 2.0 * c.dim * c.ffn) + 12.0 * c.layers * c.dim * length / 2;
}

Json GateLearner::state() const {
    if (losses_.steps() == 0) return {};  // an average of none is no number
    return Json{{"steps", losses_.steps()}, {"loss_average", losses_.average()}, {"last_losses", losses_.last()}};
}

void GateLearner::restore(const Json& json) {
    const nn::Members state(json);
    losses_ = {state.at("steps"), state.at("loss_average"), state.at("last_losses").get<std::deque<double>>()};
}

Json GateLearner::report() const {
    Json all{{"loss_average", losses_.average()},
             {"loss_trend", losses_.trend()},
             {"learning_rate", learning_rate(std::max<Index>(0, losses_.steps() - 1))},
             {"last_losses", losses_.last()}};
    if (!score_) return all;
    Json of_held_out = to_json(*score_);
    of_held_out.erase("loss");  // it is the val_loss
    all.update(of_held_out);
    return all;
}

void GateLearner::print_report() const {
    fmt::print("average loss {:.4f}, trend {:+.4f}\n", losses_.average(), losses_.trend());
    if (!score_) return;
    fmt::print("held out: ");
    print(*score_);
}

}  // namespace xtape::tools
