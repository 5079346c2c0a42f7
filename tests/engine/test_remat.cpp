#include <xtape/engine/fuse.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/remat.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <cstring>

namespace test_remat {

namespace {

using namespace xtape;
using laws::uniform;

template <class T> bool same_bits(const Tensor<T>& a, const Tensor<T>& b) {
    return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), a.values().size_bytes()) == 0;
}

/// A layer that reads a Parameter besides its argument.
struct Layer {
    Parameter<double> w{uniform({8, 8}, -1, 1, 3)};

    Tensor<double> operator()(const Tensor<double>& x) const { return softmax(matmul(tanh(matmul(x, w)), w)); }
};

}  // namespace

TEST_CASE("remat: the same bits, forward and backward, as without") {
    Layer layer;
    const Tensor<double> input = uniform({4, 8}, -1, 1);
    const auto f = [&](const Tensor<double>& x) { return layer(x); };
    std::vector<Tensor<double>> values, gradients;
    for (const bool again : {false, true}) {
        Tape<double> tape;
        const auto x = tape.leaf(input);
        const auto loss = sum(exp(again ? remat(f, x) : f(x)));
        values.push_back(loss);
        for (const auto& gradient : tape.gradient(loss, {x, layer.w})) gradients.push_back(gradient);
    }
    CHECK(same_bits(values[0], values[1]));
    CHECK(same_bits(gradients[0], gradients[2]));
    CHECK(same_bits(gradients[1], gradients[3]));
}

TEST_CASE("remat: keeps its arguments only") {
    Layer layer;
    const auto kept = [&](bool again) {
        Tape<double> tape;
        Tensor<double> x = tape.leaf(uniform({64, 8}, -1, 1));
        const std::size_t before = tape.bytes();
        const auto f = [&](const Tensor<double>& in) { return layer(in); };
        for (int i = 0; i < 4; ++i) x = again ? remat(f, x) : f(x);
        return tape.bytes() - before;
    };
    CHECK(kept(true) <= kept(false) / 2);
}

TEST_CASE("remat: gradients of the parameters alone, behind an argument that wants none") {
    Layer layer;
    const Tensor<double> x = uniform({4, 8}, -1, 1);
    const auto f = [&](const Tensor<double>& in) { return layer(in); };
    {
        Tape<double> tape;
        tape.backward(sum(exp(layer(x))));
    }
    Tape<double> tape;
    const auto loss = sum(exp(remat(f, x)));
    CHECK(same_bits(tape.gradient(loss, {layer.w})[0], layer.w.grad()));
}

TEST_CASE("remat: of a function of constants passes nothing, and leaves the rest right") {
    Parameter<double> w(uniform({2}, -1, 1));
    Tape<double> tape;
    const auto y = remat([](const Tensor<double>& x) { return exp(x); }, uniform({2}, -1, 1));
    tape.backward(sum(add(w, y)));
    CHECK(w.grad().values()[0] == 1);
}

TEST_CASE("remat: may be nested, and takes several arguments") {
    const Tensor<double> a = uniform({3}, -1, 1), b = uniform({3}, -1, 1, 2);
    const auto inner = [](const Tensor<double>& x, const Tensor<double>& y) { return mul(exp(x), y); };
    const auto outer = [&](const Tensor<double>& x, const Tensor<double>& y) { return tanh(remat(inner, x, y)); };
    std::vector<Tensor<double>> all;
    for (const bool again : {false, true}) {
        Tape<double> tape;
        const auto x = tape.leaf(a), y = tape.leaf(b);
        const auto loss = sum(again ? remat(outer, x, y) : tanh(inner(x, y)));
        for (const auto& gradient : tape.gradient(loss, {x, y})) all.push_back(gradient);
    }
    CHECK(same_bits(all[0], all[2]));
    CHECK(same_bits(all[1], all[3]));
}

TEST_CASE("remat: a function that gives its argument back is not confused with it") {
    Tape<double> tape;
    const auto x = tape.leaf(Tensor<double>(3.0));
    const auto y = remat([](const Tensor<double>& in) { return in; }, x);
    CHECK(tape.gradient(mul(x, y), {x})[0].item() == 6);
}

TEST_CASE("remat: a tensor of the tape that is read but not passed is an error") {
    Tape<double> tape;
    const auto x = tape.leaf(uniform({2}, -1, 1));
    const auto hidden = exp(x);
    const auto loss = sum(remat([&](const Tensor<double>& in) { return mul(in, hidden); }, x));
    CHECK_THROWS_WITH(tape.backward(loss),
                      "remat: the function reads a tensor of the tape that is not an argument: x is [2]");
}

TEST_CASE("remat: without a tape is the function") {
    CHECK(remat([](const Tensor<double>& x) { return exp(x); }, Tensor<double>(0.0)).item() == 1);
}

TEST_CASE("remat: a kept tape replays it") {
    Tape<double> tape({.keep_records = true});
    const auto x = tape.leaf(Tensor<double>(0.0));
    const auto y = remat([](const Tensor<double>& in) { return exp(in); }, x);
    tape.set(x, Tensor<double>(1.0));
    tape.replay();
    CHECK(tape.value(y).item() == Approx(std::exp(1.0)));
    CHECK(tape.gradient(y, {x})[0].item() == Approx(std::exp(1.0)));
}

TEST_CASE("recompute: the same bits as without, keeping less") {
    const Tensor<double> input = uniform({64, 256}, -1, 1), mix = uniform({256, 256}, -0.1, 0.1, 2);
    const Parameter<double> weight(uniform({256}, 0.5, 1, 3));
    const Indices targets = indices(std::vector<std::int32_t>(64, 7));
    const auto loss_of = [&](const Tensor<double>& x) {
        const auto gate = [](auto a, auto b) { return a * sigmoid(a) * b; };
        const Tensor<double> n = rms_norm(silu(x), weight);
        const Tensor<double> y = fuse(gate, matmul(n, mix), matmul(reshape(n, {64, 256}), mix));
        const Tensor<double> z = remat([](const Tensor<double>& in) { return silu(in); }, y * y) + gelu(matmul(y, mix));
        return cross_entropy(layer_norm(z), targets);
    };
    std::array<std::vector<Tensor<double>>, 2> results;
    std::array<std::size_t, 2> kept{};
    for (const bool recompute : {false, true}) {
        Tape<double> tape({.recompute = recompute});
        const auto x = tape.leaf(input);
        const auto loss = loss_of(x);
        const std::size_t run = recompute ? 1 : 0;
        kept[run] = tape.bytes();
        results[run] = tape.gradient(loss, {x, weight});
        results[run].push_back(loss);
    }
    for (std::size_t i = 0; i < 3; ++i) CHECK(same_bits(results[0][i], results[1][i]));
    CHECK(kept[1] <= kept[0] - 3 * 64 * 256 * sizeof(double));
}

TEST_CASE("recompute: of a chain every other output is kept, with the same bits") {
    std::array<Tensor<double>, 2> gradients;
    std::array<std::size_t, 2> kept{};
    for (const bool recompute : {false, true}) {
        Tape<double> tape({.recompute = recompute});
        const auto x = tape.leaf(uniform({64, 256}, -1, 1));
        Tensor<double> y = silu(x);
        for (int i = 0; i < 9; ++i) y = silu(y);
        kept[recompute] = tape.bytes();
        gradients[recompute] = tape.gradient(sum(y), {x})[0];
    }
    CHECK(same_bits(gradients[0], gradients[1]));
    CHECK(kept[1] < kept[0] * 6 / 10);
}

TEST_CASE("recompute: what a tape for replay needs is kept") {
    Tape<double> tape({.keep_records = true, .recompute = true});
    const auto x = tape.leaf(uniform({64, 256}, -1, 1));
    const auto y = silu(x);
    tape.replay();
    CHECK(same_bits(tape.value(y), silu(tape.value(x))));
}

}  // namespace test_remat
