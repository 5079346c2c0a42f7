#include <xtape/engine/check/gradcheck.hpp>
#include <xtape/engine/tape.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <cmath>
#include <cstring>

namespace test_scan {

namespace {

using namespace xtape;
using namespace xtape::laws;
using Catch::Matchers::StartsWith;

/// A scan of b by a, perhaps of several sequences.
struct Case {
    Shape a, b;
    std::vector<std::int32_t> offsets = {};

    Indices ragged() const { return offsets.empty() ? Indices() : indices(offsets); }
    std::vector<Tensor<double>> inputs() const { return {uniform(a, -1, 1, 1), uniform(b, -1, 1, 2)}; }
    bool begins(Index t) const {
        return t == 0 || std::ranges::find(offsets, static_cast<std::int32_t>(t)) != offsets.end();
    }
};

const std::vector<std::pair<std::string, Case>> cases{
    {"7x16", {{7, 16}, {7, 16}}},
    {"7x3x19, a of its own for each slot", {{7, 3, 19}, {7, 3, 19}}},
    {"7x3x19, one a for the slots", {{7, 1, 19}, {7, 3, 19}}},
    {"9x4x130, one a for the slots", {{9, 1, 130}, {9, 4, 130}}},
    {"5x2x3x4, one a for the slots", {{5, 1, 1, 4}, {5, 2, 3, 4}}},
    {"one a for all steps", {{5}, {7, 5}}},
    {"one a for a step's channels", {{6, 1, 1}, {6, 2, 5}}},
    {"a vector", {{7}, {7}}},
    {"one step", {{1, 5}, {1, 5}}},
    {"no steps", {{0, 5}, {0, 5}}},
    {"no channels", {{3, 1, 0}, {3, 2, 0}}},
    {"ragged", {{12, 1, 5}, {12, 2, 5}, {0, 3, 3, 4, 12}}},
    {"ragged, no sequences", {{0, 5}, {0, 5}, {0}}},
};

auto scanned(const Case& c, ScanOptions options) {
    return [offsets = c.ragged(), options](auto in) { return causal_scan(in[0], in[1], offsets, options); };
}

constexpr ScanOptions every_option[] = {{}, {.exclusive = true}, {.checkpointed = true}, {true, true}};

const bool registered = [] {
    for (const auto& [label, c] : cases) {
        for (const ScanOptions options : every_option) {
            const std::string with =
                std::string(options.exclusive ? ", exclusive" : "") + (options.checkpointed ? ", checkpointed" : "");
            all_samples().push_back(sample("causal_scan", label + with, scanned(c, options), c.inputs()));
        }
    }
    return true;
}();

/// y, da and db by hand, for an a with an element for each of b's.
struct Result {
    std::vector<double> y, da, db;
};

Result by_hand(const Case& c, bool exclusive, std::span<const double> a, std::span<const double> b,
               std::span<const double> dy) {
    Result r{.y = std::vector<double>(b.size()), .da = r.y, .db = r.y};
    const Index steps = c.b[0];
    const std::size_t row = b.size() / static_cast<std::size_t>(steps);
    for (std::size_t i = 0; i < row; ++i) {
        std::vector<double> h(static_cast<std::size_t>(steps) + 1);  // h[t]: before step t
        const auto at = [&](Index t) { return static_cast<std::size_t>(t) * row + i; };
        for (Index t = 0; t < steps; ++t) {
            const auto u = static_cast<std::size_t>(t);
            if (c.begins(t)) h[u] = 0;
            const double before = h[u];
            h[u + 1] = a[at(t)] * before + b[at(t)];
            r.y[at(t)] = exclusive ? before : h[u + 1];
            if (c.begins(t)) continue;
            r.da[at(t)] = before;  // times g below
        }
        double handed = 0;  // a_{t+1} g_{t+1}
        for (Index t = steps - 1; t >= 0; --t) {
            if (c.begins(t + 1)) handed = 0;
            const double g = handed + (exclusive ? 0 : dy[at(t)]);
            r.da[at(t)] *= g;
            r.db[at(t)] = g;
            handed = a[at(t)] * g + (exclusive ? dy[at(t)] : 0);
        }
    }
    return r;
}

bool same_bits(const auto& x, const auto& y) {
    return x.shape() == y.shape() && std::memcmp(x.data(), y.data(), x.values().size_bytes()) == 0;
}

std::vector<Tensor<float>> cast(const std::vector<Tensor<double>>& inputs) {
    std::vector<Tensor<float>> result;
    for (const auto& x : inputs)
        result.emplace_back(x.shape(), std::vector<float>(x.values().begin(), x.values().end()));
    return result;
}

}  // namespace

TEST_CASE("causal_scan: agrees with plain loops, forward and backward") {
    REQUIRE(registered);
    for (const auto& [label, c] : cases) {
        if (c.b.size() == 0) continue;
        const auto in = c.inputs();
        const auto dy = uniform(c.b, -1, 1, 3);
        const auto whole = broadcast_to(in[0], c.b);
        for (const ScanOptions options : every_option) {
            INFO(label << (options.exclusive ? ", exclusive" : ""));
            const Result expected = by_hand(c, options.exclusive, whole.values(), in[1].values(), dy.values());
            Tape<double> tape;
            const auto a = tape.leaf(whole), b = tape.leaf(in[1]);
            const auto y = causal_scan(a, b, c.ragged(), options);
            const Tensor<double>* of[] = {&a, &b};
            const auto gradients = tape.gradient(y, dy, of);
            for (std::size_t i = 0; i < expected.y.size(); ++i) {
                CHECK(y.values()[i] == Approx(expected.y[i]).margin(1e-14));
                CHECK(gradients[0].values()[i] == Approx(expected.da[i]).margin(1e-14));
                CHECK(gradients[1].values()[i] == Approx(expected.db[i]).margin(1e-14));
            }
        }
    }
}

TEST_CASE("causal_scan: an a of one, and one of zero") {
    const Tensor<double> b({3, 2}, {1, 10, 2, 20, 3, 30});
    const auto list = [](const Tensor<double>& x) { return std::vector<double>(x.values().begin(), x.values().end()); };
    CHECK(list(causal_scan(Tensor<double>(1.0), b)) == std::vector<double>{1, 10, 3, 30, 6, 60});
    CHECK(list(causal_scan(Tensor<double>(1.0), b, {}, {.exclusive = true})) ==
          std::vector<double>{0, 0, 1, 10, 3, 30});
    CHECK(list(causal_scan(Tensor<double>(0.0), b)) == list(b));
}

TEST_CASE("causal_scan: a sequence of a ragged batch knows nothing of the one before") {
    const Case c{{12, 1, 5}, {12, 2, 5}, {0, 7, 12}};
    const auto in = c.inputs();
    const auto whole = causal_scan(in[0], in[1], c.ragged());
    const auto alone = causal_scan(slice(in[0], 0, 7, 12), slice(in[1], 0, 7, 12));
    CHECK(same_bits(slice(whole, 0, 7, 12), alone));
}

TEST_CASE("causal_scan: another state to begin with is one more row in front") {
    const auto a = uniform({9, 5}, -1, 1), b = uniform({9, 5}, -1, 1, 2);
    const auto whole = causal_scan(a, b);
    const auto begin = slice(whole, 0, 3, 4);
    const auto rest = causal_scan(slice(a, 0, 3, 9), concat({begin, slice(b, 0, 4, 9)}, 0));
    CHECK(same_bits(rest, slice(whole, 0, 3, 9)));
}

TEST_CASE("causal_scan: checkpointed, the same bits from less memory") {
    const Case c{{100, 1, 37}, {100, 8, 37}, {0, 13, 100}};
    const auto in = cast(c.inputs());
    const auto run = [&](ScanOptions options) {
        Tape<float> tape;
        const auto a = tape.leaf(in[0]), b = tape.leaf(in[1]);
        const auto y = causal_scan(a, b, c.ragged(), options);
        const std::size_t kept = tape.records().back().kept_bytes;
        const auto dy = cast({uniform(c.b, -1, 1, 3)}).front();
        const Tensor<float>* of[] = {&a, &b};
        auto result = tape.gradient(y, dy, of);
        result.push_back(y);
        return std::pair(result, kept);
    };
    for (const bool exclusive : {false, true}) {
        const auto [plain, plain_bytes] = run({exclusive, false});
        const auto [checkpointed, bytes] = run({exclusive, true});
        for (std::size_t i = 0; i < 3; ++i) CHECK(same_bits(plain[i], checkpointed[i]));
        CHECK(bytes * 8 < plain_bytes);
    }
}

TEST_CASE("causal_scan: errors") {
    const auto zeros = [](const Shape& shape) { return Tensor<float>::zeros(shape); };
    CHECK_THROWS_WITH(causal_scan(zeros({}), zeros({})),
                      StartsWith("causal_scan: a scalar has no steps: a is [], b is []"));
    CHECK_THROWS_WITH(causal_scan(zeros({8, 3}), zeros({8, 4})),
                      StartsWith("causal_scan: shapes do not broadcast at axis 1 (3 against 4): a is [8, 3], b is "
                                 "[8, 4]"));
    CHECK_THROWS_WITH(causal_scan(zeros({8, 1, 4}), zeros({8, 4})),
                      StartsWith("causal_scan: a does not broadcast to b: a is [8, 1, 4], b is [8, 4]"));
    CHECK_THROWS_WITH(causal_scan(zeros({8, 4}), zeros({8, 4}), indices({0, 7})),
                      StartsWith("causal_scan: offsets must run from 0 to the 8 rows of b: they run from 0 to 7"));
    CHECK_THROWS_WITH(causal_scan(zeros({8, 4}), zeros({8, 4}), indices({0, 5, 4, 8})),
                      StartsWith("causal_scan: offsets must not fall: offset 2 is 4, after 5"));
}

}  // namespace test_scan
