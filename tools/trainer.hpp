#pragma once
// The course of a training run, whatever the model: steps, evaluation, checkpoints, and what is shown of it.

#include <xtape/engine/tensor.hpp>
#include <xtape/nn/module.hpp>
#include <xtape/optim/optimizer.hpp>
#include <xtape/tools/model_command.hpp>
#include <xtape/tools/run_folder.hpp>

#include <optional>

namespace xtape::tools {

/// The flags of `xtape train` that every model shares; each model sets its own defaults first.
struct TrainSettings {
    std::string data;
    std::string out;
    Index steps = 1000;
    Index batch = 1;
    double lr = 1e-3;
    std::uint64_t seed = 1;
    int threads = 0;  ///< 0: all
    double val_fraction = 0;
    Index eval_every = 0;  ///< 0: at the end alone
    Index warmup = 0;
    double clip = 0;  ///< 0: no clipping
    double weight_decay = 0;
    Index accumulate = 1;
    Index stop_after = 0;   ///< 0: after `steps`
    Index save_every = 0;   ///< 0: at the end alone
    Index save_epochs = 0;  ///< 0: not by epochs
    bool resume = false;
    bool overwrite = false;
    bool profile = false;
    bool quiet = false;
    bool json = false;
};

/// A model in training, as the trainer sees it.
class Learner {
public:
    virtual ~Learner() = default;
    virtual std::vector<nn::Named<float>> parameters() = 0;
    /// The loss of one micro-batch, `draw` counting all micro-batches of the course from 0; what it trains on follows
    /// from `draw` and the seed alone.
    virtual Tensor<float> loss(Index draw) = 0;
    /// How many tokens the last `loss` saw.
    virtual Index tokens() const = 0;
    virtual Optimizer<float>& optimizer() = 0;
    virtual double learning_rate(Index step) const = 0;
    /// The loss over the whole validation part; none without one.
    virtual std::optional<double> validate() = 0;
    /// How many epochs the first `draws` micro-batches complete; 0 where the model counts none.
    virtual Index epochs(Index /*draws*/) { return 0; }
    /// Whether a step whose loss or gradient is not finite is skipped, and does not end the training.
    virtual bool skips_bad_steps() const { return false; }
    /// Floating-point operations of forward and backward, by the model's formula; 0 where none is known.
    virtual double flops_per_token() const { return 0; }
    /// Called after each step with its mean loss.
    virtual void stepped(double /*loss*/) {}
    /// What else the result has to say: in JSON, and printed.
    virtual Json report() const { return Json::object(); }
    virtual void print_report() const {}
    /// What else a resumed run needs to know of the model's course, and the way back.
    virtual Json state() const { return {}; }
    virtual void restore(const Json& /*state*/) {}
};

struct TrainResult {
    Index steps = 0;
    double loss_last_100 = 0;
    std::optional<double> val_loss;
    double seconds = 0;
    double us_per_step = 0;
    double tokens_per_second = 0;
    std::int64_t peak_bytes = 0;
    std::optional<double> utilisation;  ///< of the rate of a large product, by the model's formula for its operations
    bool interrupted = false;
};

/// A loss, gradient, weight or moment that is not finite; of a loss, with the op that made it. The command exits
/// with 1.
class TrainingFailed : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Trains to `stop_after` or `steps`, from the start or from where the folder's last checkpoint left off. Ctrl-C drops
/// the step that it comes in, unless that is done, and saves. Throws TrainingFailed for a loss that is not finite,
/// where the learner skips such steps for a whole epoch of them, and for such a weight or moment; the last good
/// checkpoint stays.
TrainResult run_training(Learner& learner, const TrainSettings& settings, const RunFolder& run);

}  // namespace xtape::tools
