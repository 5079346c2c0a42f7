#include <xtape/engine/check/gradcheck.hpp>
#include <xtape/engine/tape.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <cstring>

namespace test_slot_memory {

namespace {

using namespace xtape;
using namespace xtape::laws;
using Catch::Matchers::StartsWith;

/// The op on decay, write, read, k and v.
auto fused(const Indices& offsets = {}) {
    return [offsets](auto in) { return slot_memory(in[0], in[1], in[2], in[3], in[4], offsets); };
}

/// The same from scans that keep every state.
auto composed(const Indices& offsets = {}) {
    return [offsets](auto in) {
        const Index steps = in[0].shape()[0], columns = in[0].shape()[1], slots = in[1].shape()[1];
        const auto by_slot = [&](const auto& x) { return reshape(x, {steps, slots, 1}); };
        const auto by_channel = [&](const auto& x) { return reshape(x, {steps, 1, columns}); };
        const auto sums = [&](const auto& written) {
            const auto states =
                causal_scan(by_channel(in[0]), by_slot(in[1]) * by_channel(written), offsets, {.exclusive = true});
            return reshape(sum(by_slot(in[2]) * states, {1}), {1, steps, columns});
        };
        return concat({sums(in[3] * in[4]), sums(in[3])}, 0);
    };
}

std::vector<Tensor<double>> inputs(Index steps, Index slots, Index columns) {
    return {uniform({steps, columns}, 0.5, 1, 1), uniform({steps, slots}, 0, 1, 2), uniform({steps, slots}, 0, 1, 3),
            uniform({steps, columns}, 0.1, 2, 4), uniform({steps, columns}, -1, 1, 5)};
}

const Indices ragged = indices({0, 5, 5, 6, 23}), none = indices({0});

const Samples samples{
    sample("slot_memory", "7 steps, 2 slots, 16 channels", fused(), inputs(7, 2, 16)),
    sample("slot_memory", "10 steps, 4 slots, 19 channels", fused(), inputs(10, 4, 19)),
    sample("slot_memory", "23 steps, 3 slots, 130 channels", fused(), inputs(23, 3, 130)),
    sample("slot_memory", "ragged", fused(ragged), inputs(23, 2, 5)),
    sample("slot_memory", "two steps, one slot, one channel", fused(), inputs(2, 1, 1)),
    sample("slot_memory", "no steps", fused(), inputs(0, 2, 5)),
    sample("slot_memory", "no sequences", fused(none), inputs(0, 2, 5)),
    sample("slot_memory", "no channels", fused(), inputs(3, 2, 0)),
};

template <class T> bool same_bits(const Tensor<T>& a, const Tensor<T>& b) {
    return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), a.values().size_bytes()) == 0;
}

}  // namespace

TEST_CASE("slot_memory: is two scans a slot, weighted and summed, forward and backward") {
    for (const auto& [steps, slots, columns] : std::vector<std::array<Index, 3>>{
             {2, 1, 1}, {7, 2, 16}, {10, 4, 19}, {23, 3, 130}, {128, 4, 64}, {50, 9, 33}}) {
        INFO(steps << " steps, " << slots << " slots, " << columns << " channels");
        CHECK(check::same_gradient(fused(), composed(), inputs(steps, slots, columns)));
    }
    CHECK(check::same_gradient(fused(ragged), composed(ragged), inputs(23, 2, 37)));
}

TEST_CASE("slot_memory: by hand, on one channel and one slot") {
    const auto column = [](std::initializer_list<double> values) {
        return Tensor<double>({static_cast<Index>(values.size()), 1}, values);
    };
    const auto y = slot_memory(column({9, 0.5, 0.25}), column({1, 2, 9}), column({9, 1, 10}), column({3, 4, 9}),
                               column({5, -1, 9}));
    // N: 0, 15, 7.5 − 8 = −0.5; E: 0, 3, 1.5 + 8 = 9.5
    CHECK(std::vector<double>(y.values().begin(), y.values().end()) == std::vector<double>{0, 15, -5, 0, 3, 95});
}

TEST_CASE("slot_memory: a later step changes no earlier one") {
    auto in = inputs(40, 4, 20);
    const auto before = fused()(in);
    for (auto& x : in) x = concat({slice(x, 0, 0, 30), slice(x, 0, 30, 40) + 3.0}, 0);
    const auto after = fused()(in);
    CHECK(same_bits(slice(before, 1, 0, 30), slice(after, 1, 0, 30)));
    CHECK_FALSE(same_bits(slice(before, 1, 30, 40), slice(after, 1, 30, 40)));
}

TEST_CASE("slot_memory: keeps no more than the root of the number of steps of states") {
    std::vector<Tensor<float>> in;
    Tape<float> tape;
    for (const auto& x : inputs(400, 4, 32))
        in.push_back(tape.leaf(Tensor<float>(x.shape(), std::vector<float>(x.values().begin(), x.values().end()))));
    fused()(in);
    CHECK(tape.records().back().kept_bytes < 21 * 2 * 4 * 32 * sizeof(float));
}

TEST_CASE("slot_memory: errors") {
    const auto zeros = [](const Shape& shape) { return Tensor<float>::zeros(shape); };
    const auto x = zeros({8, 16}), w = zeros({8, 4});
    CHECK_THROWS_WITH(slot_memory(x, w, w, x, zeros({8, 17})),
                      StartsWith("slot_memory: decay, k and v must be matrices of one shape: decay is [8, 16], k is "
                                 "[8, 16], v is [8, 17]"));
    CHECK_THROWS_WITH(slot_memory(zeros({8}), w, w, zeros({8}), zeros({8})),
                      StartsWith("slot_memory: decay, k and v must be matrices of one shape: decay is [8]"));
    CHECK_THROWS_WITH(slot_memory(x, zeros({7, 4}), zeros({7, 4}), x, x),
                      StartsWith("slot_memory: write and read must have a row for each of the 8 steps: write is "
                                 "[7, 4], read is [7, 4]"));
    CHECK_THROWS_WITH(slot_memory(x, w, zeros({8, 3}), x, x),
                      StartsWith("slot_memory: write and read must have a row for each of the 8 steps: write is "
                                 "[8, 4], read is [8, 3]"));
    CHECK_THROWS_WITH(slot_memory(x, w, w, x, x, indices({0, 9})),
                      StartsWith("slot_memory: offsets must run from 0 to the 8 rows of decay: they run from 0 to 9"));
}

}  // namespace test_slot_memory
