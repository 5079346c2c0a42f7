#include <xtape/engine/check/gradcheck.hpp>
#include <xtape/engine/check/slope.hpp>
#include <xtape/engine/op.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <cmath>
#include <sstream>

namespace test_check {

namespace {

using namespace xtape;
using Catch::Matchers::Contains;
using laws::uniform;

const Tensor<double> x = uniform({3, 4}, -1, 1, 1);
const Tensor<double> w = uniform({4, 2}, -1, 1, 2);

/// y = x², whose vjp can be wrong in one way or another.
struct Square {
    static constexpr std::string_view name = "square";
    double factor = 2;       ///< of dx = 2 x dy
    Index skip_from = 1000;  ///< elements from here on get no gradient

    Shape shape(const Shape& in) const { return in; }
    void forward(View<double> in, Out<double> y) const {
        for (Index i = 0; i < y.size(); ++i) y.data[i] = in.data[i] * in.data[i];
    }
    void vjp(Grad<0, double> dx, Input<0, double> in, Cotangent<double> dy) const {
        for (Index i = 0; i < in.size(); ++i) {
            const double g = i < skip_from ? factor * in.data[i] * dy.data[i] : 0;
            dx.data[i] = g + (dx.accumulate ? dx.data[i] : 0);
        }
    }
};

Tensor<double> square(const Tensor<double>& in, double factor = 2, Index skip_from = 1000) {
    return apply<double>(Square{factor, skip_from}, Where::here(), in);
}

/// What GoogleTest's AssertionResult offers.
class AssertionResult {
public:
    explicit AssertionResult(bool success) : success_(success) {}
    AssertionResult& operator<<(const std::string& text) {
        message_ += text;
        return *this;
    }
    explicit operator bool() const { return success_; }
    const char* failure_message() const { return message_.c_str(); }

private:
    bool success_;
    std::string message_;
};

}  // namespace

TEST_CASE("gradcheck: agrees with right gradients, to 1e-7") {
    const GradReport report = gradcheck([](const auto& a, const auto& b) { return tanh(matmul(a, b)); }, {x, w});
    CHECK(report);
    REQUIRE(report.rows.size() == 2);
    CHECK(report.rows[0].name == "input 0");
    CHECK(report.rows[1].shape == Shape{4, 2});
    for (const GradRow& row : report.rows) CHECK(row.relative < 1e-8);
}

TEST_CASE("gradcheck: takes typed functions, scalars and parameters") {
    const Parameter<double> p(w);
    CHECK(gradcheck([](Tensor<double> a) { return mean(exp(a)); }, {x}));
    CHECK(gradcheck([](const Tensor<double>& a, const Tensor<double>& b) { return matmul(a, b); }, {x, p}));
    CHECK(gradcheck([](const auto& a) { return a; }, {x}));
}

TEST_CASE("gradcheck: is as exact for small, large and steep inputs") {
    CHECK(gradcheck([](const auto& a) { return pow(a, -1); }, {uniform({5}, 0.05, 0.06)}));
    CHECK(gradcheck([](const auto& a) { return log(a); }, {uniform({5}, 1e-3, 2e-3)}));
    CHECK(gradcheck([](const auto& a) { return exp(a * 30.0); }, {uniform({5}, -1, 1)}));
    CHECK(gradcheck([](const auto& a) { return a * a; }, {uniform({5}, 1e6, 2e6)}));
    CHECK(gradcheck([](const auto& a) { return logsumexp(a); }, {uniform({2, 5}, -100, 100)}));
    CHECK(gradcheck([](const auto& a) { return sum(a * a) + 1e4; }, {x}));
}

TEST_CASE("gradcheck: names what is wrong") {
    const auto diagnosis = [](double factor, Index skip_from = 1000) {
        const GradReport report = gradcheck([=](const auto& a) { return square(a, factor, skip_from); }, {x});
        CHECK_FALSE(report);
        return report.rows[0].diagnosis;
    };
    CHECK(diagnosis(4) == "doubled: added twice");
    CHECK(diagnosis(-2) == "sign");
    CHECK(diagnosis(2.002) == "constant factor 1.001");
    CHECK(diagnosis(0) == "never written");
    CHECK(diagnosis(2, 8) == "last row missing");
}

TEST_CASE("gradcheck: sees an error of one part in a million") {
    CHECK_FALSE(gradcheck([](const auto& a) { return square(a, 2.000002); }, {x}));
}

TEST_CASE("gradcheck: shows the worst entry and the statistics of all of them") {
    const GradReport report =
        gradcheck([](const auto& a) { return sum(square(a, 3)); }, {Tensor<double>({3}, {1, -4, 2})});
    const GradRow& row = report.rows[0];
    CHECK(row.verdict == Verdict::differs);
    CHECK(row.worst == Index{1});
    CHECK(row.worst_candidate == -12);
    CHECK(row.worst_truth == Approx(-8).epsilon(1e-9));
    CHECK(row.scale == Approx(1.5));
    CHECK(row.cosine == Approx(1));
    CHECK(row.relative_l2 == Approx(0.5));
    CHECK(row.over_tolerance == 3);
}

TEST_CASE("gradcheck: looks at a sample of a large input's entries, and says so") {
    const GradReport report = gradcheck([](const auto& a) { return square(a, 4, 1 << 20); }, {uniform({1000}, -1, 1)});
    CHECK(report.rows[0].diagnosis == "doubled: added twice (one entry in 4 was looked at)");
}

TEST_CASE("gradcheck: an input that the tape does not reach is never written") {
    const GradReport report = gradcheck([](const auto& a, const auto& b) { return a + detach(b); }, {x, x});
    CHECK_FALSE(report);
    CHECK(report.rows[0].verdict == Verdict::agree);
    CHECK(report.rows[1].verdict == Verdict::never_written);
    CHECK(report.rows[1].diagnosis == "the tape does not reach it");
}

TEST_CASE("gradcheck: an input that does not matter is unreached, and the rest is judged") {
    const GradReport report = gradcheck([](const auto& a, const auto&) { return exp(a); }, {x, w});
    CHECK(report);
    CHECK(report.rows[1].verdict == Verdict::unreached);
}

TEST_CASE("gradcheck: a check that checked nothing fails") {
    const GradReport zero = gradcheck([](const auto& a) { return a - a; }, {x});
    CHECK_FALSE(zero);
    CHECK(zero.rows[0].verdict == Verdict::vacuous);
    CHECK_THAT(zero.text(), Contains("nothing was checked"));
    CHECK_FALSE(gradcheck([](const auto&) { return Tensor<double>(1.0); }, {x}));
    CHECK_FALSE(gradcheck([](const auto& a) { return exp(a); }, {Tensor<double>::zeros({0, 3})}));
    CHECK_FALSE(GradReport{});
}

TEST_CASE("gradcheck: a gradient that cancels is vacuous beside one that does not") {
    const GradReport report = gradcheck([](const auto& a, const auto& shift) { return softmax(a + shift); },
                                        {x, Tensor<double>({3, 1}, {1, 2, 3})});
    CHECK(report);
    CHECK(report.rows[1].verdict == Verdict::vacuous);
}

TEST_CASE("gradcheck: a kink in every direction is reported, not averaged over") {
    const GradReport report = gradcheck([](const auto& a) { return relu(a); }, {Tensor<double>({3}, {1, 0, -1})});
    CHECK_FALSE(report);
    CHECK(report.rows[0].diagnosis == "every direction crosses a kink: move the input away from it");
    CHECK(gradcheck([](const auto& a) { return relu(a); }, {Tensor<double>({3}, {1, 0.01, -1})}));
}

TEST_CASE("gradcheck: a direction that crosses a kink is drawn again and counted") {
    // The steps are long enough to cross the kink at 0 only in directions that change the first element by much.
    const GradReport report =
        gradcheck([](const auto& a) { return relu(a); }, {Tensor<double>({2}, {8e-6, 1})}, {.directions = 12});
    CHECK(report);
    REQUIRE(report.notes.size() == 1);
    CHECK_THAT(report.notes[0], Contains("directions crossed a kink and were drawn again"));
}

TEST_CASE("gradcheck: a NaN is an error") {
    const GradReport report = gradcheck([](const auto& a) { return log(a); }, {Tensor<double>({2}, {1, -1})});
    CHECK_FALSE(report);
    CHECK(report.rows[0].diagnosis == "NaN at [0] of the truth itself");
}

TEST_CASE("gradcheck: the same seed gives the same report, and leaves an outer tape alone") {
    const auto f = [](const auto& a) { return square(a, 2.1); };
    Tape<double> outer;
    const std::string text = gradcheck(f, {x}, {.seed = 5}).text();
    CHECK(text == gradcheck(f, {x}, {.seed = 5}).text());
    CHECK(text != gradcheck(f, {x}, {.seed = 6}).text());
    CHECK(outer.size() == 0);
}

TEST_CASE("jacobian_check: every entry") {
    CHECK(jacobian_check([](const auto& a, const auto& b) { return softmax(matmul(a, b)); }, {x, w}));
    const GradReport report = jacobian_check([](const auto& a) { return square(a, 2, 11); }, {x});
    CHECK_FALSE(report);
    CHECK(report.rows[0].shape == Shape{12, 12});
    CHECK(report.rows[0].over_tolerance == 1);
    CHECK(report.rows[0].worst == Index{143});
    CHECK_FALSE(jacobian_check([](const auto& a) { return relu(a); }, {Tensor<double>({2}, {0, 1})}));
    CHECK_FALSE(jacobian_check([](const auto& a) { return relu(a); }, {Tensor<double>({2}, {-1, -2})}));
    CHECK_FALSE(jacobian_check([](const auto& a) { return relu(a); }, {Tensor<double>::zeros({0})}));
}

TEST_CASE("adjoint_check: linear ops to 1e-13, and no other") {
    CHECK(adjoint_check([](const auto& a) { return matmul(a, w); }, {x}));
    CHECK(adjoint_check([](const auto& a, const auto& b) { return a - scale(b, 3); }, {x, x}));
    CHECK_FALSE(adjoint_check([](const auto& a) { return square(a); }, {x}));
    CHECK_FALSE(adjoint_check([](const auto& a) { return a + detach(a); }, {x}));
    CHECK_FALSE(adjoint_check([](const auto& a) { return detach(a); }, {x}));
    CHECK_FALSE(adjoint_check([](const auto& a) { return scale(a, 0); }, {x}));
}

TEST_CASE("same_gradient: values first, then gradients, to 1e-12") {
    const auto composed = [](const auto& a) { return a * sigmoid(a); };
    CHECK(same_gradient([](const auto& a) { return silu(a); }, composed, {x}));
    const GradReport other_value = same_gradient([](const auto& a) { return silu(a) + 1e-9; }, composed, {x});
    CHECK_FALSE(other_value);
    CHECK(other_value.forward->verdict == Verdict::differs);
    CHECK(other_value.rows[0].verdict == Verdict::agree);
    CHECK_FALSE(
        same_gradient([](const auto& a) { return square(a, 2 + 1e-11); }, [](const auto& a) { return a * a; }, {x}));
}

TEST_CASE("check_parameters: differentiates by the parameters of a model and puts them back") {
    Parameter<double> a(x), b(w), idle(x);
    const std::vector<double> before(a.values().begin(), a.values().end());
    const std::vector<NamedParameter> all{{"a", &a}, {"b", &b}, {"idle", &idle}};
    const GradReport report = check_parameters([&] { return mean(tanh(matmul(a, b))); }, all);
    CHECK(report);
    CHECK(report.rows[1].name == "b");
    CHECK(report.rows[2].verdict == Verdict::unreached);
    CHECK(std::equal(before.begin(), before.end(), a.values().begin()));
    CHECK_FALSE(a.grad());
    CHECK_FALSE(check_parameters([&] { return mean(square(a, 2.01)); }, all));
    CHECK_FALSE(check_parameters([&] { return mean(detach(a) * idle); }, all));
    CHECK_THROWS_WITH(check_parameters([&] { return matmul(a, b); }, all),
                      "check_parameters: the loss must be a scalar: loss is [3, 2]; take mean(loss)");
}

TEST_CASE("slope_of: a kink at the point is no slope, even where both sides average to one") {
    const auto slope = [](auto f) {
        return check::slope_of([f](double t) { return check::Weighed{f(t), std::abs(f(t))}; }, 1.0 / 256, 1e-8, 1);
    };
    CHECK(slope([](double t) { return std::sin(3 * t); }).value == Approx(3).epsilon(1e-10));
    CHECK(slope([](double t) { return std::sin(3 * t); }).smooth);
    CHECK_FALSE(slope([](double t) { return std::max(t, 0.0); }).smooth);
    CHECK_FALSE(slope([](double t) { return std::abs(t - 1e-7); }).smooth);
    CHECK(slope([](double t) { return std::abs(t - 0.001); }).smooth);
}

TEST_CASE("report: says in a line what each gradient is") {
    GradReport report{.check = "gradcheck", .seed = 7};
    report.rows.push_back(
        {.name = "x", .shape = {2, 2}, .max_error = 2e-9, .rms_error = 1e-9, .relative = 1e-9, .noise_ratio = 0.5});
    GradRow wrong{.name = "weight", .shape = {2, 2}, .max_error = 4, .rms_error = 2, .relative = 1, .relative_l2 = 1};
    wrong.noise_ratio = 1e7;
    wrong.verdict = Verdict::differs;
    wrong.diagnosis = "doubled: added twice";
    wrong.scale = 2;
    wrong.worst = 3;
    wrong.worst_candidate = 8;
    wrong.worst_truth = 4;
    wrong.over_tolerance = 4;
    report.rows.push_back(wrong);
    report.rows.push_back({.name = "idle", .shape = {3}, .verdict = Verdict::unreached});
    report.notes.emplace_back("a note");
    std::ostringstream out;
    out << report;
    CHECK(out.str() ==
          "gradcheck: 1 of 3 gradients differ (within 1 of the noise floor, seed 7)\n"
          "  x       [2, 2]       f64  agree         relative 1.0e-09  max 2.0e-09  rms 1.0e-09  noise ratio 0.5\n"
          "  weight  [2, 2]       f64  differs       relative 1.0e+00  max 4.0e+00  rms 2.0e+00  noise ratio 1e+07\n"
          "          doubled: added twice; worst at [1, 1]: 8, should be 4; cosine 1.000000, best-fit scale 2, "
          "relative L2 "
          "1.0e+00, 4 of 4 over tolerance\n"
          "  idle    [3]          f64  unreached     \n"
          "  a note");
}

TEST_CASE("report: converts to the assertion result of GoogleTest") {
    const AssertionResult good = gradcheck([](const auto& a) { return exp(a); }, {x});
    CHECK(static_cast<bool>(good));
    const AssertionResult bad = gradcheck([](const auto& a) { return square(a, 3); }, {x});
    CHECK_FALSE(static_cast<bool>(bad));
    CHECK_THAT(bad.failure_message(), Contains("constant factor 1.5"));
}

TEST_CASE("measure: the error of a whole tensor, not of its elements") {
    const double a[] = {1, 1e-9, -2}, b[] = {1, 2e-9, -2};
    const GradRow row = measure("g", {3}, a, b);
    CHECK(row.relative == Approx(5e-10));
    CHECK(row.worst == Index{1});
    const double nan[] = {1, std::nan(""), -2};
    CHECK(std::isinf(measure("g", {3}, nan, b).max_error));
    CHECK(place_of(5, {2, 3}) == "[1, 2]");
    CHECK(place_of(0, {}) == "[]");
}

}  // namespace test_check
