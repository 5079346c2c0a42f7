#include <xtape/engine/buffer.hpp>
#include <xtape/engine/error.hpp>
#include <xtape/engine/tape.hpp>
#include <xtape/optim/gradients.hpp>
#include <xtape/tools/profile.hpp>
#include <xtape/tools/progress.hpp>
#include <xtape/tools/trained.hpp>
#include <xtape/tools/trainer.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <deque>
#include <limits>
#include <numeric>

#include <fmt/format.h>

namespace xtape::tools {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

volatile std::sig_atomic_t interrupted = 0;

/// While it lives, the first Ctrl-C asks for an end after the present micro-batch; a second one ends at once.
class InterruptHandler {
public:
    InterruptHandler() {
        interrupted = 0;
        previous_ = std::signal(SIGINT, [](int) {
            interrupted = 1;
            std::signal(SIGINT, SIG_DFL);
        });
    }
    ~InterruptHandler() { std::signal(SIGINT, previous_); }
    InterruptHandler(const InterruptHandler&) = delete;
    InterruptHandler& operator=(const InterruptHandler&) = delete;

private:
    void (*previous_)(int);
};

/// What the course has come to; saved with each checkpoint.
struct Course {
    Index step = 0;
    std::deque<double> last_losses;  ///< at most 100
    double interval_sum = 0;         ///< of the losses since the last metric
    Index interval = 0;
    double training_seconds = 0;  ///< of batch, forward, backward and optimizer
    Index tokens = 0;
    double best_validation = std::numeric_limits<double>::infinity();
    double epoch_sum = 0;  ///< of the losses of this epoch
    Index epoch_steps = 0;
    double best_epoch = std::numeric_limits<double>::infinity();
    std::vector<Metric> metrics;

    void add(double loss) {
        last_losses.push_back(loss);
        if (last_losses.size() > 100) last_losses.pop_front();
        interval_sum += loss;
        ++interval;
        epoch_sum += loss;
        ++epoch_steps;
    }
    double mean_of_last() const {
        const double sum = std::accumulate(last_losses.begin(), last_losses.end(), 0.0);
        return last_losses.empty() ? std::numeric_limits<double>::quiet_NaN()
                                   : sum / static_cast<double>(last_losses.size());
    }
};

Json number_or_null(double value) { return std::isfinite(value) ? Json(value) : Json(); }

Json to_json(const Course& course) {
    return Json{{"step", course.step},
                {"last_losses", course.last_losses},
                {"interval_sum", course.interval_sum},
                {"interval", course.interval},
                {"training_seconds", course.training_seconds},
                {"tokens", course.tokens},
                {"best_val_loss", number_or_null(course.best_validation)},
                {"epoch_sum", course.epoch_sum},
                {"epoch_steps", course.epoch_steps},
                {"best_epoch_loss", number_or_null(course.best_epoch)}};
}

/// All that a resumed run needs: parameters, moments, and in the metadata the course. One file, so that a kill
/// between two files cannot leave a checkpoint that does not fit itself.
nn::Arrays checkpoint_arrays(Learner& learner) {
    nn::Arrays arrays = learner.optimizer().state();
    for (const auto& [name, parameter] : learner.parameters())
        arrays.push_back({"model." + name, parameter->shape(), parameter->write()});
    return arrays;
}

void save_weights(Learner& learner, const Course& course, const std::filesystem::path& path) {
    std::vector<nn::ConstArray> weights;
    for (const auto& [name, parameter] : learner.parameters())
        weights.emplace_back(name, parameter->shape(), parameter->values());
    nn::save_arrays(path, weights, {{"step", std::to_string(course.step)}});
}

/// The name of the first moment that is NaN or infinite, or empty.
std::string first_not_finite(const nn::Arrays& moments) {
    const auto is_finite = [](auto values) {
        return std::ranges::all_of(values, [](auto v) { return std::isfinite(v); });
    };
    const auto at =
        std::ranges::find_if_not(moments, [&](const nn::Array& array) { return std::visit(is_finite, array.values); });
    return at == moments.end() ? "" : at->name;
}

/// Throws TrainingFailed where an update has left a weight that is NaN or infinite, or a moment, which leaves its
/// weight where it is for good: what has been saved stays.
void check_update(Learner& learner, const Course& course) {
    for (const auto& [name, parameter] : learner.parameters()) {
        if (std::ranges::all_of(parameter->values(), [](float v) { return std::isfinite(v); })) continue;
        throw TrainingFailed(
            fmt::format("train: after step {}, {} is not finite; take a lower --lr", course.step, name));
    }
    if (const std::string name = first_not_finite(learner.optimizer().state()); !name.empty())
        throw TrainingFailed(
            fmt::format("train: after step {}, {} of the optimizer is not finite; limit the gradient with --clip",
                        course.step, name));
}

/// Measures the validation loss, and keeps the weights when they are the best so far.
std::optional<double> validate(Learner& learner, Course& course, const RunFolder& run) {
    check_update(learner, course);
    const std::optional<double> loss = learner.validate();
    if (loss && !std::isfinite(*loss))
        fmt::print(stderr, "xtape: train: the validation loss after step {} is not finite\n", course.step);
    if (loss && *loss < course.best_validation) {
        course.best_validation = *loss;
        save_weights(learner, course, run.file("best.safetensors"));
    }
    return loss;
}

void save(Learner& learner, const Course& course, const RunFolder& run) {
    check_update(learner, course);
    Json state = to_json(course);
    if (Json model = learner.state(); !model.is_null()) state["model"] = std::move(model);
    const std::string trainer = print_json(state, 1);
    nn::save_arrays(run.file("optimizer.safetensors"), checkpoint_arrays(learner), {{"trainer", trainer}});
    save_weights(learner, course, run.file("model.safetensors"));
    run.write_text("trainer.json", trainer);
    run.write_metrics(course.metrics);
}

Course restore(Learner& learner, const RunFolder& run) {
    const nn::Metadata metadata = nn::load_arrays(run.file("optimizer.safetensors"), checkpoint_arrays(learner));
    std::vector<nn::NamedConst<float>> weights;
    for (const auto& [name, parameter] : learner.parameters()) weights.push_back({name, parameter});
    check_finite(weights, run.file("optimizer.safetensors").string());
    if (const std::string name = first_not_finite(learner.optimizer().state()); !name.empty())
        throw FileError(fmt::format("{}: {} is not finite", run.file("optimizer.safetensors").string(), name));
    Course course;
    try {
        const auto text = metadata.find("trainer");
        if (text == metadata.end()) throw FileError("it has none");
        const Json all = parse_json(text->second);
        const nn::Members trainer(all);
        course.step = trainer.at("step");
        if (course.step < 0 || course.step > 1'000'000'000'000'000)
            throw FileError(fmt::format("step is {}", course.step));
        course.last_losses = trainer.at("last_losses").get<std::deque<double>>();
        course.interval_sum = trainer.at("interval_sum");
        course.interval = trainer.at("interval");
        course.training_seconds = trainer.at("training_seconds");
        course.tokens = trainer.at("tokens");
        if (!trainer.at("best_val_loss").json().is_null()) course.best_validation = trainer.at("best_val_loss");
        course.epoch_sum = trainer.at("epoch_sum");
        course.epoch_steps = trainer.at("epoch_steps");
        if (!trainer.at("best_epoch_loss").json().is_null()) course.best_epoch = trainer.at("best_epoch_loss");
        if (all.contains("model")) learner.restore(all.at("model"));
    } catch (const std::exception& error) {
        throw FileError(fmt::format("{}: the state of the trainer is broken: {}",
                                    run.file("optimizer.safetensors").string(), error.what()));
    }
    for (const Metric& metric : run.read_metrics()) {
        if (metric.step <= course.step) course.metrics.push_back(metric);
    }
    return course;
}

/// Runs the forward of a bad step again to name the op; the parameters are still those that made it.
std::string culprit(Learner& learner, Index draw) {
    try {
        const Tape<float> tape({.check_finite = true});
        learner.loss(draw);
    } catch (const Error& error) {
        return std::string("; ") + error.what();
    }
    return {};
}

/// Says why a step is skipped, drops its gradients, and counts it. Throws TrainingFailed where the learner skips none.
void skip(Learner& learner, std::vector<nn::Named<float>>& parameters, Course& course, const std::string& why) {
    if (!learner.skips_bad_steps()) throw TrainingFailed("train: " + why);
    fmt::print(stderr, "xtape: train: {}; skipped\n", why);
    nn::zero_grad(parameters);
    ++course.step;
}

/// One optimizer step over `accumulate` micro-batches, counted with their mean loss. After Ctrl-C no other one of them
/// begins, and the step is dropped.
void train_step(Learner& learner, std::vector<nn::Named<float>>& parameters, const TrainSettings& settings,
                Course& course) {
    double total = 0;
    const auto tokens_before = course.tokens;
    const auto share = static_cast<float>(1.0 / static_cast<double>(settings.accumulate));
    for (Index micro = 0; micro < settings.accumulate; ++micro) {
        if (interrupted != 0) {
            course.tokens = tokens_before;
            return nn::zero_grad(parameters);
        }
        const Index draw = course.step * settings.accumulate + micro;
        Tape<float> tape({.recompute = true});
        const Tensor<float> loss = learner.loss(draw);
        const double value = loss.item();
        if (!std::isfinite(value))
            return skip(learner, parameters, course,
                        fmt::format("the loss is {} at step {}{}", std::isnan(value) ? "NaN" : "infinite",
                                    course.step + 1, culprit(learner, draw)));
        tape.backward(loss, Tensor<float>::full({}, share));
        total += value * static_cast<double>(share);
        course.tokens += learner.tokens();
    }
    const double norm = settings.clip > 0 ? grad_norm(parameters) : 0;
    if (!std::isfinite(norm))
        return skip(learner, parameters, course, fmt::format("the gradient is not finite at step {}", course.step + 1));
    learner.optimizer().lr = learner.learning_rate(course.step);
    learner.optimizer().step(settings.clip > 0 ? clip_factor(norm, settings.clip) : 1);
    ++course.step;
    course.add(total);
    learner.stepped(total);
}

/// Shows the mean loss of the epoch that has ended, and begins another. Throws TrainingFailed when it had no loss.
void end_epoch(Course& course, Index epoch, Progress& progress) {
    if (course.epoch_steps == 0) throw TrainingFailed(fmt::format("train: no loss of epoch {} was finite", epoch));
    const double loss = course.epoch_sum / static_cast<double>(course.epoch_steps);
    const bool best = loss < course.best_epoch;
    if (best) course.best_epoch = loss;
    progress.line(fmt::format("epoch {:>4}   loss {:.4f}   perplexity {:.3f}   {:.2f} s{}", epoch, loss, std::exp(loss),
                              course.training_seconds, best ? "   best" : ""));
    course.epoch_sum = 0;
    course.epoch_steps = 0;
}

/// Writes down and shows the mean loss since the last time, with that of the validation if there was one just now.
void end_interval(Course& course, std::optional<double> val_loss, Progress& progress) {
    const double mean = course.interval_sum / static_cast<double>(course.interval);
    course.metrics.push_back({course.step, mean, val_loss.value_or(std::numeric_limits<double>::quiet_NaN())});
    course.interval_sum = 0;
    course.interval = 0;
    progress.show(course.step, mean, val_loss);
}

/// What is to be said at the end of a course, besides its losses of validation.
void sum_up(TrainResult& result, const Course& course, double seconds) {
    const auto steps = static_cast<double>(std::max<Index>(1, course.step));
    result.steps = course.step;
    result.loss_last_100 = course.mean_of_last();
    result.seconds = seconds;
    result.us_per_step = course.training_seconds / steps * 1e6;
    result.tokens_per_second = static_cast<double>(course.tokens) / std::max(course.training_seconds, 1e-9);
    result.peak_bytes = pool_statistics().peak_bytes;
    result.interrupted = interrupted != 0;
}

void say_nothing_is_left(const RunFolder& run, Index done, const TrainSettings& settings) {
    const bool whole = done >= settings.steps;
    fmt::print(
        stderr, "xtape: train: {} has done {} steps already, {}; give {} to go on\n", run.path().string(), done,
        whole ? fmt::format("and its course has {}", settings.steps) : std::string("not fewer than --stop-after says"),
        whole ? "a larger --steps" : "a larger --stop-after, or none,");
}

}  // namespace

TrainResult run_training(Learner& learner, const TrainSettings& settings, const RunFolder& run) {
    const InterruptHandler handler;
    const Clock::time_point begin = Clock::now();
    std::vector<nn::Named<float>> parameters = learner.parameters();
    Course course = settings.resume ? restore(learner, run) : Course{};
    const Index end = settings.stop_after > 0 ? std::min(settings.steps, settings.stop_after) : settings.steps;
    if (course.step >= end) {
        say_nothing_is_left(run, course.step, settings);
        save(learner, course, run);  // a kill may have left it with files that are older, or none
    }
    const Index metric_every = std::max<Index>(1, settings.steps / 200);
    const double product_rate = settings.profile ? measure_product_rate() : 0;
    Progress progress(course.step, settings.steps, !settings.quiet && !settings.json);
    TrainResult result;
    reset_pool_peak();

    for (bool last = course.step >= end; !last;) {
        const Clock::time_point start = Clock::now();
        const Index step_before = course.step, epochs_before = learner.epochs(step_before * settings.accumulate);
        train_step(learner, parameters, settings, course);
        if (course.step > step_before) course.training_seconds += seconds_since(start);
        const Index epochs = learner.epochs(course.step * settings.accumulate);
        const bool epoch_ends = epochs > epochs_before;
        if (epoch_ends) end_epoch(course, epochs, progress);
        last = course.step == end || interrupted != 0;
        const bool evaluate = last || (settings.eval_every > 0 && course.step % settings.eval_every == 0);
        if (evaluate) result.val_loss = validate(learner, course, run);
        if (course.interval > 0 && (evaluate || course.step % metric_every == 0))
            end_interval(course, evaluate ? result.val_loss : std::nullopt, progress);
        const bool due = (settings.save_every > 0 && course.step % settings.save_every == 0) ||
                         (epoch_ends && settings.save_epochs > 0 && epochs % settings.save_epochs == 0);
        last = last || interrupted != 0;  // which may have come during a long evaluation
        if (last || due) save(learner, course, run);
    }
    progress.finish();

    sum_up(result, course, seconds_since(begin));
    if (settings.profile) {
        result.utilisation = learner.flops_per_token() * result.tokens_per_second / product_rate;
        if (!settings.json) print_profile(profile_step(learner, 0));
    }
    return result;
}

}  // namespace xtape::tools
