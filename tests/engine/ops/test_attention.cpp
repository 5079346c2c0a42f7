#include <xtape/engine/kernels/gemm_bf16.hpp>
#include <xtape/engine/precision.hpp>
#include <xtape/engine/tape.hpp>
#include <xtape/engine/threads.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <cmath>
#include <limits>

namespace test_attention {

namespace {

using namespace xtape;
using namespace xtape::laws;
using Catch::Matchers::StartsWith;

/// A case of attention: `queries` rows (the last of `keys`), or the sequences between offsets.
struct Case {
    Index queries, keys;
    AttentionOptions options;
    Index width;
    std::vector<std::int32_t> offsets = {};

    Index key_heads() const { return options.key_value_heads == 0 ? options.heads : options.key_value_heads; }
    Indices ragged() const { return offsets.empty() ? Indices() : indices(offsets); }
    std::vector<Tensor<double>> inputs(double size = 1) const {
        return {uniform({queries, options.heads * width}, -size, size, 1),
                uniform({keys, key_heads() * width}, -size, size, 2), uniform({keys, key_heads() * width}, -1, 1, 3)};
    }
};

Sample attention_sample(const std::string& label, const Case& c) {
    const auto attend = [offsets = c.ragged(), options = c.options](auto in) {
        return causal_attention(in[0], in[1], in[2], offsets, options);
    };
    return sample("causal_attention", label, attend, c.inputs());
}

const std::vector<std::pair<std::string, Case>> cases{
    {"8 rows, 4 heads of 4", {8, 8, {.heads = 4}, 4}},
    {"one row", {1, 1, {.heads = 4}, 4}},
    {"no rows", {0, 0, {.heads = 2}, 4}},
    {"no sequences", {0, 0, {.heads = 2}, 4, {0}}},
    {"width 1", {5, 5, {.heads = 1}, 1}},
    {"6 heads of 4", {7, 7, {.heads = 6}, 4}},
    {"3 heads of 8", {9, 9, {.heads = 3}, 8}},
    {"4 heads of 16", {13, 13, {.heads = 4}, 16}},
    {"2 heads of 48", {10, 10, {.heads = 2}, 48}},
    {"width 5, a scale", {9, 9, {.heads = 2, .scale = 0.3}, 5}},
    {"ragged, heads of 4", {20, 20, {.heads = 4}, 4, {0, 3, 3, 4, 12, 20}}},
    {"ragged, heads of 16", {20, 20, {.heads = 4}, 16, {0, 3, 3, 4, 12, 20}}},
    {"ragged, grouped heads", {20, 20, {.heads = 4, .key_value_heads = 2}, 6, {0, 7, 20}}},
    {"grouped heads of 4", {8, 8, {.heads = 4, .key_value_heads = 1}, 4}},
    {"the last 3 of 9", {3, 9, {.heads = 4}, 4}},
    {"the last 1 of 70", {1, 70, {.heads = 2, .key_value_heads = 1}, 8}},
    {"keys without queries", {0, 5, {.heads = 4}, 4}},
    {"more than a tile", {70, 70, {.heads = 2}, 4}},
    {"more than a tile, the last 66 of 140", {66, 140, {.heads = 2, .key_value_heads = 1}, 5}},
    {"long and short", {150, 150, {.heads = 2}, 8, {0, 5, 139, 150}}},
};

const bool registered = [] {
    for (const auto& [label, c] : cases) all_samples().push_back(attention_sample(label, c));
    return true;
}();

/// The result of attention, and its gradients for a cotangent.
struct Result {
    std::vector<double> o, dq, dk, dv;
};

std::vector<double> list(const auto& x) { return {x.values().begin(), x.values().end()}; }

template <class T> Result fused(const Case& c, const std::vector<Tensor<double>>& inputs, const Tensor<double>& d_o) {
    const auto cast = [](const Tensor<double>& x) {
        return Tensor<T>(x.shape(), std::vector<T>(x.values().begin(), x.values().end()));
    };
    Tape<T> tape;
    const auto q = tape.leaf(cast(inputs[0])), k = tape.leaf(cast(inputs[1])), v = tape.leaf(cast(inputs[2]));
    const auto o = causal_attention(q, k, v, c.ragged(), c.options);
    const Tensor<T>* of[] = {&q, &k, &v};
    const auto gradients = tape.gradient(o, cast(d_o), of);
    return {list(o), list(gradients[0]), list(gradients[1]), list(gradients[2])};
}

/// One query row of one head by hand, against the keys [first, first + seen).
void plain_row(const Case& c, const std::vector<Tensor<double>>& in, const Tensor<double>& d_o, Index t, Index head,
               Index first, Index seen, Result& result) {
    const Index h = c.width, key_head = head * c.key_heads() / c.options.heads;
    const Index q_at = (t * c.options.heads + head) * h, k_row = c.key_heads() * h;
    const double scale = c.options.scale == 0 ? 1 / std::sqrt(static_cast<double>(h)) : c.options.scale;
    const auto k_at = [&](Index s, Index j) {
        return static_cast<std::size_t>((first + s) * k_row + key_head * h + j);
    };
    const auto at = [&](Index j) { return static_cast<std::size_t>(q_at + j); };
    std::vector<double> p(static_cast<std::size_t>(seen)), dp(p.size());
    double sum = 0, mean = 0;
    for (Index s = 0; s < seen; ++s) {
        double score = 0;
        for (Index j = 0; j < h; ++j) score += scale * in[0].values()[at(j)] * in[1].values()[k_at(s, j)];
        sum += p[static_cast<std::size_t>(s)] = std::exp(score);
    }
    for (Index s = 0; s < seen; ++s) {
        auto& ps = p[static_cast<std::size_t>(s)];
        ps /= sum;
        for (Index j = 0; j < h; ++j) {
            result.o[at(j)] += ps * in[2].values()[k_at(s, j)];                                   // o = Σ p v
            dp[static_cast<std::size_t>(s)] += d_o.values()[at(j)] * in[2].values()[k_at(s, j)];  // dp = do·v
            result.dv[k_at(s, j)] += ps * d_o.values()[at(j)];                                    // dv = Σ p do
        }
        mean += ps * dp[static_cast<std::size_t>(s)];
    }
    for (Index s = 0; s < seen; ++s) {
        const double ds = p[static_cast<std::size_t>(s)] * (dp[static_cast<std::size_t>(s)] - mean) * scale;
        for (Index j = 0; j < h; ++j) {
            result.dq[at(j)] += ds * in[1].values()[k_at(s, j)];
            result.dk[k_at(s, j)] += ds * in[0].values()[at(j)];
        }
    }
}

Result by_hand(const Case& c, const std::vector<Tensor<double>>& in, const Tensor<double>& d_o) {
    Result result{.o = std::vector<double>(static_cast<std::size_t>(in[0].size())),
                  .dq = std::vector<double>(static_cast<std::size_t>(in[0].size())),
                  .dk = std::vector<double>(static_cast<std::size_t>(in[1].size())),
                  .dv = std::vector<double>(static_cast<std::size_t>(in[2].size()))};
    for (Index t = 0; t < c.queries; ++t) {
        Index first = 0;
        for (const std::int32_t offset : c.offsets) first = offset <= t ? offset : first;
        const Index seen = c.keys - c.queries + t + 1 - first;
        for (Index head = 0; head < c.options.heads; ++head) plain_row(c, in, d_o, t, head, first, seen, result);
    }
    return result;
}

/// max|a − b| over max|b|, or over the size of the inputs where b is (as with one key) nothing but rounding.
double distance(const std::vector<double>& a, const std::vector<double>& b) {
    REQUIRE(a.size() == b.size());
    double most = 0, largest = 0.1;
    for (std::size_t i = 0; i < a.size(); ++i) {
        most = std::max(most, std::abs(a[i] - b[i]));
        largest = std::max(largest, std::abs(b[i]));
    }
    return most / largest;
}

double distance(const Result& a, const Result& b) {
    return std::max({distance(a.o, b.o), distance(a.dq, b.dq), distance(a.dk, b.dk), distance(a.dv, b.dv)});
}

Case long_case(Index n) { return {n, n, {.heads = 1}, 8}; }

}  // namespace

TEST_CASE("causal_attention: agrees with plain loops, forward and backward") {
    REQUIRE(registered);
    for (const auto& [label, c] : cases) {
        INFO(label);
        const auto inputs = c.inputs();
        const auto d_o = uniform(inputs[0].shape(), -1, 1, 4);
        const Result expected = by_hand(c, inputs, d_o);
        CHECK(distance(fused<double>(c, inputs, d_o), expected) < 1e-12);
        CHECK(distance(fused<float>(c, inputs, d_o), expected) < 1e-5);
    }
}

TEST_CASE("causal_attention: every length up to 40 agrees with plain loops") {
    for (Index n = 1; n <= 40; ++n) {
        for (const Index width : {4, 8, 16}) {
            const Case c{n, n, {.heads = 2}, width};
            const auto inputs = c.inputs();
            const auto d_o = uniform(inputs[0].shape(), -1, 1, 4);
            CHECK(distance(fused<float>(c, inputs, d_o), by_hand(c, inputs, d_o)) < 1e-5);
        }
    }
}

TEST_CASE("causal_attention: a later key or value changes no earlier row") {
    for (const Index n : {9, 100}) {
        const Case c{n, n, {.heads = 4}, 4};
        auto in = c.inputs();
        const Tensor<double> before = causal_attention(in[0], in[1], in[2], {}, c.options);
        for (const std::size_t i : {1u, 2u}) {
            std::vector<double> changed = list(in[i]);
            std::fill(changed.end() - 16, changed.end(), 50.0);
            in[i] = Tensor<double>(in[i].shape(), changed);
        }
        const Tensor<double> after = causal_attention(in[0], in[1], in[2], {}, c.options);
        for (Index i = 0; i < (n - 1) * 16; ++i) CHECK(after.data()[i] == before.data()[i]);
        CHECK(after.data()[n * 16 - 1] != before.data()[n * 16 - 1]);
    }
}

TEST_CASE("causal_attention: a ragged batch is its sequences one by one") {
    const Case c{20, 20, {.heads = 4}, 4, {0, 3, 12, 20}};
    const auto in = c.inputs();
    const Tensor<double> whole = causal_attention(in[0], in[1], in[2], c.ragged(), c.options);
    for (std::size_t s = 0; s < 3; ++s) {
        const Index begin = c.offsets[s], end = c.offsets[s + 1];
        const auto part = [&](const Tensor<double>& x) { return slice(x, 0, begin, end); };
        const Tensor<double> alone = causal_attention(part(in[0]), part(in[1]), part(in[2]), {}, c.options);
        CHECK(list(alone) == list(slice(whole, 0, begin, end)));
    }
}

TEST_CASE("causal_attention: the last queries see what they see in the whole sequence") {
    const Case c{75, 75, {.heads = 2}, 8};
    const auto in = c.inputs();
    const Tensor<double> whole = causal_attention(in[0], in[1], in[2], {}, c.options);
    for (const Index n : {1, 2, 70}) {
        const Tensor<double> last = causal_attention(slice(in[0], 0, 75 - n, 75), in[1], in[2], {}, c.options);
        CHECK(distance(list(last), list(slice(whole, 0, 75 - n, 75))) < 1e-13);
    }
}

TEST_CASE("causal_attention: scores of 1e4 give the value of the largest") {
    const Case c{8, 8, {.heads = 4}, 4};
    const auto in = c.inputs(200);
    for (const double v : list(causal_attention(in[0], in[1], in[2], {}, c.options))) CHECK(std::abs(v) <= 1);
    const Tensor<float> q({1, 4}, {1e4f, 0, 0, 0}), k({2, 4}, {1, 0, 0, 0, -1, 0, 0, 0}),
        v({2, 4}, {1, 2, 3, 4, 5, 6, 7, 8});
    const Tensor<float> o = causal_attention(q, k, v, {}, {.heads = 1});
    CHECK(list(o) == std::vector<double>{1, 2, 3, 4});
}

TEST_CASE("causal_attention: a NaN in a key shows in the rows that see it, and only there") {
    for (const Index n : {8, 80}) {
        const Case c{n, n, {.heads = 4}, 4};
        auto in = c.inputs();
        std::vector<double> keys = list(in[1]);
        keys[static_cast<std::size_t>((n - 3) * 16 + 5)] = std::nan("");
        const Tensor<double> o = causal_attention(in[0], Tensor<double>(in[1].shape(), keys), in[2], {}, c.options);
        for (Index t = 0; t < n; ++t) CHECK(std::isnan(o.data()[t * 16 + 5]) == (t >= n - 3));
    }
}

TEST_CASE("causal_attention: memory grows with the length, not with its square") {
    const auto peak = [](Index n) {
        const Case c = long_case(n);
        const auto inputs = c.inputs();
        const auto d_o = uniform(inputs[0].shape(), -1, 1, 4);
        reset_pool_peak();
        const std::int64_t before = pool_statistics().bytes_in_use;
        fused<double>(c, inputs, d_o);
        return pool_statistics().peak_bytes - before;
    };
    CHECK(peak(2048) < 10 * peak(256));
}

TEST_CASE("causal_attention: a long sequence agrees with plain loops in float") {
    const Case c{700, 700, {.heads = 2, .key_value_heads = 1}, 24};
    const auto inputs = c.inputs();
    const auto d_o = uniform(inputs[0].shape(), -1, 1, 4);
    CHECK(distance(fused<float>(c, inputs, d_o), by_hand(c, inputs, d_o)) < 2e-5);
}

TEST_CASE("causal_attention: in bf16 near f32, forward and backward, with any number of threads") {
    if (!kernels::has_bf16_for_tiles()) {
        WARN("not checked: not built for a processor that multiplies bfloat16");
        return;
    }
    const Case c{300, 300, {.heads = 4, .key_value_heads = 2}, 40, {0, 7, 40, 167, 300}};
    const auto inputs = c.inputs();
    const auto d_o = uniform(inputs[0].shape(), -1, 1, 4);
    const auto exact = fused<float>(c, inputs, d_o);
    set_product_precision(Precision::bf16);
    const auto rounded = fused<float>(c, inputs, d_o);
    set_threads(1);
    const auto alone = fused<float>(c, inputs, d_o);
    set_threads(0);
    set_product_precision(Precision::f32);
    CHECK(distance(rounded, exact) < 0x1p-6);
    CHECK(distance(rounded, exact) > 0);
    CHECK(distance(rounded, alone) == 0);
}

TEST_CASE("causal_attention: errors") {
    const auto zeros = [](const Shape& shape) { return Tensor<float>::zeros(shape); };
    const auto x = zeros({8, 16});
    CHECK_THROWS_WITH(
        causal_attention(x, x, x, {}, {.heads = 3}),
        StartsWith("causal_attention: the rows of q do not make 3 heads: q is [8, 16], k is [8, 16], v is "
                   "[8, 16]"));
    CHECK_THROWS_WITH(
        causal_attention(x, x, x, {}, {.heads = 4, .key_value_heads = 2}),
        StartsWith("causal_attention: the rows of k must be 2 heads of width 4: q is [8, 16], k is [8, 16], "
                   "v is [8, 16]"));
    CHECK_THROWS_WITH(causal_attention(x, x, zeros({7, 16}), {}, {.heads = 4}),
                      StartsWith("causal_attention: k and v must have the same shape: q is [8, 16], k is [8, 16], v is "
                                 "[7, 16]"));
    CHECK_THROWS_WITH(causal_attention(x, zeros({7, 16}), zeros({7, 16}), {}, {.heads = 4}),
                      StartsWith("causal_attention: there are more queries than keys: q is [8, 16], k is [7, 16]"));
    CHECK_THROWS_WITH(causal_attention(x, zeros({9, 16}), zeros({9, 16}), indices({0, 8}), {.heads = 4}),
                      StartsWith("causal_attention: a ragged batch needs as many keys as queries: q is [8, 16]"));
    CHECK_THROWS_WITH(causal_attention(zeros({2, 8, 16}), x, x, {}, {.heads = 4}),
                      StartsWith("causal_attention: q, k and v must be matrices: q is [2, 8, 16]"));
    CHECK_THROWS_WITH(
        causal_attention(x, x, x, {}, {.heads = 4, .key_value_heads = 3}),
        StartsWith("causal_attention: key_value_heads must divide heads: heads is 4, key_value_heads is 3"));
    CHECK_THROWS_WITH(causal_attention(x, x, x, indices({0, 7}), {.heads = 4}),
                      StartsWith("causal_attention: offsets must run from 0 to the 8 rows of q: they run from 0 to 7"));
    CHECK_THROWS_WITH(causal_attention(x, x, x, indices({0, 5, 4, 8}), {.heads = 4}),
                      StartsWith("causal_attention: offsets must not fall: offset 2 is 4, after 5"));
    CHECK_THROWS_WITH(causal_attention(x, x, x, Indices(Shape{1, 2}, {0, 8}), {.heads = 4}),
                      StartsWith("causal_attention: offsets must be one row of begins and the end: offsets is [1, 2]"));
}

}  // namespace test_attention
