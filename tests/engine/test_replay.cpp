// Tapes that keep their records.
#include <xtape/engine/ops.hpp>
#include <xtape/engine/tape.hpp>
#include <xtape/tests/catch.hpp>

namespace test_replay {

namespace {

using namespace xtape;
using Catch::Matchers::StartsWith;

using Doubles = std::vector<double>;

Doubles elements(const Tensor<double>& x) { return {x.values().begin(), x.values().end()}; }

Parameter<double> parameter(const Doubles& values) {
    return Parameter<double>(Tensor<double>({static_cast<Index>(values.size())}, values));
}

constexpr TapeOptions kept{.keep_records = true};

}  // namespace

TEST_CASE("replay: computes from a leaf's new values, then backward once more") {
    Parameter<double> w = parameter({1, 2});
    Tape<double> tape(kept);
    const auto x = tape.leaf(Tensor<double>({2}, {3, 4}));
    const auto loss = sum(mul(mul(x, x), w));
    CHECK(loss.item() == 9 + 32);
    tape.backward(loss);
    CHECK(elements(w.grad()) == Doubles{9, 16});
    tape.set(x, Tensor<double>({2}, {5, 6}));
    tape.replay();
    CHECK(tape.value(loss).item() == 25 + 72);
    CHECK(loss.item() == 9 + 32);
    w.zero_grad();
    tape.backward(loss);
    CHECK(elements(w.grad()) == Doubles{25, 36});
}

TEST_CASE("replay: reads indices that were set") {
    Parameter<double> table(Tensor<double>({3, 1}, {1, 10, 100}));
    const Indices ids = indices({0, 2});
    Tape<double> tape(kept);
    const auto loss = sum(embedding(table, ids));
    tape.set(ids, indices({1, 1}));
    tape.replay();
    CHECK(tape.value(loss).item() == 20);
    tape.backward(loss);
    CHECK(elements(table.grad()) == Doubles{0, 2, 0});
}

TEST_CASE("replay: reads a parameter's new values, also under another shape") {
    Parameter<double> w = parameter({1, 2});
    Tape<double> tape(kept);
    const auto loss = sum(mul(reshape(w, {2, 1}), reshape(w, {2, 1})));
    tape.backward(loss);
    w.write()[0] = 3;
    tape.replay();
    CHECK(tape.value(loss).item() == 13);
    w.zero_grad();
    tape.backward(loss);
    CHECK(elements(w.grad()) == Doubles{6, 4});
}

TEST_CASE("replay: uses the same buffers, but replaces one that is held outside") {
    Tape<double> tape(kept);
    const auto x = tape.leaf(Tensor<double>({2}, {3, 4}));
    auto y = exp(x);
    const auto held = y;
    const Doubles before = elements(y);
    tape.set(x, Tensor<double>({2}, {0, 0}));
    tape.replay();
    CHECK(elements(held) == before);
    CHECK(elements(tape.value(y)) == Doubles{1, 1});
    const double* const buffer = tape.value(y).data();
    tape.replay();
    CHECK(tape.value(y).data() == buffer);
}

TEST_CASE("replay: asks for no memory once it runs") {
    Tape<double> tape(kept);
    const auto x = tape.leaf(Tensor<double>::full({16, 16}, 0.1));
    const auto loss = sum(softmax(matmul(tanh(reshape(x, {16, 16})), x)));
    tape.replay();
    const auto before = pool_statistics();
    for (int i = 0; i < 3; ++i) tape.replay();
    CHECK(pool_statistics().system_allocations == before.system_allocations);
    CHECK(pool_statistics().bytes_in_use == before.bytes_in_use);
}

TEST_CASE("replay: a second backward without one adds the same again") {
    Parameter<double> w = parameter({3});
    Tape<double> tape(kept);
    const auto loss = sum(mul(w, w));
    tape.backward(loss);
    tape.backward(loss);
    CHECK(elements(w.grad()) == Doubles{12});
}

TEST_CASE("replay: gradient and backward may follow each other") {
    Parameter<double> w = parameter({3}), v = parameter({5});
    Tape<double> tape(kept);
    const auto x = tape.leaf(Tensor<double>({1}, {7}));
    const auto loss = sum(mul(mul(w, v), x));
    CHECK(elements(tape.gradient(loss, {x})[0]) == Doubles{15});
    tape.backward(loss);
    CHECK(elements(w.grad()) == Doubles{35});
    CHECK(elements(v.grad()) == Doubles{21});
    CHECK(elements(tape.gradient(loss, {w})[0]) == Doubles{35});
    CHECK(elements(tape.gradient(loss, {x})[0]) == Doubles{15});
    CHECK(elements(w.grad()) == Doubles{35});
}

TEST_CASE("replay: keeps ops on constants, since a leaf may be set behind them") {
    Tape<double> tape(kept);
    const auto y = exp(Tensor<double>({1}, {0}));
    CHECK(tape.size() == 1);
    CHECK(elements(tape.value(y)) == Doubles{1});
}

TEST_CASE("replay: checks for a NaN as the forward does, by the scope of the op") {
    Tape<double> tape({.keep_records = true, .check_finite = true});
    const auto x = tape.leaf(Tensor<double>({1}, {1}));
    {
        const Scope scope("head");
        log(x);
    }
    tape.set(x, Tensor<double>({1}, {-1}));
    CHECK_THROWS_WITH(tape.replay(), "check_finite: first NaN at head.log, row 0; its input was finite");
}

TEST_CASE("replay: errors") {
    Tape<double> plain;
    const auto a = plain.leaf(Tensor<double>({2}, {1, 2}));
    CHECK_THROWS_WITH(plain.replay(),
                      "replay: this tape does not keep its records; make it with {.keep_records = true}");
    CHECK_THROWS_WITH(plain.value(a), "value: the tensor was not recorded by a tape that keeps its records");
    const std::string not_leaf =
        "set: the tensor is not a leaf of a tape that keeps its records; make the tape with {.keep_records = true} and "
        "the tensor with tape.leaf";
    CHECK_THROWS_WITH(plain.set(a, a), not_leaf);
    Tape<double> tape(kept);
    const auto x = tape.leaf(Tensor<double>({2}, {1, 2}));
    const auto y = exp(x);
    CHECK_THROWS_WITH(tape.set(y, x), not_leaf);
    CHECK_THROWS_WITH(tape.set(a, x), not_leaf);
    CHECK_THROWS_WITH(tape.set(x, Tensor<double>::zeros({3})),
                      "set: the new values have another shape: leaf is [2], value is [3]");
    const Indices ids = indices({0});
    CHECK_THROWS_WITH(tape.set(ids, ids), "set: the indices are read by no record of a tape that keeps its records");
    embedding(tape.leaf(Tensor<double>::zeros({2, 2})), ids);
    CHECK_THROWS_WITH(tape.set(ids, indices({0, 1})),
                      "set: the new indices have another shape: original is [1], value is [2]");
    CHECK_THROWS_AS(tape.value(a), ValueError);
}

TEST_CASE("replay: indices that were set anew are checked as those of the recording were") {
    const Parameter<float> table(Tensor<float>::full({3, 2}, 1));
    const Indices ids = indices({0, 2});
    Tape<float> tape({.keep_records = true});
    const Tensor<float> loss = sum(embedding(table, ids));
    tape.set(ids, indices({1, 1}));
    tape.replay();
    tape.set(ids, indices({1, 3}));
    CHECK_THROWS_WITH(tape.replay(), StartsWith("embedding: id 3 at [1] is outside the table of 3 rows"));
}

TEST_CASE("hook_vjps: a check sees the vjps of a sweep, and sends other gradients in their place") {
    const Parameter<double> w = parameter({1, 2});
    Tape<double> tape(kept);
    const auto x = tape.leaf(Tensor<double>({2}, {3, 4}));
    const auto loss = sum(mul(x, w));
    std::vector<std::size_t> order;
    tape.hook_vjps([&](std::size_t i, detail::Record<double>& record) {
        order.push_back(i);
        if (record.name() != "mul") return record.vjp(tape);
        tape.pass(Tensor<double>({2}, {7, 8}), record.inputs()[0]);
    });
    const auto hooked = tape.gradient(loss, {x, w});
    CHECK(order == std::vector<std::size_t>{1, 0});
    CHECK(elements(hooked[0]) == Doubles{7, 8});
    CHECK(elements(hooked[1]) == Doubles{0, 0});
    tape.hook_vjps({});
    CHECK(elements(tape.gradient(loss, {x, w})[0]) == Doubles{1, 2});
}

TEST_CASE("record: a check finds the options and indices of an op that it knows") {
    Tape<double> tape(kept);
    const auto x = tape.leaf(Tensor<double>({1, 2}, {3, 4}));
    rope(x, indices({5}), {.theta = 100});
    const detail::Record<double>& record = tape.record(0);
    REQUIRE(record.options(typeid(RopeOptions)) != nullptr);
    CHECK(static_cast<const RopeOptions*>(record.options(typeid(RopeOptions)))->theta == 100);
    CHECK(record.options(typeid(AttentionOptions)) == nullptr);
    CHECK(record.index_input(0) == detail::no_value);
    CHECK(tape.index_at(record.index_input(1)).current.item() == 5);
}

}  // namespace test_replay
