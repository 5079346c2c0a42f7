#include "../catch.hpp"

#include "scratch.hpp"

#include <xtape/nn/npy.hpp>
#include <xtape/nn/safetensors.hpp>

#include <cmath>
#include <map>

namespace test_audit_files {

namespace {

namespace fs = std::filesystem;
using namespace xtape;
using Catch::Matchers::Contains;
using test::Outcome;
using test::Scratch;
using test::xtape_command;
using tools::Json;
using tools::parse_json;

/// Arrays as a stranger's program would hold them.
struct Gradient {
    Shape shape;
    std::vector<double> values;
};
using Gradients = std::map<std::string, Gradient>;

Gradients read(const std::string& path) {
    const nn::SafetensorsFile file(path);
    Gradients all;
    for (const auto& entry : file.entries()) {
        const Tensor<double> x = file.tensor<double>(entry.name);
        all[entry.name] = {entry.shape, {x.values().begin(), x.values().end()}};
    }
    return all;
}

template <class T> void write(const std::string& path, const Gradients& all) {
    std::vector<std::vector<T>> values;
    std::vector<nn::ConstArray> arrays;
    for (const auto& [name, gradient] : all) values.emplace_back(gradient.values.begin(), gradient.values.end());
    for (const auto& [name, gradient] : all)
        arrays.emplace_back(name, gradient.shape, std::span<const T>(values[arrays.size()]));
    nn::save_arrays(path, arrays);
}

/// An exported case of microgpt with its answers.
struct Exported {
    Scratch scratch;
    Gradients gradients;

    explicit Exported(std::vector<std::string> more = {}) {
        more.insert(more.begin(), {"audit", "microgpt", "--export", folder(), "--answers"});
        REQUIRE(xtape_command(more).status == 0);
        gradients = read(folder() + "/answers.safetensors");
    }
    std::string folder() const { return scratch / "case"; }

    template <class T = double> Outcome judge() const {
        write<T>(folder() + "/gradients.safetensors", gradients);
        return xtape_command({"audit", "microgpt", "--against", folder()});
    }
};

}  // namespace

TEST_CASE("audit --export: a case that there is not, or that is not the only one, is said with those there are") {
    const auto error_of = [](const std::string& which) {
        return xtape_command({"audit", "microgpt", "--export", "nowhere", "--case", which}).error;
    };
    CHECK_THAT(error_of("nope"), Contains("microgpt has no case \"nope\"; it has 1 (norm none, act relu, layers 1"));
    CHECK_THAT(error_of("beyond"),
               Contains("\"beyond\" fits 6 cases of microgpt; name one by its number: 5 (norm none"));
}

TEST_CASE("audit op: the headline does not call a gradient right that is zero, so that nothing was checked") {
    const Outcome outcome = xtape_command({"audit", "op", "attention", "--shape", "1,8"});
    CHECK_THAT(outcome.out,
               Contains("1 of 3 gradients agree, the true gradient of the rest is zero or negligible (within"));
    CHECK_THAT(xtape_command({"audit", "op", "cross_entropy", "--shape", "4,8"}).out, Contains("all gradients agree"));
}

TEST_CASE("audit --export: what is to be found is not among the files, unless asked for") {
    const Scratch scratch;
    REQUIRE(xtape_command({"audit", "microgpt", "--export", scratch / "case"}).status == 0);
    for (const char* name : {"README.md", "parameters.safetensors", "parameters/layers.0.wq.npy", "inputs/tokens.npy",
                             "inputs/offsets.npy", "forward/loss.npy", "forward.safetensors"})
        CHECK(fs::exists(scratch.path / "case" / name));
    for (const char* name : {"answers", "answers.safetensors", "gradients.safetensors", "activations"})
        CHECK_FALSE(fs::exists(scratch.path / "case" / name));
    const std::string readme = nn::read_file(scratch / "case/README.md");
    CHECK_THAT(readme, Contains("loss = (1/N)") && Contains("| `layers.0.wq` | [16, 16] | f32 |"));
    CHECK(nn::read_npy(scratch / "case/inputs/offsets.npy").dtype == nn::SafetensorsFile::Dtype::i32);
}

TEST_CASE("audit --against: the right gradients of each model agree, in f64 and in f32, with their intermediates") {
    for (const std::string model : {"microgpt", "llama", "lrnn", "gate"}) {
        const Scratch scratch;
        const std::string folder = scratch / "case", file = scratch / "mine.safetensors";
        REQUIRE(xtape_command({"audit", model, "--export", folder, "--answers", "--activations"}).status == 0);
        Gradients all = read(folder + "/answers.safetensors");
        for (const char* more : {"/forward.safetensors", "/activation_gradients.safetensors"})
            all.merge(read(folder + more));
        write<double>(file, all);
        const Outcome f64 = xtape_command({"audit", model, "--against", file});
        INFO(f64.out);
        CHECK(f64.status == 0);
        write<float>(file, all);
        CHECK(xtape_command({"audit", model, "--against", file}).status == 0);
    }
}

TEST_CASE("audit --against: one wrong gradient is reported with its diagnosis, and no other") {
    Exported exported;
    Gradient& wo = exported.gradients.at("layers.0.wo");
    const std::vector<double> right = wo.values;
    for (std::size_t i = 0; i < 16; ++i)
        for (std::size_t j = 0; j < 16; ++j) wo.values[i * 16 + j] = right[j * 16 + i];
    const Outcome outcome = exported.judge<float>();
    CHECK(outcome.status == 1);
    CHECK_THAT(outcome.out, Contains("1 of 9 gradients differ") && Contains("transposed"));
}

TEST_CASE("audit --against: one fault behind all gradients is named once") {
    Exported exported;
    for (auto& [name, gradient] : exported.gradients)
        for (double& v : gradient.values) v *= 2;
    const Outcome outcome = exported.judge();
    CHECK(outcome.status == 1);
    CHECK_THAT(outcome.out, Contains("one fault behind 9 of them: "));
}

TEST_CASE("audit --against: two mistakes that have nothing to do with each other are not joined") {
    Exported exported;
    for (double& v : exported.gradients.at("layers.0.wq").values) v = -v;
    for (double& v : exported.gradients.at("layers.0.wk").values) v *= 2;
    const Outcome outcome = exported.judge();
    CHECK(outcome.status == 1);
    CHECK_THAT(outcome.out, Contains("sign; worst") && Contains("doubled: added twice") && !Contains("one fault"));
}

TEST_CASE("audit --against: a place that could be behind all mistakes is a hint") {
    Exported exported;
    for (const char* name : {"wte", "wpe"})
        for (std::size_t i = 0; double& v : exported.gradients.at(name).values) v += 0.01 * std::sin(++i);
    const Outcome outcome = exported.judge();
    CHECK(outcome.status == 1);
    CHECK_THAT(outcome.out, Contains("\n  perhaps one fault: not a known mistake") && !Contains("one fault behind"));
}

TEST_CASE("audit --against: missing, unknown and misshapen gradients are said") {
    Exported exported;
    exported.gradients.erase("wpe");
    exported.gradients["wte"].shape = {16, 27};
    exported.gradients["wque"] = {{1}, {0}};
    const Outcome outcome = exported.judge();
    CHECK(outcome.status == 1);
    CHECK_THAT(outcome.out, Contains("never written") && Contains("missing: wpe") &&
                                Contains("is [16, 27], should be [27, 16]") &&
                                Contains("intermediate of this case: wque"));
}

TEST_CASE("audit --against: a right gradient of a wrong shape is no fault of the mathematics, and not rounded") {
    Exported exported;
    exported.gradients["layers.0.wq"].shape = {8, 32};
    const Outcome outcome = exported.judge();
    CHECK(outcome.status == 1);
    CHECK_THAT(outcome.out,
               Contains("is [8, 32], should be [16, 16]") && !Contains("one fault") && !Contains("f32 files"));
}

TEST_CASE("audit --against: forward parity comes first") {
    Exported exported;
    exported.gradients["loss"] = {{}, {3.0}};
    const Outcome outcome = exported.judge();
    CHECK(outcome.status == 1);
    CHECK_THAT(outcome.out, Contains("the forward differs; all gradients agree"));
}

TEST_CASE("audit --against: with gradients of intermediates the first departure is named") {
    Exported exported({"--activations"});
    exported.gradients.merge(read(exported.folder() + "/activation_gradients.safetensors"));
    for (const char* name : {"layers.0.matmul.4", "layers.0.add.0", "layers.0.w1"})
        for (double& v : exported.gradients.at(name).values) v *= 1.5;
    const Outcome outcome = exported.judge();
    CHECK(outcome.status == 1);
    CHECK_THAT(outcome.out,
               Contains("first departs at layers.0.relu (the gradient of its output agrees, that of its input "
                        "layers.0.matmul.4 does not)"));
}

TEST_CASE("audit --against: f64 files that were computed in f32 are told so") {
    Exported exported;
    for (auto& [name, gradient] : exported.gradients)
        for (double& v : gradient.values) v = static_cast<float>(v);
    const Outcome outcome = exported.judge();
    CHECK(outcome.status == 1);
    CHECK_THAT(outcome.out, Contains("write f32 files") && !Contains("one fault"));
}

TEST_CASE("audit --against: a folder of npy files, and the object of audit --json") {
    const Exported exported({"--case", "3"});
    for (const auto& [name, gradient] : exported.gradients)
        nn::write_npy<double>(exported.folder() + "/gradients/" + name + ".npy", gradient.shape, gradient.values);
    const Outcome outcome = xtape_command({"audit", "microgpt", "--against", exported.folder(), "--json"});
    REQUIRE(outcome.status == 0);
    const Json json = parse_json(outcome.out);
    CHECK(json.at("model") == "microgpt");
    CHECK(json.at("agree") == true);
    CHECK(json.at("cases")[0].at("settings") == "norm none, act relu, layers 3, 1 name of 7");
    CHECK(json.at("parameters").size() == exported.gradients.size());
    CHECK(json.at("parameters")[0].at("verdict") == "agree");
    CHECK(json.at("f64").at("max_rel_reference") == 0);
}

TEST_CASE("audit --export: a project's README.md is not written over, an earlier export is") {
    const Scratch scratch;
    nn::atomic_write(scratch.path / "README.md", "mine");
    const auto refused = xtape_command({"audit", "microgpt", "--export", scratch.path.string()});
    CHECK(refused.status == 2);
    CHECK_THAT(refused.error, Contains("is not empty, and holds no earlier export"));
    CHECK(nn::read_file(scratch / "README.md") == "mine");
    for (int time = 0; time < 2; ++time)
        CHECK(xtape_command({"audit", "microgpt", "--export", scratch / "case"}).status == 0);
}

TEST_CASE("audit op: every op of the list agrees with finite differences, and with its own export") {
    const std::string list = xtape_command({"audit", "op", "--list"}).out;
    for (const std::string op :
         {"silu", "gelu", "softmax", "log_softmax", "logsumexp", "rms_norm", "layer_norm", "rope", "attention",
          "causal_scan", "embedding", "cross_entropy", "mean_squared_error"}) {
        CHECK_THAT(list, Contains(op));
        CHECK(xtape_command({"audit", "op", op, "--shape", "5,8"}).status == 0);
    }
    const Scratch scratch;
    const std::vector<std::string> flags{"audit", "op", "attention", "--shape", "6,8", "--heads", "2"};
    const auto with = [&](std::vector<std::string> more) {
        more.insert(more.begin(), flags.begin(), flags.end());
        return xtape_command(more);
    };
    REQUIRE(with({"--export", scratch / "op", "--answers"}).status == 0);
    write<float>(scratch / "op/gradients.safetensors", read(scratch / "op/answers.safetensors"));
    CHECK(with({"--against", scratch / "op"}).status == 0);
}

TEST_CASE("audit of files: wrong usage exits with 2, bad and missing files with 3") {
    const Exported exported;
    const std::string broken = exported.scratch.write("broken.safetensors", "x"), folder = exported.folder();
    for (const auto& words :
         std::vector<std::vector<std::string>>{{"audit", "all", "--export", folder},
                                               {"audit", "microgpt", "--export", folder, "--against", folder},
                                               {"audit", "microgpt", "--export", folder, "--case", "99"},
                                               {"audit", "microgpt", "--export", folder, "--case", "relu"},
                                               {"audit", "microgpt", "--answers"},
                                               {"audit", "microgpt", "--case", "1"},
                                               {"audit", "microgpt", "softmax"},
                                               {"audit", "microgpt", "--shape", "3,4"},
                                               {"audit", "microgpt", "--export", folder, "--fault", "mean-factor"},
                                               {"audit", "op", "softmax", "--shape", "3,4", "--case", "1"},
                                               {"audit", "op"},
                                               {"audit", "op", "nonsense", "--shape", "3"},
                                               {"audit", "op", "matmul", "--shape", "3,4"},
                                               {"audit", "op", "matmul", "--shape", "3,4", "--shape", "5,6"},
                                               {"audit", "op", "softmax", "--shape", "3,x"},
                                               {"audit", "op", "attention", "--shape", "3,5", "--heads", "2"}}) {
        const Outcome outcome = xtape_command(words);
        CHECK(outcome.status == 2);
        CHECK(std::count(outcome.error.begin(), outcome.error.end(), '\n') == 1);
    }
    for (const auto& words : std::vector<std::vector<std::string>>{
             {"audit", "microgpt", "--against", folder + "/nothing"},
             {"audit", "microgpt", "--against", folder + "/inputs.safetensors", "--case", "1"},
             {"audit", "microgpt", "--against", exported.scratch.path.string()},
             {"audit", "microgpt", "--against", broken},
             {"audit", "llama", "--against", folder + "/answers.safetensors"},
             {"audit", "microgpt", "--export", broken}}) {
        const Outcome outcome = xtape_command(words);
        INFO(outcome.error);
        CHECK(outcome.status == 3);
        CHECK(std::count(outcome.error.begin(), outcome.error.end(), '\n') == 1);
    }
}

TEST_CASE("audit: what would be ignored, or is empty or too large, is wrong usage and prints nothing") {
    for (const auto& words :
         std::vector<std::vector<std::string>>{{"audit", "microgpt", "--against", ""},
                                               {"audit", "microgpt", "--export", ""},
                                               {"audit", "microgpt", "--fault", ""},
                                               {"audit", "microgpt", "--quick", "--html", ""},
                                               {"audit", "microgpt", "--quick", "--seed", "5"},
                                               {"audit", "op", "softmax", "--shape", "4,8", "--heads", "2"},
                                               {"audit", "op", "--list", "--json"},
                                               {"audit", "op", "softmax", "--shape", "1,1,1,1,1,1,1"},
                                               {"audit", "op", "softmax", "--shape", "3000000000"},
                                               {"audit", "op", "softmax", "--shape", "1000000000,1000000000"},
                                               {"audit", "op", "add", "--shape", "100000,1", "--shape", "100000"},
                                               {"audit", "op", "matmul", "--shape", "40000,2", "--shape", "2,40000"}}) {
        const Outcome outcome = xtape_command(words);
        INFO(outcome.error);
        CHECK(outcome.status == 2);
        CHECK(outcome.out.empty());
        CHECK(std::count(outcome.error.begin(), outcome.error.end(), '\n') == 1);
    }
}

TEST_CASE("audit --against: a device and a name that is too long are bad files") {
    CHECK(xtape_command({"audit", "microgpt", "--against", "/dev/zero"}).error ==
          "xtape: audit: /dev/zero: neither a file nor a folder\n");
    const Outcome outcome = xtape_command({"audit", "microgpt", "--against", std::string(5000, 'a')});
    CHECK(outcome.status == 3);
    CHECK_THAT(outcome.error, Contains("File name too long") && !Contains("filesystem error"));
}

TEST_CASE("audit --json: nothing is printed where the page cannot be written") {
    const Outcome outcome =
        xtape_command({"audit", "microgpt", "--random", "1", "--quick", "--json", "--html", "/nonexistent/page.html"});
    CHECK(outcome.status == 3);
    CHECK(outcome.out.empty());
    CHECK(outcome.error == "xtape: --html /nonexistent/page.html: there is no folder /nonexistent\n");
}

TEST_CASE("audit --against --json: names of files that are no UTF-8 do not break the object") {
    const Exported exported;
    const std::vector<double> one{1};
    nn::write_npy<double>(exported.folder() + "/gradients/\xff.npy", Shape{1}, one);
    const Outcome outcome = xtape_command({"audit", "microgpt", "--against", exported.folder(), "--json"});
    CHECK(outcome.status == 1);
    CHECK(parse_json(outcome.out).at("agree") == false);
}

}  // namespace test_audit_files
