#include <xtape/tools/flags.hpp>
#include <xtape/tools/profile.hpp>
#include <xtape/tools/profile_model.hpp>
#include <xtape/tools/step_command.hpp>

#include <algorithm>

#include <fmt/format.h>
#include <CLI/App.hpp>

namespace xtape::tools {
namespace {

void add(std::vector<ProfileRow>& sum, std::span<const ProfileRow> step, double share) {
    for (const ProfileRow& row : step) {
        auto known = std::ranges::find(sum, row.op, &ProfileRow::op);
        if (known == sum.end()) known = sum.insert(sum.end(), ProfileRow{row.op, "", row.calls, 0, 0, 0});
        known->forward_seconds += share * row.forward_seconds;
        known->backward_seconds += share * row.backward_seconds;
        known->kept_bytes += static_cast<std::size_t>(share * static_cast<double>(row.kept_bytes));
    }
}

void print(const std::string& model, const PreparedCourse& course, const StepProfile& profile, int steps) {
    fmt::print("{}: {}\nforward and backward of one step, the mean of {}: {:.1f} us, {:.0f} tokens, {:.1f} KiB kept",
               model, course.summary, steps, 1e6 * profile.seconds(), profile.tokens,
               static_cast<double>(profile.kept_bytes()) / 1024);
    if (profile.flops > 0) {
        const double rate = profile.flops / profile.seconds();
        fmt::print("\n{:.1f} GFLOP/s by the model's formula, {:.0f}% of the rate of a large product", rate / 1e9,
                   100 * rate / measure_product_rate());
    }
    fmt::print("\n\n");
    print_profile(profile.rows);
}

}  // namespace

double StepProfile::seconds() const {
    double total = 0;
    for (const ProfileRow& row : rows) total += row.forward_seconds + row.backward_seconds;
    return total;
}

std::size_t StepProfile::kept_bytes() const {
    std::size_t total = 0;
    for (const ProfileRow& row : rows) total += row.kept_bytes;
    return total;
}

StepProfile profile_steps(Learner& learner, int steps) {
    profile_step(learner, 0);
    StepProfile profile;
    const double share = 1.0 / steps;
    for (int step = 0; step < steps; ++step) {
        add(profile.rows, profile_step(learner, step), share);
        profile.tokens += share * static_cast<double>(learner.tokens());
    }
    profile.flops = profile.tokens * learner.flops_per_token();
    std::ranges::sort(profile.rows, std::ranges::greater(),
                      [](const ProfileRow& row) { return row.forward_seconds + row.backward_seconds; });
    return profile;
}

Json to_json(const StepProfile& profile, int steps) {
    Json json{{"steps", steps},
              {"seconds", profile.seconds()},
              {"tokens", profile.tokens},
              {"gflops", profile.flops > 0 ? Json(profile.flops / profile.seconds() / 1e9) : Json(nullptr)},
              {"kept_bytes", profile.kept_bytes()},
              {"ops", Json::array()}};
    for (const ProfileRow& row : profile.rows)
        json["ops"].push_back({{"op", row.op},
                               {"calls", row.calls},
                               {"forward_seconds", row.forward_seconds},
                               {"backward_seconds", row.backward_seconds},
                               {"kept_bytes", row.kept_bytes}});
    return json;
}

void add_profile(CLI::App& app, std::function<Exit()>& action) {
    struct Options {
        int steps = 10;
        bool json = false;
    };
    const auto options = std::make_shared<Options>();
    add_step_command(
        app, action, "profile", "Time each op of a training step",
        [=](CLI::App& sub) {
            sub.add_option("--steps", options->steps, "Steps to take the mean of")->check(positive());
            sub.add_flag("--json", options->json, "Print one JSON object");
        },
        [=](const std::string& model, const PreparedCourse& course) {
            const StepProfile profile = profile_steps(course.learner, options->steps);
            if (!options->json) return print(model, course, profile, options->steps);
            Json json = to_json(profile, options->steps);
            json["model"] = model;
            fmt::print("{}\n", one_line(json));
        });
}

}  // namespace xtape::tools
