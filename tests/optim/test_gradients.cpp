#include <xtape/optim/adam.hpp>
#include <xtape/optim/gradients.hpp>
#include <xtape/optim/sgd.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/optim/course.hpp>

#include <limits>

namespace test_gradients {

using namespace xtape;

namespace {

template <class T> double norm_of(const course::Model<T>& model) {
    double total = 0;
    for (const auto* parameter : {&model.w, &model.b})
        for (const T g : parameter->grad().values()) total += static_cast<double>(g) * static_cast<double>(g);
    return std::sqrt(total);
}

}  // namespace

TEMPLATE_TEST_CASE("clip_grad_norm: above max all gradients shrink by one factor", "", float, double) {
    course::Model<TestType> model;
    model.set_gradients(1);
    const double norm = norm_of(model);
    const auto before = model.w.grad().values()[4];
    CHECK(grad_norm(model) == Approx(norm).epsilon(1e-14));
    CHECK(clip_grad_norm(model, norm / 4) == Approx(norm).epsilon(1e-14));
    CHECK(norm_of(model) == Approx(norm / 4).epsilon(1e-6));
    CHECK(model.w.grad().values()[4] == Approx(before / 4));
}

TEST_CASE("clip_grad_norm: up to max nothing changes") {
    course::Model<float> model;
    model.set_gradients(1);
    const auto before = course::values(Parameter<float>(model.w.grad()));
    clip_grad_norm(model, 1e6);
    CHECK(course::values(Parameter<float>(model.w.grad())) == before);
}

TEST_CASE("clip_grad_norm: the sum is in double, where float overflows") {
    course::Model<float> model;
    model.set_gradients(1);
    std::ranges::fill(model.w.write_grad(), 1e30f);
    CHECK(clip_grad_norm(model, 1) == Approx(1e30 * std::sqrt(21.0)));
    CHECK(norm_of(model) == Approx(1));
}

TEST_CASE("clip_grad_norm: a norm that is not finite is returned, and nothing is scaled") {
    const float bad = GENERATE(std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN());
    course::Model<float> model;
    model.set_gradients(1);
    model.w.write_grad()[20] = bad;
    const float other = model.w.grad().values()[0];
    CHECK_FALSE(std::isfinite(clip_grad_norm(model, 1e-3)));
    CHECK(model.w.grad().values()[0] == other);
}

TEST_CASE("clip_grad_norm: parameters without a gradient count nothing and get none") {
    course::Model<float> model;
    CHECK(clip_grad_norm(model, 1) == 0);
    CHECK_FALSE(model.w.grad());
}

TEST_CASE("clip_grad_norm: a max that is not above 0 is refused") {
    course::Model<float> model;
    CHECK_THROWS_WITH(clip_grad_norm(model, 0), "clip_grad_norm: max must be above 0: max is 0");
    CHECK_THROWS_AS(clip_grad_norm(model, NAN), ValueError);
}

TEMPLATE_TEST_CASE("step: gradients that the optimizer scales give what scaled ones give, to rounding", "", float,
                   double) {
    using Model = course::Model<TestType>;
    const auto check = [](auto make_optimizer) {
        Model before, within;
        auto of_before = make_optimizer(before), of_within = make_optimizer(within);
        for (int t = 1; t <= 3; ++t) {
            before.set_gradients(t);
            scale_grad(before, 0.3);
            of_before.step();
            within.set_gradients(t);
            of_within.step(0.3);
        }
        const double tolerance = std::is_same_v<TestType, float> ? 1e-6 : 1e-14;
        for (const auto part : {&Model::w, &Model::b}) {
            const auto expected = course::values(before.*part), got = course::values(within.*part);
            for (std::size_t i = 0; i < got.size(); ++i)
                CHECK(got[i] == Approx(expected[i]).epsilon(tolerance).margin(tolerance));
        }
    };
    check([](Model& m) { return SGD<TestType>(m, {.momentum = 0.5, .nesterov = true, .weight_decay = 0.1}); });
    check([](Model& m) { return Adam<TestType>(m, {.weight_decay = 0.1}); });
    check([](Model& m) { return AdamW<TestType>(m, {.weight_decay = 0.1}); });
}

TEST_CASE("clip_factor: max over the norm above max, else 1; a max that is not above 0 is refused") {
    CHECK(clip_factor(4, 1) == 0.25);
    CHECK(clip_factor(1, 1) == 1);
    CHECK(clip_factor(std::numeric_limits<double>::infinity(), 1) == 1);
    CHECK_THROWS_WITH(clip_factor(1, 0), "clip_factor: max must be above 0: max is 0");
}

TEST_CASE("scale_grad: the mean of accumulated gradients") {
    course::Model<double> model;
    model.set_gradients(1);
    const double g = model.b.grad().values()[1];
    scale_grad(model, 0.25);
    CHECK(model.b.grad().values()[1] == Approx(g / 4));
}

TEST_CASE("scale_grad: a gradient that someone holds keeps its values") {
    course::Model<double> model;
    model.set_gradients(1);
    const Tensor<double> held = model.b.grad();
    const double before = held.values()[0];
    scale_grad(model, 2);
    CHECK(held.values()[0] == before);
}

}  // namespace test_gradients
