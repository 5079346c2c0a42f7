#include <xtape/engine/buffer.hpp>
#include <xtape/engine/check/gradcheck.hpp>
#include <xtape/engine/tape.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <cmath>
#include <numeric>

namespace test_loss {

namespace {

using namespace xtape;
using namespace xtape::laws;
using Catch::Matchers::StartsWith;

auto entropy(const Indices& targets, CrossEntropyOptions options = {}) {
    return [targets, options](auto in) { return cross_entropy(in[0], targets, options); };
}

auto linear_entropy(const Indices& targets, CrossEntropyOptions options = {}) {
    return [targets, options](auto in) { return linear_cross_entropy(in[0], in[1], targets, options); };
}

const Samples samples{
    sample("cross_entropy", "4x27", entropy(indices({0, 26, 5, 5})), {uniform({4, 27}, -2, 2)}),
    sample("cross_entropy", "rank 3", entropy(Indices(Shape{2, 2}, {0, 6, 5, 5})), {uniform({2, 2, 7}, -2, 2)}),
    sample("cross_entropy", "one column", entropy(indices({0, 0})), {uniform({2, 1}, -2, 2)}),
    sample("cross_entropy", "one row", entropy(Indices(Shape{}, {3})), {uniform({16}, -2, 2)}),
    sample("cross_entropy", "an ignored row", entropy(indices({2, -1, 1}), {.ignore_index = -1}),
           {uniform({3, 18}, -2, 2)}),
    sample("cross_entropy", "label smoothing", entropy(indices({2, 0, 1}), {.label_smoothing = 0.1}),
           {uniform({3, 18}, -2, 2)}),
    sample("cross_entropy", "smoothed flat, ignored in range",
           entropy(indices({2, 0, 1}), {.ignore_index = 0, .label_smoothing = 1}), {uniform({3, 5}, -2, 2)}),
    sample("linear_cross_entropy", "4x5, 27 classes", linear_entropy(indices({0, 26, 5, 5})),
           {uniform({4, 5}, -1, 1), uniform({27, 5}, -1, 1, 2)}),
    sample("linear_cross_entropy", "rank 3, an ignored row, smoothed",
           linear_entropy(Indices(Shape{2, 2}, {2, -1, 1, 0}), {.ignore_index = -1, .label_smoothing = 0.1}),
           {uniform({2, 2, 3}, -1, 1), uniform({6, 3}, -1, 1, 2)}),
};

bool same_bits(const Tensor<double>& a, const Tensor<double>& b) {
    return a.shape() == b.shape() && std::ranges::equal(a.values(), b.values());
}

/// The definition, row by row.
double plain_entropy(const Tensor<double>& logits, std::span<const std::int32_t> targets, CrossEntropyOptions options) {
    const auto columns = static_cast<std::size_t>(logits.shape().columns());
    double total = 0, count = 0;
    for (std::size_t row = 0; row < targets.size(); ++row) {
        if (targets[row] == options.ignore_index) continue;
        const auto x = logits.values().subspan(row * columns, columns);
        double sum = 0;
        for (const double v : x) sum += std::exp(v);
        for (std::size_t i = 0; i < columns; ++i) {
            const bool hit = static_cast<std::int32_t>(i) == targets[row];
            const double smooth = options.label_smoothing / static_cast<double>(columns);
            total -= (smooth + (hit ? 1 - options.label_smoothing : 0)) * (x[i] - std::log(sum));
        }
        ++count;
    }
    return total / count;
}

}  // namespace

TEST_CASE("cross_entropy: is the definition, with every option") {
    const auto logits = uniform({5, 27}, -3, 3);
    const std::vector<std::int32_t> targets{0, 26, -1, 3, 3};
    for (const double smoothing : {0.0, 0.1, 1.0}) {
        const CrossEntropyOptions options{.ignore_index = -1, .label_smoothing = smoothing};
        CHECK(cross_entropy(logits, indices(targets), options).item() ==
              Approx(plain_entropy(logits, targets, options)));
    }
}

TEST_CASE("cross_entropy: of equal logits is the logarithm of their number") {
    CHECK(cross_entropy(Tensor<float>::zeros({8, 27}), indices({0, 1, 2, 3, 4, 5, 6, 26})).item() ==
          Approx(std::log(27)));
}

TEST_CASE("cross_entropy: logits of 1e4 neither overflow nor lose the loss") {
    const Tensor<float> logits({1, 3}, {1e4f, -1e4f, 0});
    CHECK(cross_entropy(logits, indices({0})).item() == 0);
    CHECK(cross_entropy(logits, indices({1})).item() == 2e4f);
}

TEST_CASE("cross_entropy: the gradient of a row sums to zero, and an ignored row has none") {
    Tape<double> tape;
    const auto logits = tape.leaf(uniform({3, 27}, -3, 3));
    const auto loss = cross_entropy(logits, indices({4, 9, 4}), {.ignore_index = 9, .label_smoothing = 0.2});
    const auto gradient = tape.gradient(loss, {logits}).front();
    for (std::size_t row = 0; row < 3; ++row) {
        const auto values = gradient.values().subspan(row * 27, 27);
        CHECK(std::abs(std::accumulate(values.begin(), values.end(), 0.0)) < 1e-14);
        CHECK((values[4] == 0) == (row == 1));
    }
}

TEST_CASE("cross_entropy: a masked logit has no gradient and does not spoil the others") {
    Tape<double> tape;
    const auto logits = tape.leaf(Tensor<double>({1, 3}, {0, -std::numeric_limits<double>::infinity(), 0}));
    const auto loss = cross_entropy(logits, indices({0}));
    CHECK(loss.item() == Approx(std::log(2)));
    const auto gradient = tape.gradient(loss, {logits}).front();
    CHECK(gradient.values()[0] == Approx(-0.5));
    CHECK(gradient.values()[1] == 0);
    CHECK(gradient.values()[2] == Approx(0.5));
}

TEST_CASE("cross_entropy: many rows are averaged in double") {
    const auto logits = Tensor<float>::zeros({50000, 3});
    const std::vector<std::int32_t> targets(50000, 1);
    CHECK(cross_entropy(logits, indices(targets)).item() == static_cast<float>(std::log(3.0)));
}

TEST_CASE("cross_entropy: keeps one number a row besides the logits") {
    Tape<float> tape;
    const auto logits = tape.leaf(Tensor<float>::zeros({100, 64}));
    const std::vector<std::int32_t> targets(100, 1);
    cross_entropy(logits, indices(targets));
    CHECK(tape.records().back().kept_bytes < 1000);
}

TEST_CASE("cross_entropy: errors") {
    const auto logits = Tensor<float>::zeros({104, 27});
    const auto targets = [](std::size_t n, std::int32_t value) { return std::vector<std::int32_t>(n, value); };
    CHECK_THROWS_WITH(
        cross_entropy(logits, indices(targets(96, 0))),
        StartsWith("cross_entropy: 104 rows of logits but 96 targets: logits is [104, 27], targets is [96]"));
    auto wrong = targets(104, 0);
    wrong[7] = 27;
    CHECK_THROWS_WITH(cross_entropy(logits, Indices(Shape{8, 13}, wrong)),
                      StartsWith("cross_entropy: target 27 at [0, 7] is outside the row of 27 logits (0 to 26)"));
    CHECK_THROWS_WITH(cross_entropy(logits, indices(targets(104, -100)), {.ignore_index = -100}),
                      StartsWith("cross_entropy: the mean of nothing: no row counts: targets is [104]"));
    CHECK_THROWS_WITH(cross_entropy(Tensor<float>::zeros({0, 27}), indices({})),
                      StartsWith("cross_entropy: the mean of nothing: no row counts: targets is [0]"));
    CHECK_THROWS_WITH(cross_entropy(logits, indices(targets(104, 0)), {.label_smoothing = 1.5}),
                      StartsWith("cross_entropy: label_smoothing must be from 0 to 1: it is 1.5"));
    CHECK_THROWS_WITH(cross_entropy(Tensor<float>(1.0f), indices({0})),
                      StartsWith("cross_entropy: a scalar has no rows: logits is []"));
}

TEST_CASE("cross_entropy: the gradient takes the place of logits that nobody else needs") {
    const Index rows = 64, columns = 1000;
    const Parameter<float> w(Tensor<float>::full({rows, columns}, 0.5f));
    const Indices targets(Shape{rows}, std::vector<std::int32_t>(static_cast<std::size_t>(rows), 3));
    Tape<float> tape;
    const Tensor<float> loss = cross_entropy(scale(w, 2), targets);
    reset_pool_peak();
    const auto before = pool_statistics().bytes_in_use;
    tape.backward(loss);
    const auto one_copy = static_cast<std::int64_t>(rows * columns * Index{sizeof(float)});
    CHECK(pool_statistics().peak_bytes - before < one_copy * 3 / 2);
}

TEST_CASE("linear_cross_entropy: in parts is what matmul and cross_entropy are, forward and backward") {
    const Index rows = 515, classes = 1 << 12;  // three parts, not equal
    const Tensor<double> x = uniform({rows, 3}, -1, 1), w = uniform({classes, 3}, -1, 1, 2);
    std::vector<std::int32_t> targets;
    for (std::int32_t row = 0; row < rows; ++row) targets.push_back(row % 7 == 0 ? -1 : 7 * row);
    const CrossEntropyOptions options{.ignore_index = -1, .label_smoothing = 0.1};
    const auto whole = [&](const Tensor<double>& a, const Tensor<double>& b) {
        return cross_entropy(matmul(a, b, {.transpose_b = true}), indices(targets), options);
    };
    const auto in_parts = [&](const Tensor<double>& a, const Tensor<double>& b) {
        return linear_cross_entropy(a, b, indices(targets), options);
    };
    const auto run = [&](const auto& loss_of) {
        Tape<double> tape;
        const auto a = tape.leaf(x), b = tape.leaf(w);
        const auto loss = loss_of(a, b);
        std::vector<Tensor<double>> results = tape.gradient(scale(loss, 3), {a, b});
        results.push_back(loss);
        return results;
    };
    const auto expected = run(whole), results = run(in_parts);
    for (std::size_t i = 0; i < 3; ++i)
        for (Index j = 0; j < results[i].size(); ++j)
            REQUIRE(results[i].data()[j] == Approx(expected[i].data()[j]).epsilon(1e-12).margin(1e-15));
    CHECK(in_parts(x, w).item() == results[2].item());
    for (const bool of_x : {false, true}) {  // one gradient alone has the bits that it has beside the other
        Tape<double> tape;
        const auto a = of_x ? tape.leaf(x) : x, b = of_x ? w : tape.leaf(w);
        CHECK(same_bits(tape.gradient(scale(in_parts(a, b), 3), {of_x ? a : b})[0], results[of_x ? 0 : 1]));
    }
}

TEST_CASE("linear_cross_entropy: replays with other targets") {
    const Tensor<double> x = uniform({4, 3}, -1, 1), w = uniform({6, 3}, -1, 1, 2);
    const Indices targets = indices({0, 1, 2, 3}), others = indices({5, 5, 0, 0});
    Tape<double> tape({.keep_records = true});
    const auto a = tape.leaf(x);
    const auto loss = linear_cross_entropy(a, w, targets);
    tape.set(targets, others);
    tape.replay();
    CHECK(tape.value(loss).item() == linear_cross_entropy(x, w, others).item());
    Tape<double> fresh;
    const auto b = fresh.leaf(x);
    CHECK(same_bits(tape.gradient(loss, {a})[0], fresh.gradient(linear_cross_entropy(b, w, others), {b})[0]));
}

TEST_CASE("linear_cross_entropy: holds no logits, on a tape and without") {
    const Parameter<float> w(Tensor<float>::full({4096, 4}, 0.5f));
    const Tensor<float> x = Tensor<float>::full({1024, 4}, 0.5f);
    const Indices targets = indices(std::vector<std::int32_t>(1024, 7));
    const auto peak = [&](const auto& body) {
        reset_pool_peak();
        const auto before = pool_statistics().bytes_in_use;
        body();
        return pool_statistics().peak_bytes - before;
    };
    const auto logits = peak([&] { matmul<float>(x, w, {.transpose_b = true}); });
    CHECK(peak([&] { linear_cross_entropy<float>(x, w, targets); }) < logits * 3 / 10);
    CHECK(peak([&] {
              Tape<float> tape;
              tape.backward(linear_cross_entropy<float>(x, w, targets));
          }) < logits * 3 / 10);
}

TEST_CASE("linear_cross_entropy: says what does not fit, on a tape and without") {
    const Parameter<float> x(Tensor<float>::zeros({2, 3}));
    const auto complains = [&] {
        CHECK_THROWS_WITH(linear_cross_entropy<float>(x, Tensor<float>::zeros({3, 5}), indices({0, 0})),
                          StartsWith("linear_cross_entropy: w must be [V, D] for an x of [..., D]: x is [2, 3], w is "
                                     "[3, 5]"));
        CHECK_THROWS_WITH(linear_cross_entropy<float>(x, Tensor<float>::zeros({5, 3}), indices({0})),
                          StartsWith("linear_cross_entropy: 2 rows of logits but 1 targets"));
        CHECK_THROWS_WITH(linear_cross_entropy<float>(x, Tensor<float>(), indices({0, 0})),
                          StartsWith("linear_cross_entropy: the second input is an empty tensor"));
    };
    complains();
    const Tape<float> tape;
    complains();
}

TEST_CASE("cross_entropy: logits that others need stay as they are") {
    const Tensor<double> x = uniform({3, 7}, -1, 1);
    const Indices targets = indices({1, 6, 0});
    SECTION("a handle outside") {
        Tape<double> tape;
        const Tensor<double> logits = scale(tape.leaf(x), 2);
        const std::vector<double> before(logits.values().begin(), logits.values().end());
        tape.backward(cross_entropy(logits, targets));
        CHECK(std::equal(before.begin(), before.end(), logits.values().begin()));
    }
    SECTION("the op that made them, and another one that reads them") {
        const auto f = [&](const Tensor<double>& in) {
            const auto both = [&](const Tensor<double>& logits) {
                return mean(logsumexp(logits)) + cross_entropy(logits, targets) + mean(exp(logits));
            };
            return cross_entropy(exp(in), targets) + both(exp(in));
        };
        CHECK(gradcheck(f, {x}));
    }
}

}  // namespace test_loss
