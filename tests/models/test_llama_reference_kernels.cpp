#include <xtape/tests/reference/llama_kernels.hpp>

#include "../catch.hpp"
#include "differences.hpp"

#include <cmath>
#include <initializer_list>
#include <random>
#include <utility>
#include <vector>

namespace test_llama_reference_kernels {

using namespace xtape::reference;
using namespace xtape::test;

namespace {

using Mat = Matrix<double>;

Mat random_matrix(int rows, int columns, std::mt19937_64& random, double deviation = 1) {
    Mat x(rows, columns);
    x.values = random_values(x.values.size(), random, 0, deviation);
    return x;
}

/// Two sequences, of lengths 5 and 1, and two more of lengths 2 and 3.
const std::vector<int> positions{0, 1, 2, 3, 4, 0, 0, 1, 0, 1, 2};
constexpr int rows = 11;
constexpr Pairs interleaved{2, 1};
constexpr double theta = 50, epsilon = 1e-2, tolerance = 1e-8;

Pairs half_split(int width) { return {1, width / 2}; }

/// Checks ⟨dy, forward()⟩ as a function of each of the given values against its gradient, in three directions.
void check_gradients(auto&& forward, const Mat& dy,
                     std::initializer_list<std::pair<Values*, const Values*>> values_and_gradients) {
    std::mt19937_64 random(99);
    int input = 0;
    for (const auto& [values, gradient] : values_and_gradients) {
        INFO("input " << input++);
        REQUIRE(values->size() == gradient->size());
        for (int i = 0; i < 3; ++i)
            CHECK(slope_error(
                      *values, *gradient, [&] { return dot(dy.values, forward().values); }, random) < tolerance);
    }
}

struct AttentionInputs {
    HeadGroups heads;
    Mat q, k, v, da;

    AttentionInputs(HeadGroups groups, int width, double deviation = 1) : heads(groups) {
        std::mt19937_64 random(5);
        q = random_matrix(rows, groups.query_heads * width, random, deviation);
        k = random_matrix(rows, groups.key_heads * width, random, deviation);
        v = random_matrix(rows, groups.key_heads * width, random);
        da = random_matrix(rows, q.columns, random);
    }
};

struct AttentionOutputs {
    Mat a, lse, dq, dk, dv;

    explicit AttentionOutputs(const AttentionInputs& in)
        : a(rows, in.q.columns),
          lse(rows, in.heads.query_heads),
          dq(rows, in.q.columns),
          dk(rows, in.k.columns),
          dv(rows, in.k.columns) {
        grouped_attention_forward(a, lse, in.q, in.k, in.v, in.heads, positions.data());
        grouped_attention_backward(dq, dk, dv, in.da, lse, in.q, in.k, in.v, in.heads, positions.data());
    }
};

}  // namespace

TEST_CASE("reference projection: gradients agree with central differences") {
    std::mt19937_64 random(1);
    Mat x = random_matrix(4, 3, random), w = random_matrix(5, 3, random), y(4, 5), dx(4, 3), dw(5, 3);
    const Mat dy = random_matrix(4, 5, random);
    projection_backward(dx, dw, dy, x, w);
    const auto forward = [&] { return projection_forward(y, x, w), y; };
    check_gradients(forward, dy, {{&x.values, &dx.values}, {&w.values, &dw.values}});
}

TEST_CASE("reference weighted rms_norm: gradients agree with central differences") {
    std::mt19937_64 random(2);
    Mat x = random_matrix(4, 6, random, 3), y(4, 6), dx(4, 6);
    const Mat dy = random_matrix(4, 6, random);
    Values w = random_values(6, random, 1, 0.5), dw(6);
    rms_norm_backward_input(dx, dy, x, w, epsilon);
    rms_norm_backward_weight(dw, dy, x, epsilon);
    const auto forward = [&] { return rms_norm_forward(y, x, w, epsilon), y; };
    check_gradients(forward, dy, {{&x.values, &dx.values}, {&w, &dw}});
}

TEST_CASE("reference weighted rms_norm: weights of 1 are the norm without a weight") {
    std::mt19937_64 random(3);
    const Mat x = random_matrix(4, 6, random), dy = random_matrix(4, 6, random);
    const Values ones(6, 1.0);
    Mat y(4, 6), dx(4, 6), plain_y(4, 6), plain_dx(4, 6);
    rms_norm_forward(y, x, ones, 1e-5);
    rms_norm_backward_input(dx, dy, x, ones, 1e-5);
    rms_norm_forward(plain_y, x);
    rms_norm_backward(plain_dx, dy, x);
    CHECK(relative_error(y.values, plain_y.values) < 1e-14);
    CHECK(relative_error(dx.values, plain_dx.values) < 1e-14);
}

TEST_CASE("reference weighted rms_norm: the faults of its second term hide at unit RMS and at weights of 1") {
    std::mt19937_64 random(4);
    Mat x = random_matrix(1, 6, random);
    const double length = std::sqrt(dot(x.values, x.values) / 6);
    for (double& value : x.values) value /= length;
    const Mat dy = random_matrix(1, 6, random);
    const auto derivative = [&](const Values& w, double scale, SecondTerm second) {
        Mat scaled = x, dx(1, 6);
        for (double& value : scaled.values) value *= scale;
        rms_norm_backward_input(dx, dy, scaled, w, 0, second);
        return dx.values;
    };
    const Values w = random_values(6, random, 1, 0.5), ones(6, 1.0);
    const auto error = [&](const Values& weight, double scale, SecondTerm second) {
        return relative_error(derivative(weight, scale, second), derivative(weight, scale, SecondTerm::right));
    };
    CHECK(error(w, 1, SecondTerm::missing_factor) < 1e-14);
    CHECK(error(w, 3, SecondTerm::missing_factor) > 0.1);
    CHECK(error(ones, 3, SecondTerm::extra_weight) < 1e-14);
    CHECK(error(w, 3, SecondTerm::extra_weight) > 0.1);
}

TEST_CASE("reference rope: the backward pass is the adjoint and the inverse of the forward pass, in both forms") {
    std::mt19937_64 random(5);
    const Mat x = random_matrix(rows, 12, random), dy = random_matrix(rows, 12, random);
    for (const int width : {2, 4, 6})
        for (const Pairs pairs : {interleaved, half_split(width)}) {
            Mat y(rows, 12), dx(rows, 12), again(rows, 12);
            rope_forward(y, x, width, pairs, theta, positions.data());
            rope_backward(dx, dy, width, pairs, theta, positions.data());
            CHECK(dot(dy.values, y.values) == Approx(dot(dx.values, x.values)).epsilon(1e-13));
            rope_backward(again, y, width, pairs, theta, positions.data());
            CHECK(relative_error(again.values, x.values) < 1e-14);
        }
}

TEST_CASE("reference rope: gradients agree with central differences, in both forms") {
    std::mt19937_64 random(6);
    for (const Pairs pairs : {interleaved, half_split(4)}) {
        Mat x = random_matrix(rows, 8, random), y(rows, 8), dx(rows, 8);
        const Mat dy = random_matrix(rows, 8, random);
        rope_backward(dx, dy, 4, pairs, theta, positions.data());
        const auto forward = [&] { return rope_forward(y, x, 4, pairs, theta, positions.data()), y; };
        check_gradients(forward, dy, {{&x.values, &dx.values}});
    }
}

TEST_CASE("reference rope: pair i turns by position θ^(-2i/width), position 0 not at all") {
    const Mat x = [] {
        Mat ones(2, 4);
        ones.values = {1, 0, 1, 0, 1, 0, 1, 0};
        return ones;
    }();
    const std::vector<int> places{0, 3};
    Mat y(2, 4);
    rope_forward(y, x, 4, interleaved, 100, places.data());
    const Values expected{1, 0, 1, 0, std::cos(3.0), std::sin(3.0), std::cos(0.3), std::sin(0.3)};
    CHECK(relative_error(y.values, expected) < 1e-14);
    rope_forward(y, x, 4, half_split(4), 100, places.data());
    const Values split{1, 0, 1, 0, std::cos(3.0) - std::sin(3.0), 0, std::sin(3.0) + std::cos(3.0), 0};
    CHECK(relative_error(y.values, split) < 1e-14);
}

TEST_CASE("reference rope: products of queries and keys depend on the distance of their positions only") {
    std::mt19937_64 random(7);
    const Mat one = random_matrix(2, 6, random);
    const auto product = [&](int at_query, int at_key, Pairs pairs) {
        const std::vector<int> places{at_query, at_key};
        Mat turned(2, 6);
        rope_forward(turned, one, 6, pairs, theta, places.data());
        return dot(turned[0], turned[1], 6);
    };
    for (const Pairs pairs : {interleaved, half_split(6)}) {
        CHECK(product(5, 3, pairs) == Approx(product(12, 10, pairs)).epsilon(1e-12));
        CHECK(product(5, 3, pairs) != Approx(product(5, 4, pairs)).epsilon(1e-3));
    }
}

TEST_CASE("reference swiglu: gradients agree with central differences, and stay finite far out") {
    std::mt19937_64 random(8);
    Mat g = random_matrix(4, 5, random, 3), u = random_matrix(4, 5, random), y(4, 5), dg(4, 5), du(4, 5);
    const Mat dy = random_matrix(4, 5, random);
    swiglu_backward(dg, du, dy, g, u);
    const auto forward = [&] { return swiglu_forward(y, g, u), y; };
    check_gradients(forward, dy, {{&g.values, &dg.values}, {&u.values, &du.values}});

    Mat far(1, 2), ones(1, 2), out(1, 2), dfar(1, 2), dones(1, 2);
    far.values = {-1000, 1000};
    ones.values = {1, 1};
    swiglu_forward(out, far, ones);
    swiglu_backward(dfar, dones, ones, far, ones);
    CHECK(out.values == Values{0, 1000});
    CHECK(dfar.values == Values{0, 1});
}

TEST_CASE("reference grouped attention: gradients agree with central differences") {
    for (const HeadGroups heads : {HeadGroups{2, 2}, {4, 2}, {3, 1}, {3, 2}}) {
        INFO(heads.query_heads << " query heads, " << heads.key_heads << " key heads");
        AttentionInputs in(heads, 4);
        const AttentionOutputs out(in);
        const auto forward = [&] {
            Mat a(rows, in.q.columns), lse(rows, heads.query_heads);
            grouped_attention_forward(a, lse, in.q, in.k, in.v, heads, positions.data());
            return a;
        };
        check_gradients(
            forward, in.da,
            {{&in.q.values, &out.dq.values}, {&in.k.values, &out.dk.values}, {&in.v.values, &out.dv.values}});
    }
}

TEST_CASE("reference grouped attention: as many key heads as query heads is attention that keeps its probabilities") {
    const AttentionInputs in({3, 3}, 4, 5);
    const AttentionOutputs out(in);
    Mat a(rows, 12), p(rows * 3, 5), dq(rows, 12), dk(rows, 12), dv(rows, 12);
    attention_forward(a, p, in.q, in.k, in.v, 3, positions.data());
    attention_backward(dq, dk, dv, in.da, p, in.q, in.k, in.v, 3, positions.data());
    CHECK(relative_error(out.a.values, a.values) < 1e-13);
    CHECK(relative_error(out.dq.values, dq.values) < 1e-13);
    CHECK(relative_error(out.dk.values, dk.values) < 1e-13);
    CHECK(relative_error(out.dv.values, dv.values) < 1e-13);
}

TEST_CASE("reference grouped attention: a key head is one key head repeated, with the sum of their gradients") {
    const int width = 4;
    const AttentionInputs in({4, 2}, width);
    const AttentionOutputs out(in);
    AttentionInputs repeated({4, 4}, width);
    repeated.q = in.q;
    repeated.da = in.da;
    for (int t = 0; t < rows; ++t)
        for (int c = 0; c < 4 * width; ++c) {
            const int of = c / (2 * width) * width + c % width;
            repeated.k[t][c] = in.k[t][of];
            repeated.v[t][c] = in.v[t][of];
        }
    const AttentionOutputs expected(repeated);
    Mat dk(rows, 2 * width), dv(rows, 2 * width);
    for (int t = 0; t < rows; ++t)
        for (int c = 0; c < 4 * width; ++c) {
            const int of = c / (2 * width) * width + c % width;
            dk[t][of] += expected.dk[t][c];
            dv[t][of] += expected.dv[t][c];
        }
    CHECK(out.a.values == expected.a.values);
    CHECK(out.dq.values == expected.dq.values);
    CHECK(relative_error(out.dk.values, dk.values) < 1e-13);
    CHECK(relative_error(out.dv.values, dv.values) < 1e-13);
}

TEST_CASE("reference grouped attention: scores of thousands stay finite, a sequence of length 1 returns its value") {
    const AttentionInputs in({2, 1}, 4, 50);
    const AttentionOutputs out(in);
    for (const Mat* x : {&out.a, &out.lse, &out.dq, &out.dk, &out.dv})
        for (const double value : x->values) CHECK(std::isfinite(value));
    for (int c = 0; c < 8; ++c) {
        CHECK(out.a[5][c] == Approx(in.v[5][c % 4]).epsilon(1e-9));
        CHECK(std::abs(out.dq[5][c]) < 1e-9);
    }
}

}  // namespace test_llama_reference_kernels
