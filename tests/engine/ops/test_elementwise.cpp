#include <xtape/engine/tape.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <cmath>

namespace test_elementwise {

namespace {

using namespace xtape;
using namespace xtape::laws;
using Catch::Matchers::StartsWith;

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

constexpr auto power_of = [](double p) {
    return [p](auto in) {
        using T = typename std::remove_cvref_t<decltype(in[0])>::Scalar;
        return pow(in[0], static_cast<T>(p));
    };
};
constexpr auto clamped = [](auto in) { return clamp(in[0], -0.5f, 0.25f); };

const Samples samples{
    sample("pow", "1.7", power_of(1.7), {uniform({3, 5}, 0.5, 2)}),
    sample("pow", "-0.3", power_of(-0.3), {uniform({3, 5}, 0.5, 2)}),
    sample("pow", "1/2", power_of(0.5), {uniform({3, 5}, 0.5, 2)}),
    sample("pow", "-3/2", power_of(-1.5), {uniform({3, 5}, 0.5, 2)}),
    sample("pow", "3, negative x", power_of(3), {uniform({3, 5}, -2, -0.5)}),
    sample("pow", "-2", power_of(-2), {uniform({3, 5}, -2, -0.5)}),
    sample("pow", "0", power_of(0), {uniform({3, 5}, -2, 2)}),
    sample("pow", "1", power_of(1), {uniform({3, 5}, -2, 2)}),
    sample("exp", "3x5", [](auto in) { return exp(in[0]); }, {uniform({3, 5}, -2, 2)}),
    sample("exp", "nothing", [](auto in) { return exp(in[0]); }, {uniform({3, 0}, -2, 2)}),
    sample("exp", "scalar", [](auto in) { return exp(in[0]); }, {uniform({}, -2, 2)}),
    sample("exp", "large", [](auto in) { return exp(in[0]); }, {uniform({210, 301}, -2, 2)}),
    sample("log", "3x5", [](auto in) { return log(in[0]); }, {uniform({3, 5}, 0.5, 2)}),
    sample("sqrt", "3x5", [](auto in) { return sqrt(in[0]); }, {uniform({3, 5}, 0.5, 2)}),
    sample("rsqrt", "3x5", [](auto in) { return rsqrt(in[0]); }, {uniform({3, 5}, 0.5, 2)}),
    sample("tanh", "3x17", [](auto in) { return tanh(in[0]); }, {uniform({3, 17}, -3, 3)}),
    sample("sigmoid", "3x17", [](auto in) { return sigmoid(in[0]); }, {uniform({3, 17}, -5, 5)}),
    sample("silu", "3x17", [](auto in) { return silu(in[0]); }, {uniform({3, 17}, -5, 5)}),
    sample("gelu", "tanh", [](auto in) { return gelu(in[0]); }, {uniform({3, 17}, -4, 4)}),
    sample("gelu", "exact", [](auto in) { return gelu(in[0], Gelu::exact); }, {uniform({3, 17}, -4, 4)}),
    sample("relu", "3x17", [](auto in) { return relu(in[0]); }, {uniform_off({3, 17}, -1, 1, {0})}),
    sample("relu_squared", "3x17", [](auto in) { return relu_squared(in[0]); }, {uniform_off({3, 17}, -1, 1, {0})}),
    sample("abs", "3x17", [](auto in) { return abs(in[0]); }, {uniform_off({3, 17}, -1, 1, {0})}),
    sample("clamp", "3x17", clamped, {uniform_off({3, 17}, -1, 1, {-0.5, 0.25})}),
};

/// f of one number and its derivative there.
template <class T, class F> std::pair<double, double> at(const F& f, double x) {
    Tape<T> tape;
    const auto leaf = tape.leaf(Tensor<T>(static_cast<T>(x)));
    const auto y = f(leaf);
    return {y.item(), tape.gradient(y, {leaf})[0].item()};
}

struct Known {
    const char* name;
    std::function<Tensor<double>(const Tensor<double>&)> f;
    std::function<double(double)> value;
    double low, high;
};

const std::vector<Known> known{
    {"exp", [](auto& x) { return exp(x); }, [](double x) { return std::exp(x); }, -30, 30},
    {"log", [](auto& x) { return log(x); }, [](double x) { return std::log(x); }, 0.01, 30},
    {"sqrt", [](auto& x) { return sqrt(x); }, [](double x) { return std::sqrt(x); }, 0, 30},
    {"rsqrt", [](auto& x) { return rsqrt(x); }, [](double x) { return 1 / std::sqrt(x); }, 0.01, 30},
    {"tanh", [](auto& x) { return tanh(x); }, [](double x) { return std::tanh(x); }, -5, 5},
    {"sigmoid", [](auto& x) { return sigmoid(x); }, [](double x) { return 1 / (1 + std::exp(-x)); }, -30, 30},
    {"silu", [](auto& x) { return silu(x); }, [](double x) { return x / (1 + std::exp(-x)); }, -30, 30},
    {"gelu tanh", [](auto& x) { return gelu(x); },
     [](double x) { return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }, -5, 5},
    {"gelu exact", [](auto& x) { return gelu(x, Gelu::exact); },
     [](double x) { return x * std::erfc(-x / std::sqrt(2.0)) / 2; }, -5, 5},
    {"relu", [](auto& x) { return relu(x); }, [](double x) { return std::max(x, 0.0); }, -1, 1},
    {"relu_squared", [](auto& x) { return relu_squared(x); },
     [](double x) { return std::max(x, 0.0) * std::max(x, 0.0); }, -1, 1},
    {"abs", [](auto& x) { return abs(x); }, [](double x) { return std::abs(x); }, -1, 1},
    {"clamp", [](auto& x) { return clamp(x, -0.25, 0.5); }, [](double x) { return std::clamp(x, -0.25, 0.5); }, -1, 1},
    {"pow 2.3", [](auto& x) { return pow(x, 2.3); }, [](double x) { return std::pow(x, 2.3); }, 0, 5},
    {"pow -3", [](auto& x) { return pow(x, -3); }, [](double x) { return std::pow(x, -3); }, -5, -0.1},
    {"pow 7", [](auto& x) { return pow(x, 7); }, [](double x) { return std::pow(x, 7); }, -5, 5},
    {"pow 1.5", [](auto& x) { return pow(x, 1.5); }, [](double x) { return std::pow(x, 1.5); }, 0, 5},
};

}  // namespace

TEST_CASE("elementwise: each op is its formula") {
    for (const Known& op : known) {
        INFO(op.name);
        const Tensor<double> x = uniform({3, 37}, op.low, op.high), y = op.f(x);
        for (std::size_t i = 0; i < x.values().size(); ++i) {
            const double expected = op.value(x.values()[i]);
            CHECK(y.values()[i] == Approx(expected).epsilon(1e-13).margin(2e-14));
        }
    }
}

TEMPLATE_TEST_CASE("sigmoid, silu, tanh: values and slopes are finite however large x is", "", float, double) {
    for (const double x : {-1e30, -1000.0, -100.0, 100.0, 1000.0, 1e30}) {
        INFO("x = " << x);
        const auto [s, ds] = at<TestType>([](auto& v) { return sigmoid(v); }, x);
        CHECK(s == Approx(x > 0 ? 1 : 0).margin(1e-12));
        CHECK(ds == Approx(0).margin(1e-12));
        const auto [y, dy] = at<TestType>([](auto& v) { return silu(v); }, x);
        CHECK(y == Approx(x > 0 ? static_cast<double>(static_cast<TestType>(x)) : 0).margin(1e-12));
        CHECK(dy == Approx(x > 0 ? 1 : 0).margin(1e-12));
        const auto [t, dt] = at<TestType>([](auto& v) { return tanh(v); }, x);
        CHECK(t == (x > 0 ? 1 : -1));
        CHECK(dt == 0);
    }
}

TEMPLATE_TEST_CASE("gelu: values and slopes are finite for |x| up to a million", "", float, double) {
    for (const Gelu form : {Gelu::tanh, Gelu::exact}) {
        for (const double x : {-1e6, -30.0, 30.0, 1e6}) {
            const auto [y, dy] = at<TestType>([form](auto& v) { return gelu(v, form); }, x);
            CHECK(y == Approx(x > 0 ? x : 0).margin(1e-12));
            CHECK(dy == Approx(x > 0 ? 1 : 0).margin(1e-12));
        }
    }
}

TEMPLATE_TEST_CASE("relu, relu_squared, abs, clamp: NaN passes through", "", float, double) {
    using T = TestType;
    const Tensor<T> x = Tensor<T>::full({19}, static_cast<T>(not_a_number));
    for (const auto& y : {relu(x), relu_squared(x), abs(x), clamp(x, T(-1), T(1)), pow(x, T(2)), pow(x, T(0.3))})
        for (const T v : y.values()) CHECK(std::isnan(v));
}

TEST_CASE("relu, relu_squared, abs: the gradient at 0 is 0") {
    for (const double zero : {0.0, -0.0}) {
        CHECK(at<double>([](auto& v) { return relu(v); }, zero) == std::pair(0.0, 0.0));
        CHECK(at<double>([](auto& v) { return relu_squared(v); }, zero) == std::pair(0.0, 0.0));
        CHECK(at<double>([](auto& v) { return abs(v); }, zero) == std::pair(0.0, 0.0));
    }
}

TEST_CASE("clamp: gradient passes at the bounds and not beyond") {
    const auto f = [](auto& v) { return clamp(v, -1, 2); };
    CHECK(at<double>(f, -1) == std::pair(-1.0, 1.0));
    CHECK(at<double>(f, 2) == std::pair(2.0, 1.0));
    CHECK(at<double>(f, -1.001) == std::pair(-1.0, 0.0));
    CHECK(at<double>(f, 2.001) == std::pair(2.0, 0.0));
    CHECK(at<double>(f, infinity) == std::pair(2.0, 0.0));
}

TEST_CASE("pow: exact at zero, for negative x, and for whole exponents") {
    const auto value = [](double x, double p) { return at<double>([p](auto& v) { return pow(v, p); }, x); };
    CHECK(value(0, 2) == std::pair(0.0, 0.0));
    CHECK(value(0, 1) == std::pair(0.0, 1.0));
    CHECK(value(0, 0) == std::pair(1.0, 0.0));
    CHECK(value(-3, 3) == std::pair(-27.0, 27.0));
    CHECK(value(-2, -1) == std::pair(-0.5, -0.25));
    CHECK(value(4, 0.5) == std::pair(2.0, 0.25));
    CHECK(value(0, -0.3).first == infinity);
    CHECK(value(0, 0.3).first == 0);
    CHECK(value(0, 1.3) == std::pair(0.0, 0.0));
    CHECK(std::isnan(value(-2, 0.3).first));
}

TEST_CASE("exp, log, sqrt: the ends of their ranges") {
    const Tensor<double> y = exp(Tensor<double>({3}, {-infinity, infinity, -1e4}));
    CHECK(y.values()[0] == 0);
    CHECK(y.values()[1] == infinity);
    CHECK(y.values()[2] == 0);
    const Tensor<double> z = log(Tensor<double>({3}, {0, infinity, -1}));
    CHECK(z.values()[0] == -infinity);
    CHECK(z.values()[1] == infinity);
    CHECK(std::isnan(z.values()[2]));
    CHECK(sqrt(Tensor<double>(0.0)).item() == 0);
    CHECK(std::isnan(sqrt(Tensor<double>(-1.0)).item()));
}

TEST_CASE("clamp: crossed bounds are an error") {
    const Tensor<float> x(1.0f);
    CHECK_THROWS_WITH(clamp(x, 2, 1), StartsWith("clamp: low is above high: low is 2, high is 1"));
    CHECK_THROWS_AS(clamp(x, std::nanf(""), 1), ValueError);
    CHECK(clamp(x, 2, 2).item() == 2);
}

}  // namespace test_elementwise
