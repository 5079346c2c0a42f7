// The laws of an op, on every sample of every family.
#include <xtape/engine/check/gradcheck.hpp>
#include <xtape/engine/tape.hpp>
#include <xtape/engine/threads.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <set>
#include <string_view>

#include <rapidcheck.h>

namespace test_laws {

namespace {

using namespace xtape;
using namespace xtape::laws;

/// How near is equal, relative to the largest element of the tensor.
template <class T> struct Tolerance;
template <> struct Tolerance<double> { static constexpr double gradcheck = 1e-7, adjoint = 1e-13, rounding = 1e-13; };
template <> struct Tolerance<float> { static constexpr double rounding = 4e-6, against_f64 = 2e-5; };

constexpr std::uint32_t all_inputs = ~0u;

template <class T> using Gradients = check::TapeGradients<T>;

template <class T> const check::TensorFunction<T>& function_of(const Sample& sample) {
    if constexpr (std::same_as<T, float>)
        return sample.f32;
    else
        return sample.f64;
}

/// The inputs as numbers of f32 in either precision.
template <class T> std::vector<Tensor<T>> inputs_of(const Sample& sample) {
    std::vector<Tensor<T>> inputs;
    for (const Tensor<double>& x : sample.inputs) {
        const std::vector<float> rounded(x.values().begin(), x.values().end());
        inputs.emplace_back(x.shape(), std::vector<T>(rounded.begin(), rounded.end()));
    }
    return inputs;
}

template <class T> Tensor<T> cotangent_of(const Shape& shape) {
    const Tensor<double> dy = uniform(shape, -1, 1, 99);
    return {shape, std::vector<T>(dy.values().begin(), dy.values().end())};
}

/// Value and gradients with the inputs of `wanted` as leaves of a tape.
template <class T>
Gradients<T> run(const check::TensorFunction<T>& f, const std::vector<Tensor<T>>& inputs,
                 std::uint32_t wanted = all_inputs) {
    Tape<T> tape;
    std::vector<Tensor<T>> x;
    for (std::size_t i = 0; i < inputs.size(); ++i)
        x.push_back(((wanted >> i) & 1u) != 0 ? tape.leaf(inputs[i]) : inputs[i]);
    Gradients<T> result{f(x), {}};
    if (!tape.wants_grad(result.y)) return {result.y, std::vector<Tensor<T>>(inputs.size())};
    tape.backward(result.y, cotangent_of<T>(result.y.shape()));
    for (std::size_t i = 0; i < inputs.size(); ++i)
        result.dx.push_back(((wanted >> i) & 1u) != 0 ? tape.at(x[i].body()->value).grad : Tensor<T>());
    return result;
}

template <class T> bool same_bits(const Tensor<T>& a, const Tensor<T>& b) {
    if (!a || !b) return !a && !b;
    return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), a.values().size_bytes()) == 0;
}

template <class T> bool same_bits(const Gradients<T>& a, const Gradients<T>& b) {
    return same_bits(a.y, b.y) &&
           std::ranges::equal(a.dx, b.dx, [](const auto& x, const auto& y) { return same_bits(x, y); });
}

/// The largest finite element.
template <class T> double size_of(const Tensor<T>& x) {
    double size = 0;
    if (!x) return size;
    for (const T v : x.values()) size = std::max(size, std::isfinite(v) ? std::abs(static_cast<double>(v)) : 0);
    return size;
}

/// max|a − b|; elements that are the same (two infinities) are no error.
template <class A, class B> double distance(const Tensor<A>& a, const Tensor<B>& b) {
    double error = 0;
    for (std::size_t i = 0; i < b.values().size(); ++i) {
        const double x = a.data()[i], y = b.data()[i];
        if (x == y) continue;
        const double difference = std::abs(x - y);
        error = std::max(error, std::isnan(difference) ? 1e300 : difference);
    }
    return error;
}

/// The size of the terms that a gradient is summed from: it may cancel to nearly nothing.
double scale_of(const Sample& sample, const Gradients<double>& run) {
    double scale = 0, inputs = 0;
    for (const auto& dx : run.dx) scale = std::max(scale, size_of(dx));
    for (const auto& x : sample.inputs) inputs = std::max(inputs, size_of(x));
    return std::max(scale, inputs > 0 ? size_of(run.y) / inputs : 0);
}

void for_each_sample(const auto& law) {
    REQUIRE_FALSE(all_samples().empty());
    for (const Sample& sample : all_samples()) {
        INFO(sample.op << " (" << sample.label << ")");
        law(sample);
    }
}

bool nothing_differs(const GradReport& report) { return std::ranges::none_of(report.rows, differs); }

/// The functions that the catalogue declares.
std::set<std::string> catalogue() {
    std::ifstream file(XTAPE_SOURCE_DIR "/engine/ops.hpp");
    std::set<std::string> names;
    for (std::string line; std::getline(file, line);) {
        std::string_view declaration = line;
        if (const std::size_t end = line.find("> "); line.starts_with("template <") && end != std::string::npos)
            declaration.remove_prefix(end + 2);
        for (const std::string_view result : {"Tensor<T> ", "std::vector<Tensor<T>> "}) {
            if (!declaration.starts_with(result)) continue;
            const std::string_view name = declaration.substr(result.size(), declaration.find('(') - result.size());
            if (!name.starts_with("operator")) names.emplace(name);
        }
    }
    return names;
}

}  // namespace

TEST_CASE("laws: every op of the catalogue has samples") {
    const std::set<std::string> names = catalogue();
    REQUIRE(names.size() > 30);
    for (const std::string& name : names) {
        INFO(name);
        CHECK(std::ranges::any_of(all_samples(), [&](const Sample& sample) { return sample.op == name; }));
    }
    for (const Sample& sample : all_samples()) {
        INFO(sample.op << " (" << sample.label << ")");
        CHECK(names.contains(sample.op));
    }
}

TEST_CASE("laws: the gradient is what finite differences say") {
    std::set<std::string> checked, all;
    for_each_sample([&](const Sample& sample) {
        all.insert(sample.op);
        const GradReport report =
            check::gradcheck(sample.f64, sample.inputs, {.tolerance = Tolerance<double>::gradcheck});
        if (report) checked.insert(sample.op);
        INFO(report);
        CHECK(nothing_differs(report));
    });
    CHECK(checked == all);  // that no sample of an op has a gradient is no proof of it
}

TEST_CASE("laws: a linear op and its vjp are adjoint") {
    for_each_sample([](const Sample& sample) {
        if (!sample.linear) return;
        const GradReport report = check::adjoint_check(sample.f64, sample.inputs, Tolerance<double>::adjoint);
        INFO(report);
        CHECK(nothing_differs(report));
    });
}

TEST_CASE("laws: one tensor passed twice gets the sum of both gradients") {
    for_each_sample([](const Sample& sample) {
        const auto inputs = inputs_of<double>(sample);
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            for (std::size_t j = i + 1; j < inputs.size(); ++j) {
                if (inputs[i].shape() != inputs[j].shape()) continue;
                auto copies = inputs;
                copies[j] = copies[i];
                const Gradients<double> apart = run<double>(sample.f64, copies);
                const check::TensorFunction<double> joined = [&](std::span<const Tensor<double>> x) {
                    std::vector<Tensor<double>> both(x.begin(), x.end());
                    both[j] = both[i];
                    return sample.f64(both);
                };
                const Gradients<double> together = run<double>(joined, copies);
                const Tensor<double> sum = add(apart.dx[i], apart.dx[j]);
                const double size = std::max(size_of(apart.dx[i]), size_of(apart.dx[j]));
                CHECK(distance(together.dx[i], sum) <= Tolerance<double>::rounding * size);
            }
        }
    });
}

TEMPLATE_TEST_CASE("laws: a gradient has the same bits whichever others are wanted", "", float, double) {
    for_each_sample([](const Sample& sample) {
        const auto inputs = inputs_of<TestType>(sample);
        const Gradients<TestType> full = run(function_of<TestType>(sample), inputs);
        const std::uint32_t subsets = 1u << std::min<std::size_t>(inputs.size(), 4);
        for (std::uint32_t wanted = 0; wanted < subsets; ++wanted) {
            INFO("wanted: bits " << wanted);
            const Gradients<TestType> some = run(function_of<TestType>(sample), inputs, wanted);
            CHECK(same_bits(some.y, full.y));
            for (std::size_t i = 0; i < inputs.size(); ++i)
                if (((wanted >> i) & 1u) != 0) CHECK(same_bits(some.dx[i], full.dx[i]));
        }
    });
}

TEMPLATE_TEST_CASE("laws: what is accumulated is what would be written", "", float, double) {
    using T = TestType;
    for_each_sample([](const Sample& sample) {
        const auto inputs = inputs_of<T>(sample);
        const Gradients<T> written = run(function_of<T>(sample), inputs);
        std::vector<Parameter<T>> parameters;
        std::vector<Tensor<T>> before;
        for (const Tensor<T>& x : inputs) {
            before.push_back(cotangent_of<T>(x.shape()));
            std::ranges::copy(before.back().values(), parameters.emplace_back(x).write_grad().begin());
        }
        const std::vector<Tensor<T>> handles(parameters.begin(), parameters.end());
        Tape<T> tape;
        const Tensor<T> y = function_of<T>(sample)(handles);
        REQUIRE(tape.wants_grad(y));
        tape.backward(y, cotangent_of<T>(y.shape()));
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            INFO("input " << i);
            const Tensor<T> expected = written.dx[i] ? add(before[i], written.dx[i]) : before[i];
            const double size = std::max(size_of(before[i]), size_of(written.dx[i]));
            CHECK(distance(parameters[i].grad(), expected) <= Tolerance<T>::rounding * size);
        }
    });
}

TEMPLATE_TEST_CASE("laws: the bits do not depend on the number of threads", "", float, double) {
    for_each_sample([](const Sample& sample) {
        const auto inputs = inputs_of<TestType>(sample);
        set_threads(1);
        const Gradients<TestType> one = run(function_of<TestType>(sample), inputs);
        set_threads(2);
        const Gradients<TestType> two = run(function_of<TestType>(sample), inputs);
        set_threads(0);
        CHECK(same_bits(one, two));
    });
}

TEMPLATE_TEST_CASE("laws: nor do they at sizes that are worth threads", "", float, double) {
    const std::vector<Tensor<double>> pair{uniform({512, 768}, -1, 1), uniform({512, 768}, -1, 1, 2)};
    const std::vector<Tensor<double>> product{uniform({256, 512}, -1, 1), uniform({512, 768}, -1, 1, 2)};
    const std::vector<Tensor<double>> bias{uniform({512, 768}, -1, 1), uniform({768}, -1, 1, 2)};
    std::vector<std::int32_t> ids(512);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i * i % 300);
    const Indices rows = indices(ids);
    const Sample large[] = {
        sample(
            "mul", "large", [](auto in) { return mul(in[0], in[1]); }, pair),
        sample(
            "mul", "large, broadcast", [](auto in) { return mul(in[0], in[1]); }, bias),
        sample("gelu", "large", [](auto in) { return gelu(in[0]); }, {pair[0]}),
        sample("sum", "large", [](auto in) { return sum(in[0]); }, {pair[0]}),
        sample("mean", "large, axis 0", [](auto in) { return mean(in[0], {0}); }, {pair[0]}),
        sample("permute", "large",
               [](auto in) {
                   return permute(in[0], {1, 0});
               },
               {pair[0]}),
        sample(
            "matmul", "large", [](auto in) { return matmul(in[0], in[1]); }, product),
        sample(
            "matmul", "large, relu", [](auto in) { return matmul(in[0], in[1], {.relu = true}); }, product),
        sample("softmax", "large", [](auto in) { return softmax(in[0]); }, {pair[0]}),
        sample(
            "rms_norm", "large", [](auto in) { return rms_norm(in[0], in[1]); }, bias),
        sample(
            "layer_norm", "large", [](auto in) { return layer_norm(in[0], in[1], in[1]); }, bias),
        sample("embedding", "large", [=](auto in) { return embedding(in[0], rows); }, {pair[0]}),
        sample("segment_mean", "large",
               [](auto in) {
                   return segment_mean(in[0], indices({0, 300, 301, 512}));
               },
               {pair[0]}),
        sample("rope", "large", [=](auto in) { return rope(in[0], rows, {.heads = 8}); }, {pair[0]}),
        sample("dropout", "large", [](auto in) { return dropout(in[0], 0.5, {}); }, {pair[0]}),
        sample(
            "causal_scan", "large",
            [](auto in) {
                return causal_scan(in[0], in[1], indices({0, 100, 512}));
            },
            pair),
        sample(
            "causal_scan", "large, checkpointed",
            [](auto in) { return causal_scan(in[0], in[1], {}, {.exclusive = true, .checkpointed = true}); }, pair),
        sample(
            "slot_memory", "large",
            [](auto in) {
                const auto weights = slice(in[1], 1, 0, 4);
                return slot_memory(in[0], weights, weights, in[0], in[1]);
            },
            pair),
        sample("row_cross_entropy", "large", [=](auto in) { return row_cross_entropy(in[0], rows); }, {pair[0]}),
        sample("cross_entropy", "large", [=](auto in) { return cross_entropy(in[0], rows); }, {pair[0]}),
        sample(
            "linear_cross_entropy", "large", [=](auto in) { return linear_cross_entropy(in[0], in[1], rows); }, pair),
        sample(
            "causal_attention", "large",
            [](auto in) { return causal_attention(in[0], in[1], in[1], Indices(), {.heads = 8}); }, pair),
    };
    for (const Sample& sample : large) {
        INFO(sample.op << " (" << sample.label << ")");
        const auto inputs = inputs_of<TestType>(sample);
        set_threads(1);
        const Gradients<TestType> one = run(function_of<TestType>(sample), inputs);
        set_threads(2);
        const Gradients<TestType> two = run(function_of<TestType>(sample), inputs);
        set_threads(0);
        CHECK(same_bits(one, two));
    }
}

TEST_CASE("laws: an elementwise op broadcasts any two shapes that fit, in both directions") {
    const bool holds = rc::check([](const std::vector<std::uint8_t>& bytes) {
        std::vector<Index> a, b;
        for (std::size_t axis = 0; axis < std::min<std::size_t>(bytes.size(), 4); ++axis) {
            const Index extent = bytes[axis] % 5;
            const unsigned choice = bytes[axis] / 64;  // both, one of them, or a shorter rank
            if (choice != 1 || !a.empty()) a.push_back(choice == 1 ? 1 : extent);
            if (choice != 2 || !b.empty()) b.push_back(choice == 2 ? 1 : extent);
        }
        const std::vector<Tensor<double>> inputs{uniform(Shape(a), 0.5, 2), uniform(Shape(b), 0.5, 2, 2)};
        for (const auto& op : {check::TensorFunction<double>([](auto in) { return mul(in[0], in[1]); }),
                               check::TensorFunction<double>([](auto in) { return div(in[0], in[1]); }),
                               check::TensorFunction<double>([](auto in) { return sub(in[0], in[1]); })}) {
            const GradReport report = check::gradcheck(op, inputs, {.tolerance = Tolerance<double>::gradcheck});
            if (!nothing_differs(report)) RC_FAIL(report.text());
        }
    });
    CHECK(holds);
}

TEST_CASE("laws: f32 is as near to f64 as rounding allows") {
    for_each_sample([](const Sample& sample) {
        const Gradients<float> f32 = run<float>(sample.f32, inputs_of<float>(sample));
        const Gradients<double> f64 = run<double>(sample.f64, inputs_of<double>(sample));
        CHECK(distance(f32.y, f64.y) <= Tolerance<float>::against_f64 * size_of(f64.y));
        const double cancelled = Tolerance<float>::rounding * scale_of(sample, f64);
        for (std::size_t i = 0; i < sample.inputs.size(); ++i) {
            INFO("gradient of input " << i);
            REQUIRE(static_cast<bool>(f32.dx[i]) == static_cast<bool>(f64.dx[i]));
            if (!f64.dx[i]) continue;
            CHECK(distance(f32.dx[i], f64.dx[i]) <= Tolerance<float>::against_f64 * size_of(f64.dx[i]) + cancelled);
        }
    });
}

TEMPLATE_TEST_CASE("laws: gradients have the shapes of their inputs, and recording changes no bits", "", float,
                   double) {
    for_each_sample([](const Sample& sample) {
        const auto inputs = inputs_of<TestType>(sample);
        const Gradients<TestType> taped = run(function_of<TestType>(sample), inputs);
        CHECK(same_bits(taped.y, function_of<TestType>(sample)(inputs)));
        for (std::size_t i = 0; i < inputs.size(); ++i)
            if (taped.dx[i]) CHECK(taped.dx[i].shape() == inputs[i].shape());
        const auto untouched = inputs_of<TestType>(sample);
        for (std::size_t i = 0; i < inputs.size(); ++i) CHECK(same_bits(inputs[i], untouched[i]));
    });
}

TEMPLATE_TEST_CASE("laws: a replay computes the same bits, forward and backward", "", float, double) {
    using T = TestType;
    for_each_sample([](const Sample& sample) {
        const auto inputs = inputs_of<T>(sample);
        const Gradients<T> expected = run(function_of<T>(sample), inputs);
        Tape<T> tape({.keep_records = true});
        std::vector<Tensor<T>> x;
        for (const Tensor<T>& input : inputs) x.push_back(tape.leaf(Tensor<T>::full(input.shape(), T(1))));
        const Tensor<T> y = function_of<T>(sample)(x);
        for (std::size_t i = 0; i < x.size(); ++i) tape.set(x[i], inputs[i]);
        tape.replay();
        CHECK(same_bits(tape.value(y), expected.y));
        std::vector<const Tensor<T>*> of;
        for (const Tensor<T>& leaf : x) of.push_back(&leaf);
        const auto dx = tape.gradient(y, cotangent_of<T>(y.shape()), of);
        for (std::size_t i = 0; i < x.size(); ++i)
            if (expected.dx[i]) CHECK(same_bits(dx[i], expected.dx[i]));
    });
}

}  // namespace test_laws
