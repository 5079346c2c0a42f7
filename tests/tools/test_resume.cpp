#include "../catch.hpp"

#include "scratch.hpp"

#include <xtape/engine/ops.hpp>
#include <xtape/optim/sgd.hpp>
#include <xtape/tools/trainer.hpp>

#include <csignal>
#include <functional>
#include <utility>

namespace test_resume {

namespace {

namespace fs = std::filesystem;
using xtape::Index;
using xtape::test::Outcome;
using xtape::test::Scratch;
using xtape::test::train_microgpt;
using xtape::test::weights;
using xtape::test::xtape_command;
using xtape::tools::Json;
using xtape::tools::parse_json;

/// Has `change` work on the config.json of a run.
void edit_config(const std::string& run, const std::function<void(Json&)>& change) {
    Json config = parse_json(xtape::nn::read_file(run + "/config.json"));
    change(config);
    xtape::nn::atomic_write(run + "/config.json", xtape::nn::print_json(config));
}

/// A working directory for a while.
class Inside {
public:
    explicit Inside(const fs::path& folder) : before_(fs::current_path()) { fs::current_path(folder); }
    ~Inside() { fs::current_path(before_); }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;

private:
    fs::path before_;
};

/// Learns one number by losses that differ from draw to draw; Ctrl-C comes in one draw, or in the first validation.
class Interrupted final : public xtape::tools::Learner {
public:
    Interrupted(Index at_draw, bool in_validation) : at_draw_(at_draw), in_validation_(in_validation) {}

    std::vector<xtape::nn::Named<float>> parameters() override { return {{"w", &w_}}; }
    xtape::Tensor<float> loss(Index draw) override {
        ++draws;
        if (draw == at_draw_) std::raise(SIGINT);
        return mean(w_ * w_) * static_cast<float>(draw + 1);
    }
    Index tokens() const override { return 1; }
    xtape::Optimizer<float>& optimizer() override { return sgd_; }
    double learning_rate(Index) const override { return 0.01; }
    std::optional<double> validate() override {
        if (std::exchange(in_validation_, false)) std::raise(SIGINT);
        return 1;
    }

    float value() const { return w_.item(); }

    int draws = 0;

private:
    xtape::Parameter<float> w_{xtape::Tensor<float>({1}, {1.0f})};
    xtape::SGD<float> sgd_{parameters()};
    Index at_draw_;
    bool in_validation_;
};

constexpr Index never = -1;

/// Three steps of four micro-batches, in a folder.
xtape::tools::TrainResult train_briefly(Interrupted& learner, const std::string& run, bool resume) {
    fs::create_directories(run);
    xtape::tools::TrainSettings settings;
    settings.steps = 3;
    settings.accumulate = 4;
    settings.eval_every = 1;
    settings.quiet = true;
    settings.resume = resume;
    return xtape::tools::run_training(learner, settings, xtape::tools::RunFolder(run));
}

}  // namespace

TEST_CASE("resume: a broken config.json is a bad file, not another run") {
    const Scratch scratch;
    const std::string run = scratch / "run";
    REQUIRE(xtape_command(train_microgpt(run, {"--steps", "1"})).status == 0);
    const std::string whole = xtape::nn::read_file(run + "/config.json");
    const auto error_of = [&](const std::function<void(Json&)>& damage) {
        edit_config(run, damage);
        const Outcome outcome = xtape_command(train_microgpt(run, {"--resume", "--steps", "2"}));
        xtape::nn::atomic_write(run + "/config.json", whole);
        CHECK(outcome.status == 3);
        const std::string begin = "xtape: " + run + "/config.json: ";
        CHECK(outcome.error.rfind(begin, 0) == 0);
        return outcome.error.substr(std::min(outcome.error.size(), begin.size()));
    };
    CHECK(error_of([](Json& config) { config.erase("config"); }) == "there is no config\n");
    CHECK(error_of([](Json& config) { config["config"].erase("dim"); }) == "there is no dim\n");
    CHECK(error_of([](Json& config) { config["config"]["vocab"] = "many"; }) ==
          "vocab is \"many\", and should be a whole number in range\n");
    CHECK(error_of([](Json& config) { config.erase("seed"); }) == "the seed is missing, or no whole number\n");
    CHECK(xtape_command(train_microgpt(run, {"--resume", "--steps", "2"})).status == 0);
}

TEST_CASE("resume: what kills have left of files half-written is removed, and nothing else") {
    const Scratch scratch;
    const std::string run = scratch / "run";
    REQUIRE(xtape_command(train_microgpt(run, {"--steps", "1"})).status == 0);
    const std::vector<std::string> rests{".model.safetensors.123-4.tmp", ".metrics.jsonl.5-67.tmp"};
    const std::vector<std::string> others{".mine.tmp", ".model.safetensors.mine.tmp", "model.safetensors.1-2.tmp"};
    for (const auto& names : {rests, others})
        for (const std::string& name : names) xtape::nn::atomic_write(run + "/" + name, "x");
    CHECK(xtape_command(train_microgpt(run, {"--resume", "--steps", "2", "--dim", "32"})).status == 2);
    for (const std::string& name : rests) CHECK(fs::exists(run + "/" + name));  // what is refused changes nothing
    CHECK(xtape_command(train_microgpt(run, {"--resume", "--steps", "2"})).status == 0);
    for (const std::string& name : rests) CHECK_FALSE(fs::exists(run + "/" + name));
    for (const std::string& name : others) CHECK(fs::exists(run + "/" + name));
}

TEST_CASE("resume: data of a relative path are found from another folder") {
    const Scratch scratch;
    const std::string run = scratch / "run";
    scratch.write("names.txt", "ann\nbob\n");
    fs::create_directory(scratch / "elsewhere");
    {
        const Inside here(scratch.path);
        REQUIRE(xtape_command(train_microgpt(run, {"--steps", "1", "--data", "names.txt"})).status == 0);
    }
    const Inside there(scratch / "elsewhere");
    CHECK(xtape_command(train_microgpt(run, {"--resume", "--steps", "2"})).status == 0);
    CHECK(xtape_command(train_microgpt(run, {"--resume", "--steps", "3", "--data", "../names.txt"})).status == 0);
}

TEST_CASE("resume: data that have changed since the run began are refused, other data are not") {
    const Scratch scratch;
    const std::string run = scratch / "run", was = "ann\nbob\n", is = "ann\nbop\n";
    for (const std::string name : {"names.txt", "b\xff"}) {
        const std::string names = scratch.write(name, was);
        REQUIRE(xtape_command(train_microgpt(run, {"--steps", "1", "--data", names, "--overwrite"})).status == 0);
        const std::string model = weights(run);
        const std::vector<std::string> resume = train_microgpt(run, {"--resume", "--steps", "2", "--data", names});
        scratch.write(name, is);
        const Outcome outcome = xtape_command(resume);
        CHECK(outcome.status == 3);
        CHECK(outcome.error == "xtape: train: " + names + " has changed since the run in " + run +
                                   " began; bring back what it held, or give the new data another name, with --data\n");
        CHECK(weights(run) == model);
        scratch.write(name, was);
        CHECK(xtape_command(resume).status == 0);
    }
    const std::string other = scratch.write("other.txt", is);
    CHECK(xtape_command(train_microgpt(run, {"--resume", "--steps", "3", "--data", other})).status == 0);
}

TEST_CASE("resume: a run of an earlier version, which knows no hash of its data, goes on") {
    const Scratch scratch;
    const std::string run = scratch / "run", names = scratch.write("names.txt", "ann\nbob\n");
    REQUIRE(xtape_command(train_microgpt(run, {"--steps", "1", "--data", names})).status == 0);
    edit_config(run, [](Json& config) { config.erase("data_hash"); });
    scratch.write("names.txt", "ann\nbop\n");
    CHECK(xtape_command(train_microgpt(run, {"--resume", "--steps", "2"})).status == 0);
}

TEST_CASE("resume: Ctrl-C ends a step after the present micro-batch, and the course goes on bit for bit") {
    const Scratch scratch;
    Interrupted whole(never, false), cut(5, false), rest(never, false);
    train_briefly(whole, scratch / "whole", false);
    const xtape::tools::TrainResult result = train_briefly(cut, scratch / "parts", false);
    CHECK(result.interrupted);
    CHECK(result.steps == 1);
    CHECK(cut.draws == 6);
    train_briefly(rest, scratch / "parts", true);
    CHECK(rest.draws == 8);
    CHECK(rest.value() == whole.value());
    CHECK(weights(scratch / "parts") == weights(scratch / "whole"));
}

TEST_CASE("resume: Ctrl-C during an evaluation saves the step before it") {
    const Scratch scratch;
    Interrupted whole(never, false), cut(never, true), rest(never, false);
    train_briefly(whole, scratch / "whole", false);
    CHECK(train_briefly(cut, scratch / "parts", false).steps == 1);
    train_briefly(rest, scratch / "parts", true);
    CHECK(rest.value() == whole.value());
}

}  // namespace test_resume
