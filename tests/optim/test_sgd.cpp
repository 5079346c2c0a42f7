#include <xtape/optim/sgd.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/optim/course.hpp>

namespace test_sgd {

using namespace xtape;

namespace {

std::vector<double> textbook(std::vector<double> w, int steps, const SGDOptions& o) {
    std::vector<double> b(w.size());
    for (int t = 1; t <= steps; ++t)
        for (std::size_t i = 0; i < w.size(); ++i) {
            const double g = course::Model<double>::gradient(t, i) + o.weight_decay * w[i];
            b[i] = o.momentum * b[i] + g;
            w[i] -= o.lr * (o.momentum == 0 ? g : o.nesterov ? g + o.momentum * b[i] : b[i]);
        }
    return w;
}

}  // namespace

TEMPLATE_TEST_CASE("sgd: follows the textbook, with momentum, Nesterov and decay", "", float, double) {
    const SGDOptions options = GENERATE(SGDOptions{.lr = 0.1}, SGDOptions{.lr = 0.1, .weight_decay = 0.2},
                                        SGDOptions{.lr = 0.02, .momentum = 0.9},
                                        SGDOptions{.lr = 0.02, .momentum = 0.9, .nesterov = true, .weight_decay = 0.2});
    course::Model<TestType> model;
    const auto w = textbook(course::values(model.w), 30, options), b = textbook(course::values(model.b), 30, options);
    SGD sgd(model, options);
    for (int step = 1; step <= 30; ++step) {
        model.set_gradients(step);
        sgd.step();
    }
    const double tolerance = std::is_same_v<TestType, float> ? 1e-5 : 1e-13;
    for (std::size_t i = 0; i < w.size(); ++i)
        CHECK(static_cast<double>(model.w.values()[i]) == Approx(w[i]).margin(tolerance).epsilon(tolerance));
    for (std::size_t i = 0; i < b.size(); ++i)
        CHECK(static_cast<double>(model.b.values()[i]) == Approx(b[i]).margin(tolerance).epsilon(tolerance));
    CHECK_FALSE(model.w.grad());
}

TEST_CASE("sgd: decay of matrices only leaves a bias alone") {
    course::Model<double> model;
    SGD sgd(model, {.lr = 0.1, .weight_decay = 0.5, .decays = matrices});
    const double w = model.w.values()[0], b = model.b.values()[0];
    for (auto& [name, parameter] : nn::parameters(model)) std::ranges::fill(parameter->write_grad(), 0.0);
    sgd.step();
    CHECK(model.w.values()[0] == Approx(w * 0.95));
    CHECK(model.b.values()[0] == b);
}

TEST_CASE("sgd: its state is its momentum") {
    course::Model<float> model;
    CHECK(SGD(model).state().empty());
    SGD sgd(model, {.momentum = 0.5});
    REQUIRE(sgd.state().size() == 2);
    CHECK(sgd.state()[1].name == "momentum.b");
    model.set_gradients(1);
    const float gradient = model.b.grad().values()[2];
    sgd.step();
    CHECK(std::get<std::span<float>>(sgd.state()[1].values)[2] == gradient);
}

TEST_CASE("sgd: a setting out of its range is refused") {
    course::Model<float> model;
    CHECK_THROWS_WITH(SGD(model, {.lr = NAN}), "optimizer: lr must be at least 0: lr is nan");
    CHECK_THROWS_WITH(SGD(model, {.momentum = 1}), "sgd: momentum must be in [0, 1): momentum is 1");
    CHECK_THROWS_WITH(SGD(model, {.nesterov = true}), "sgd: nesterov needs a momentum: momentum is 0");
    CHECK_THROWS_WITH(SGD(model, {.weight_decay = -1}), "sgd: weight_decay must be at least 0: weight_decay is -1");
}

}  // namespace test_sgd
