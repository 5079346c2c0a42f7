#include "../catch.hpp"
#include "scratch.hpp"

#include <xtape/engine/ops.hpp>
#include <xtape/optim/sgd.hpp>
#include <xtape/tools/train_command.hpp>
#include <xtape/tools/trainer.hpp>

#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace test_trainer {

namespace {

using namespace xtape;
using tools::TrainSettings;

/// Learns one number; the loss of some draws is not finite. An epoch has 4 draws.
class Scale final : public tools::Learner {
public:
    Scale(std::vector<Index> bad, bool skips) : bad_(std::move(bad)), skips_(skips) {}

    std::vector<nn::Named<float>> parameters() override { return {{"w", &w_}}; }
    Tensor<float> loss(Index draw) override {
        const bool bad = std::ranges::find(bad_, draw) != bad_.end();
        return mean(w_ * w_) * (bad ? std::numeric_limits<float>::quiet_NaN() : 1.0f);
    }
    Index tokens() const override { return 1; }
    Optimizer<float>& optimizer() override { return sgd_; }
    double learning_rate(Index) const override { return 0.125; }
    std::optional<double> validate() override { return std::nullopt; }
    Index epochs(Index draws) override { return draws / 4; }
    bool skips_bad_steps() const override { return skips_; }

    float value() const { return w_.item(); }

private:
    Parameter<float> w_{Tensor<float>({1}, {1.0f})};
    SGD<float> sgd_{parameters()};
    std::vector<Index> bad_;
    bool skips_;
};

TrainSettings course(Index steps) {
    TrainSettings settings;
    settings.steps = steps;
    return settings;
}

struct Printed {
    tools::TrainResult result;
    std::string out, error;
};

Printed train(Scale& learner, const TrainSettings& settings, const std::string& folder) {
    const test::Scratch scratch;
    std::filesystem::create_directories(folder);
    Printed printed;
    {
        std::fflush(stdout);
        const test::Redirect out(STDOUT_FILENO, scratch / "out"), error(STDERR_FILENO, scratch / "error");
        printed.result = tools::run_training(learner, settings, tools::RunFolder(folder));
    }
    printed.out = nn::read_file(scratch / "out");
    printed.error = nn::read_file(scratch / "error");
    return printed;
}

}  // namespace

TEST_CASE("trainer: a step whose loss is not finite is skipped and said, where the learner wants it") {
    const test::Scratch scratch;
    Scale learner({1, 6}, true);
    TrainSettings settings = course(8);
    settings.clip = 100;
    settings.quiet = true;
    const Printed printed = train(learner, settings, scratch / "run");
    CHECK(learner.value() == Approx(std::pow(0.75, 6)));
    CHECK(printed.result.steps == 8);
    CHECK(printed.result.loss_last_100 > 0);
    CHECK(printed.error.find("xtape: train: the loss is NaN at step 2") == 0);
    CHECK(printed.error.find("the loss is NaN at step 7") != std::string::npos);
    CHECK(std::count(printed.error.begin(), printed.error.end(), '\n') == 2);
}

TEST_CASE("trainer: without such a wish, or when a whole epoch is bad, the training ends") {
    const test::Scratch scratch;
    Scale strict({1}, false), hopeless({4, 5, 6, 7}, true);
    CHECK_THROWS_AS(train(strict, course(8), scratch / "a"), tools::TrainingFailed);
    CHECK_THROWS_WITH(train(hopeless, course(12), scratch / "b"), "train: no loss of epoch 2 was finite");
}

TEST_CASE("trainer: each epoch tells its loss and perplexity, and whether it is the best") {
    const test::Scratch scratch;
    Scale learner({}, true);
    const Printed printed = train(learner, course(9), scratch / "run");
    const double first = (1 + std::pow(0.75, 2) + std::pow(0.75, 4) + std::pow(0.75, 6)) / 4;
    CHECK(printed.out.find(fmt::format("epoch    1   loss {:.4f}   perplexity {:.3f}", first, std::exp(first))) !=
          std::string::npos);
    CHECK(printed.out.find("epoch    2   loss") != std::string::npos);
    CHECK(printed.out.find("s   best\n") != std::string::npos);
    CHECK(printed.out.find("epoch    3") == std::string::npos);
}

TEST_CASE("trainer: memory is the machine's, or the limit of the control group where that is less") {
    const test::Scratch scratch;
    const double machine = tools::memory_there(scratch / "missing");
    CHECK(machine > 1 << 20);
    CHECK(tools::memory_there(scratch.write("limit", "1048576\n")) == 1 << 20);
    CHECK(tools::memory_there(scratch.write("none", "max\n")) == machine);
    CHECK(tools::memory_there(scratch.write("more", "1000000000000000000\n")) == machine);
}

TEST_CASE("trainer: a checkpoint every so many epochs, and a resumed epoch counts what was before") {
    const test::Scratch scratch;
    Scale whole({}, true), half({}, true), rest({}, true);
    const Printed once = train(whole, course(8), scratch / "whole");
    TrainSettings settings = course(8);
    settings.stop_after = 6;
    settings.save_epochs = 1;
    train(half, settings, scratch / "parts");
    settings = course(8);
    settings.resume = true;
    const Printed resumed = train(rest, settings, scratch / "parts");
    const auto second = [](const std::string& out) {
        const std::size_t begin = out.find("epoch    2");
        return out.substr(begin, out.find("perplexity", begin) - begin);
    };
    CHECK(second(resumed.out) == second(once.out));
    CHECK(rest.value() == whole.value());
}

}  // namespace test_trainer
