#include <xtape/optim/adam.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/nn/temporary_folder.hpp>
#include <xtape/tests/optim/course.hpp>

namespace test_adam {

using namespace xtape;

namespace {

struct Large {
    using Scalar = float;
    Parameter<float> w{Shape{300001}};
    void each_parameter(auto&& visit) { visit("w", w); }
};

struct Settings {
    double l2 = 0, decoupled = 0;
};

/// Algorithm 1 of Kingma and Ba, and of Loshchilov and Hutter, line by line in double.
std::vector<double> textbook(std::vector<double> w, int steps, const AdamOptions& o, Settings settings) {
    std::vector<double> m(w.size()), v(w.size());
    for (int t = 1; t <= steps; ++t)
        for (std::size_t i = 0; i < w.size(); ++i) {
            const double g = course::Model<double>::gradient(t, i) + settings.l2 * w[i];
            m[i] = o.beta1 * m[i] + (1 - o.beta1) * g;
            v[i] = o.beta2 * v[i] + (1 - o.beta2) * g * g;
            const double m_hat = m[i] / (1 - std::pow(o.beta1, t)), v_hat = v[i] / (1 - std::pow(o.beta2, t));
            w[i] -= o.lr * settings.decoupled * w[i] + o.lr * m_hat / (std::sqrt(v_hat) + o.eps);
        }
    return w;
}

template <class T> void check_close(const Parameter<T>& parameter, const std::vector<double>& expected) {
    const double tolerance = std::is_same_v<T, float> ? 3e-6 : 1e-13;
    for (std::size_t i = 0; i < expected.size(); ++i)
        CHECK(static_cast<double>(parameter.values()[i]) == Approx(expected[i]).margin(tolerance).epsilon(tolerance));
}

template <class T> void run(course::Model<T>& model, Optimizer<T>& optimizer, int first, int last) {
    for (int step = first; step <= last; ++step) {
        model.set_gradients(step);
        optimizer.step();
    }
}

}  // namespace

TEMPLATE_TEST_CASE("adam: follows the textbook", "", float, double) {
    const double decay = GENERATE(0.0, 0.1);
    const AdamOptions options{.lr = 0.01, .beta1 = 0.85, .beta2 = 0.99, .weight_decay = decay};
    course::Model<TestType> model;
    const auto w = course::values(model.w), b = course::values(model.b);
    Adam adam(model, options);
    run(model, adam, 1, 100);
    check_close(model.w, textbook(w, 100, options, {.l2 = decay}));
    check_close(model.b, textbook(b, 100, options, {.l2 = decay}));
}

TEMPLATE_TEST_CASE("adamw: decays the value before the step, apart from the gradient", "", float, double) {
    course::Model<TestType> model;
    const auto w = course::values(model.w), b = course::values(model.b);
    AdamW adamw(model, {.lr = 0.01, .weight_decay = 0.3, .decays = matrices});
    run(model, adamw, 1, 50);
    check_close(model.w, textbook(w, 50, {.lr = 0.01}, {.decoupled = 0.3}));
    check_close(model.b, textbook(b, 50, {.lr = 0.01}, {}));
}

TEST_CASE("adam: the first step has length lr, whatever the gradient's") {
    course::Model<double> model;
    const auto before = course::values(model.w);
    Adam adam(model, {.lr = 0.5});
    run(model, adam, 1, 1);
    for (std::size_t i = 0; i < before.size(); ++i)
        CHECK(std::abs(model.w.values()[i] - before[i]) == Approx(0.5).epsilon(1e-3));
}

TEST_CASE("adam: the rate may change between steps") {
    course::Model<double> model;
    const auto before = course::values(model.w);
    Adam adam(model);
    adam.lr = 0;
    run(model, adam, 1, 3);
    CHECK(course::values(model.w) == before);
    adam.lr = 0.1;
    run(model, adam, 4, 4);
    CHECK(course::values(model.w) != before);
}

TEST_CASE("adam: a step uses the gradients up, and without one a parameter and its state stay") {
    course::Model<double> model;
    Adam adam(model, {.lr = 0.01});
    model.set_gradients(1);
    model.b.zero_grad();
    const auto b = course::values(model.b);
    adam.step();
    CHECK_FALSE(model.w.grad());
    CHECK(course::values(model.b) == b);
    model.set_gradients(1);
    adam.step();
    check_close(model.b, textbook(b, 1, {.lr = 0.01}, {}));
    const auto w = course::values(model.w);
    adam.step();
    CHECK(course::values(model.w) == w);
}

TEST_CASE("adam: zero_grad drops the gradients") {
    course::Model<double> model;
    AdamW adamw(model);
    model.set_gradients(1);
    adamw.zero_grad();
    CHECK_FALSE(model.w.grad());
}

TEST_CASE("adam: a tensor that holds the old values keeps them") {
    course::Model<float> model;
    Adam adam(model);
    const Tensor<float> held = model.w;
    const float before = held.values()[0];
    run(model, adam, 1, 1);
    CHECK(held.values()[0] == before);
    CHECK(model.w.values()[0] != before);
}

TEST_CASE("adam: only the given parameters are changed") {
    course::Model<float> model;
    auto list = nn::parameters(model);
    list.pop_back();
    Adam adam(list);
    const auto b = course::values(model.b);
    run(model, adam, 1, 2);
    CHECK(course::values(model.b) == b);
}

TEMPLATE_TEST_CASE("adam: a course goes on bit for bit from its saved state", "", float, double) {
    const TemporaryFolder folder;
    const AdamWOptions options{.lr = 0.01};
    course::Model<TestType> whole, first, second;
    AdamW a(whole, options), b(first, options), c(second, options);
    run(whole, a, 1, 10);
    run(first, b, 1, 4);
    nn::save(folder / "model", first);
    nn::save_arrays(folder / "optimizer", b.state());
    nn::load(folder / "model", second);
    nn::load_arrays(folder / "optimizer", c.state(), "the optimizer");
    run(second, c, 5, 10);
    CHECK(course::values(second.w) == course::values(whole.w));
    CHECK(course::values(second.b) == course::values(whole.b));
}

TEST_CASE("adam: its state is named after the parameters") {
    course::Model<float> model;
    Adam adam(model);
    std::string names;
    for (const nn::Array& array : adam.state()) names += array.name + to_string(array.shape) + " ";
    CHECK(names == "m.w[3, 7] v.w[3, 7] step.w[] m.b[5] v.b[5] step.b[] ");
}

TEST_CASE("adam: threads do not change the bits of a large parameter") {
    Large large;
    auto grad = large.w.write_grad();
    for (std::size_t i = 0; i < grad.size(); ++i) grad[i] = static_cast<float>(std::sin(static_cast<double>(i % 21)));
    Adam adam(large);
    adam.step();
    for (std::size_t i = 21; i < 300001; ++i) REQUIRE(large.w.values()[i] == large.w.values()[i % 21]);
}

TEST_CASE("adam: a setting out of its range is refused") {
    course::Model<float> model;
    CHECK_THROWS_WITH(Adam(model, {.lr = -1}), "optimizer: lr must be at least 0: lr is -1");
    CHECK_THROWS_WITH(Adam(model, {.beta1 = 1}), "adam: beta1 must be in [0, 1): beta1 is 1");
    CHECK_THROWS_WITH(AdamW(model, {.beta2 = -0.5}), "adam: beta2 must be in [0, 1): beta2 is -0.5");
    CHECK_THROWS_WITH(Adam(model, {.eps = NAN}), "adam: eps must be at least 0: eps is nan");
    CHECK_THROWS_WITH(AdamW(model, {.weight_decay = -1}), "adam: weight_decay must be at least 0: weight_decay is -1");
}

}  // namespace test_adam
