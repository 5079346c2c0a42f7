#include <xtape/tests/reference/gate_kernels.hpp>

#include "../catch.hpp"
#include "directional.hpp"

#include <cmath>
#include <vector>

namespace test_gate_kernels {

using namespace xtape::reference;
using namespace xtape::test;

namespace {

using M = Matrix<double>;

constexpr int rows = 9, width = 4;

M rows_of(const Values& values, int columns = width) {
    return matrix(static_cast<int>(values.size()) / columns, columns, values);
}

Values random_rows(std::uint64_t seed, int columns = width) {
    return normals(static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns), seed);
}

Affine<double> affine(const Values& weight, const Values& bias) {
    Affine<double> w(static_cast<int>(bias.size()), static_cast<int>(weight.size() / bias.size()));
    w.weight.values = weight;
    w.bias = bias;
    return w;
}

const Values labels{0, 1, 0.25, 1}, shares{0.25, 1, 0.5, 2};

}  // namespace

TEST_CASE("reference affine: y = x Wᵀ + b, gradients are those of the forward") {
    M y(1, 2);
    affine_forward(y, matrix(1, 2, {1, 10}), affine({1, 2, 3, 4}, {100, 200}));
    CHECK(y.values == Values{121, 243});
    const Inputs inputs{random_rows(1), normals(5 * width, 2), normals(5, 3)};
    check_kernel(
        inputs,
        [](const Inputs& in) {
            M out(rows, 5);
            affine_forward(out, rows_of(in[0]), affine(in[1], in[2]));
            return out.values;
        },
        [&](Inputs& d, const Values& dy) {
            M dx = rows_of(d[0]);
            Affine<double> dw = affine(d[1], d[2]);
            affine_backward(dx, dw, rows_of(dy, 5), rows_of(inputs[0]), affine(inputs[1], inputs[2]));
            d = {dx.values, dw.weight.values, dw.bias};
        });
}

TEST_CASE("reference gelu: known values, gradient is that of the forward") {
    M y(1, 3);
    gelu_forward(y, matrix(1, 3, {0, 1, -1}));
    CHECK(y[0][0] == 0);
    CHECK(y[0][1] == Approx(0.8411919906));
    CHECK(y[0][1] + y[0][2] == Approx(y[0][1] * 2 - 1));  // gelu(x) − gelu(−x) = x
    const Values x = random_rows(1);
    check_kernel(
        {x},
        [](const Inputs& in) {
            M out(rows, width);
            gelu_forward(out, rows_of(in[0]));
            return out.values;
        },
        [&](Inputs& d, const Values& dy) {
            M dx = rows_of(d[0]);
            gelu_backward(dx, rows_of(dy), rows_of(x));
            d = {dx.values};
        });
}

TEST_CASE("reference mean_pool: gradient is that of the forward, rows outside the spans get none") {
    const std::vector<Span> spans{{0, 4}, {5, 6}, {6, 9}};
    const Values x = random_rows(1);
    check_kernel(
        {x},
        [&](const Inputs& in) {
            M y(3, width);
            mean_pool_forward(y, rows_of(in[0]), spans);
            return y.values;
        },
        [&](Inputs& d, const Values& dy) {
            M dx = rows_of(d[0]);
            mean_pool_backward(dx, rows_of(dy), spans);
            for (int j = 0; j < width; ++j) CHECK(dx[4][j] == 0.5);
            d = {dx.values};
        });
}

TEST_CASE("reference attention: gradients of q, k and v are those of the forward on ragged sequences") {
    const std::vector<int> positions{0, 1, 2, 3, 0, 0, 1, 2, 3};
    const Inputs inputs{random_rows(1), random_rows(2), random_rows(3)};
    for (const int heads : {1, 2, 4}) {
        M p(rows * heads, 4);
        const auto forward = [&](const Inputs& in) {
            M a(rows, width);
            attention_forward(a, p, rows_of(in[0]), rows_of(in[1]), rows_of(in[2]), heads, positions.data());
            return a.values;
        };
        check_kernel(inputs, forward, [&](Inputs& d, const Values& da) {
            forward(inputs);
            M dq = rows_of(d[0]), dk = rows_of(d[1]), dv = rows_of(d[2]);
            attention_backward(dq, dk, dv, rows_of(da), p, rows_of(inputs[0]), rows_of(inputs[1]), rows_of(inputs[2]),
                               heads, positions.data());
            d = {dq.values, dk.values, dv.values};
        });
    }
}

TEST_CASE("reference weighted cross entropy: equal weights give the mean, gradient is that of the forward") {
    const std::vector<int> targets{0, 3, 2, 2};
    const Values z = normals(4 * width, 1);
    CHECK(weighted_cross_entropy_forward(rows_of(z), targets, Values(4, 0.25)) ==
          Approx(cross_entropy_forward(rows_of(z), targets.data())).epsilon(1e-14));
    M dz(4, width);
    weighted_cross_entropy_backward(dz, 1.0, rows_of(z), targets, shares);
    check_directions(z, dz.values, [&](const Values& moved) {
        return weighted_cross_entropy_forward(rows_of(moved), targets, shares);
    });
}

TEST_CASE("reference binary cross entropy: gradients of logits and of probabilities are those of their forwards") {
    const Values s = normals(4, 1, 2);
    Values p(4), ds(4), dp(4), through_p(4);
    sigmoid_forward(p, s);
    bce_logits_backward(ds, 1.0, s, labels, shares);
    bce_probabilities_backward(dp, 1.0, p, labels, shares);
    check_directions(s, ds, [](const Values& moved) { return bce_logits_forward(moved, labels, shares); });
    check_directions(p, dp, [](const Values& moved) { return bce_probabilities_forward(moved, labels, shares); });
    CHECK(bce_logits_forward(s, labels, shares) == Approx(bce_probabilities_forward(p, labels, shares)).epsilon(1e-13));
    sigmoid_backward(through_p, dp, p);
    CHECK(relative_error(through_p, ds) < 1e-13);
}

TEST_CASE("reference binary cross entropy: logits are exact at any size, probabilities clamp and then send nothing") {
    CHECK(bce_logits_forward<double>({1000, -1000}, {0, 1}, {1, 1}) == 2000);
    Values ds(2);
    bce_logits_backward<double>(ds, 1, {1000, -1000}, {0, 1}, {1, 1});
    CHECK(ds == Values{1, -1});
    for (const double p : {0.0, 1e-8, 1 - 1e-8, 1.0}) {
        const Values probability{p}, label{p < 0.5 ? 1.0 : 0.0}, share{1};
        Values dp(1);
        CHECK(bce_probabilities_forward(probability, label, share) == Approx(-std::log(1e-7)).epsilon(1e-9));
        bce_probabilities_backward(dp, 1.0, probability, label, share);
        CHECK(dp[0] == 0);
    }
}

}  // namespace test_gate_kernels
