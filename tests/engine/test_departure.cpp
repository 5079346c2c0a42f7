#include <xtape/engine/check/departure.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <algorithm>

namespace test_departure {

namespace {

using namespace xtape;
using Catch::Matchers::Contains;
using laws::uniform;

/// Two layers with a residual: h = x + relu(rms_norm(x) a) b, in scopes.
const auto network = [](const auto& x, const auto& a, const auto& b) {
    auto h = x;
    for (int i = 0; i < 2; ++i) {
        const Scope scope("layers", i);
        h = h + matmul(tanh(matmul(rms_norm(h), a)), b);
    }
    return sum(h * h);
};

Trace network_trace() {
    return trace(network, {uniform({3, 4}, -1, 1, 1), uniform({4, 6}, -1, 1, 2), uniform({6, 4}, -1, 1, 3)},
                 {"x", "a", "b"});
}

NamedArrays gradients_of(const Trace& all) {
    NamedArrays gradients;
    for (const Intermediate& one : all) gradients[one.name] = one.gradient;
    return gradients;
}

/// As a backward would give them that goes wrong at `name`: everything that was replayed after it is wrong too.
NamedArrays wrong_from(const Trace& all, const std::string& name) {
    NamedArrays gradients = gradients_of(all);
    const auto from = std::ranges::find(all, name, &Intermediate::name);
    for (auto one = all.begin(); one <= from; ++one)
        if (!one->inputs.empty() || one->name == "x") gradients[one->name][1] += 0.5;
    return gradients;
}

}  // namespace

TEST_CASE("trace: names say scope and op, numbered where a scope has several, and leaves come first") {
    const Trace all = network_trace();
    std::vector<std::string> names;
    for (const Intermediate& one : all) names.push_back(one.name);
    CHECK(names == std::vector<std::string>{"x", "a", "b", "layers.0.rms_norm", "layers.0.matmul.0", "layers.0.tanh",
                                            "layers.0.matmul.1", "layers.0.add", "layers.1.rms_norm",
                                            "layers.1.matmul.0", "layers.1.tanh", "layers.1.matmul.1", "layers.1.add",
                                            "mul", "sum"});
    CHECK(all[7].inputs == std::vector<std::size_t>{0, 6});
    CHECK(all.back().gradient == std::vector<double>{1});
}

TEST_CASE("trace: gradients of intermediates are what the tape gives for them as leaves") {
    const Trace all = network_trace();
    const Intermediate& h = all[7];
    Tape<double> tape;
    const Tensor<double> leaf = tape.leaf(Tensor<double>(h.shape, h.value));
    const Tensor<double> a(all[1].shape, all[1].value), b(all[2].shape, all[2].value);
    const Tensor<double> last = leaf + matmul(tanh(matmul(rms_norm(leaf), a)), b);
    const auto gradient = tape.gradient(sum(last * last), {leaf});
    for (std::size_t i = 0; i < h.gradient.size(); ++i)
        CHECK(h.gradient[i] == Approx(gradient[0].data()[i]).epsilon(1e-12));
}

TEST_CASE("trace: a second one of the same tape has the same gradients") {
    Tape<double> tape({.keep_records = true});
    const Tensor<double> x = tape.leaf(uniform({2, 3}, -1, 1, 1));
    const Tensor<double> loss = sum(exp(x) * x);
    const NamedLeaf<double> leaf{"x", &x};
    const Trace first = trace_of<double>(tape, loss, std::span(&leaf, 1));
    CHECK(gradients_of(trace_of<double>(tape, loss, std::span(&leaf, 1))) == gradients_of(first));
}

TEST_CASE("first_departure: nothing where all agree, or nothing was given") {
    const Trace all = network_trace();
    CHECK_FALSE(first_departure(all, gradients_of(all)));
    CHECK_FALSE(first_departure(all, {}));
}

TEST_CASE("first_departure: names the op whose output's gradient agrees and whose input's does not") {
    const Trace all = network_trace();
    const auto found = first_departure(all, wrong_from(all, "layers.1.matmul.0"));
    REQUIRE(found);
    CHECK(found->text ==
          "first departs at layers.1.tanh (the gradient of its output agrees, that of its input layers.1.matmul.0 does "
          "not)");
}

TEST_CASE("first_departure: a value with two readers names both, newest first") {
    const Trace all = network_trace();
    const auto found = first_departure(all, wrong_from(all, "layers.0.add"));
    REQUIRE(found);
    CHECK(found->ops == std::vector<std::string>{"layers.1.add", "layers.1.rms_norm"});
}

TEST_CASE("first_departure: a wrong weight gradient points at the op that reads the weight") {
    const Trace all = network_trace();
    NamedArrays gradients = gradients_of(all);
    gradients["b"][2] *= 1.01;
    const auto found = first_departure(all, gradients);
    REQUIRE(found);
    CHECK(found->ops == std::vector<std::string>{"layers.1.matmul.1", "layers.0.matmul.1"});
}

TEST_CASE("first_departure: what lies between given gradients is named together") {
    const Trace all = network_trace();
    NamedArrays gradients = wrong_from(all, "layers.1.matmul.0");
    gradients.erase("layers.1.tanh");
    gradients.erase("layers.1.matmul.1");
    const auto found = first_departure(all, gradients);
    REQUIRE(found);
    CHECK(found->ops == std::vector<std::string>{"layers.1.add", "layers.1.matmul.1", "layers.1.tanh"});
    CHECK_THAT(found->text, Contains("one of layers.1.add, layers.1.matmul.1, layers.1.tanh"));
}

TEST_CASE("first_departure: a name that the trace does not have is an error") {
    CHECK_THROWS_WITH(first_departure(network_trace(), {{"layers.7.add", {1}}}), Contains("layers.7.add"));
}

TEST_CASE("first_departure_of_values: names the first op of the forward whose value is wrong") {
    const Trace all = network_trace();
    NamedArrays values;
    for (const Intermediate& one : all) values[one.name] = one.value;
    CHECK_FALSE(first_departure_of_values(all, values));
    for (auto one = all.begin() + 8; one != all.end(); ++one) values[one->name][0] += 1;
    const auto found = first_departure_of_values(all, values);
    REQUIRE(found);
    CHECK(found->text == "first departs at layers.1.rms_norm (its inputs agree, its value does not)");
    values.erase("layers.1.rms_norm");
    CHECK(first_departure_of_values(all, values)->ops ==
          std::vector<std::string>{"layers.1.rms_norm", "layers.1.matmul.0"});
}

}  // namespace test_departure
