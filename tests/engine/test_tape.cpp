// The tape, with ops that are written here as a user writes his own.
#include <xtape/engine/op.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/tests/catch.hpp>

#include <cmath>
#include <limits>
#include <thread>

namespace test_tape {

namespace {

using namespace xtape;
using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;

template <class T> std::vector<T> elements(const Tensor<T>& x) { return {x.values().begin(), x.values().end()}; }

using Doubles = std::vector<double>;

void add_or_write(const auto& dx, Index i, double g) { dx.data[i] = dx.accumulate ? dx.data[i] + g : g; }

/// y = x², its forward saving 2 x for the vjp.
struct Square {
    static constexpr std::string_view name = "square";

    Shape shape(const Shape& x) const {
        if (x.rank() > 2) throw ShapeError("square: rank above 2: x is " + to_string(x));
        return x;
    }
    std::array<Shape, 1> saved(const Shape& x) const { return {x}; }
    void forward(View<double> x, Out<double> y, Out<double> twice) const {
        for (Index i = 0; i < y.size(); ++i) {
            y.data[i] = x.data[i] * x.data[i];
            twice.data[i] = 2 * x.data[i];
        }
    }
    void vjp(Grad<0, double> dx, Saved<0, double> twice, Cotangent<double> dy) const {
        for (Index i = 0; i < dy.size(); ++i) add_or_write(dx, i, twice.data[i] * dy.data[i]);  // dx = 2 x dy
    }
};

/// y = a b (+ c), with one vjp for a and b, and an optional c.
struct Product {
    static constexpr std::string_view name = "product";
    static constexpr std::array optional{2};

    Shape shape(const Shape& a, const Shape&, const Shape&) const { return a; }
    void forward(View<double> a, View<double> b, View<double> c, Out<double> y) const {
        for (Index i = 0; i < y.size(); ++i) y.data[i] = a.data[i] * b.data[i] + (c ? c.data[i] : 0);
    }
    void vjp(Grad<0, double> da, Grad<1, double> db, Input<0, double> a, Input<1, double> b,
             Cotangent<double> dy) const {
        for (Index i = 0; i < dy.size(); ++i) {
            if (da) add_or_write(da, i, b.data[i] * dy.data[i]);  // da = b dy
            if (db) add_or_write(db, i, a.data[i] * dy.data[i]);  // db = a dy
        }
    }
    Identity vjp(Grad<2, double>) const { return {}; }  // dc = dy
};

/// y_i = x[ids_i].
struct Pick {
    static constexpr std::string_view name = "pick";

    Shape shape(const Shape&, const Indices& ids) const { return ids.shape(); }
    void forward(View<double> x, View<std::int32_t> ids, Out<double> y) const {
        for (Index i = 0; i < y.size(); ++i) y.data[i] = x.data[ids.data[i]];
    }
    void vjp(Grad<0, double> dx, Input<1, std::int32_t> ids, Cotangent<double> dy) const {
        if (!dx.accumulate) std::fill_n(dx.data, dx.shape.size(), 0.0);
        for (Index i = 0; i < dy.size(); ++i) dx.data[ids.data[i]] += dy.data[i];
    }
};

/// The first half of x, with a vjp that forgets this.
struct Half {
    static constexpr std::string_view name = "half";

    Shape shape(const Shape& x) const { return {x.size() / 2}; }
    void forward(View<double> x, Out<double> y) const { std::copy_n(x.data, y.size(), y.data); }
    Identity vjp(Grad<0, double>) const { return {}; }
};

Tensor<double> square(const Tensor<double>& x, Where where = Where::here()) {
    return apply<double>(Square{}, where, x);
}
Tensor<double> product(const Tensor<double>& a, const Tensor<double>& b, const Tensor<double>& c = {}) {
    return apply<double>(Product{}, Where{}, a, b, c);
}
Tensor<double> pick(const Tensor<double>& x, const Indices& ids) { return apply<double>(Pick{}, Where{}, x, ids); }

Parameter<double> parameter(const Doubles& values) {
    return Parameter<double>(Tensor<double>({static_cast<Index>(values.size())}, values));
}

}  // namespace

TEST_CASE("tape: backward adds the gradient into the parameters") {
    Parameter<double> w = parameter({1, 2, 3});
    for (const double times : {1, 2}) {
        Tape<double> tape;
        const auto loss = sum(square(w));
        CHECK(loss.item() == 14);
        tape.backward(loss);
        CHECK(elements(w.grad()) == Doubles{2 * times, 4 * times, 6 * times});
    }
}

TEST_CASE("tape: a parameter used twice gets the sum, one that is not reached gets none") {
    Parameter<double> w = parameter({1, 2}), idle = parameter({1});
    Tape<double> tape;
    const auto unused = square(idle);
    tape.backward(sum(square(w) + w));
    CHECK(elements(w.grad()) == Doubles{3, 5});
    CHECK_FALSE(idle.grad());
}

TEST_CASE("tape: one vjp of two inputs, of which one, the other, both or the same are wanted") {
    const Tensor<double> a({2}, {2, 3}), b({2}, {5, 7});
    Tape<double> tape;
    const auto gradient = [&](const Tensor<double>& x, const Tensor<double>& y, const Tensor<double>& of) {
        Tape<double> inner;
        const auto leaf = inner.leaf(of);
        const auto loss = sum(product(x ? x : leaf, y ? y : leaf));
        return elements(inner.gradient(loss, {leaf})[0]);
    };
    CHECK(gradient({}, b, a) == Doubles{5, 7});
    CHECK(gradient(a, {}, b) == Doubles{2, 3});
    CHECK(gradient({}, {}, a) == Doubles{4, 6});
}

TEST_CASE("tape: an optional input may be left out") {
    Parameter<double> a = parameter({2, 3}), c = parameter({1, 1});
    {
        Tape<double> tape;
        tape.backward(sum(product(a, a, c)));
    }
    CHECK(elements(c.grad()) == Doubles{1, 1});
    CHECK(elements(product(a, a)) == Doubles{4, 9});
}

TEST_CASE("errors: an op says which input is empty") {
    const Tensor<double> a({2}, {1, 2}), none;
    CHECK_THROWS_WITH(product(a, none), StartsWith("product: the second input is an empty tensor: it was default-con"));
    CHECK_THROWS_WITH(a + none, Contains("add: the second input is an empty tensor"));
    CHECK_THROWS_WITH(exp(none), Contains("exp: the first input is an empty tensor"));
    CHECK_THROWS_WITH(cross_entropy(Tensor<double>({1, 2}, {1, 2}), Indices()),
                      Contains("cross_entropy: the second input is an empty tensor"));
    CHECK_THROWS_AS(sum(none), ValueError);
    CHECK_THROWS_AS(matmul(a, none), ValueError);
    CHECK_THROWS_AS(reshape(none, {1}), ValueError);
    CHECK_THROWS_AS(concat({a, none}, 0), ValueError);
    CHECK_THROWS_AS(detach(none), ValueError);
    Tape<double> tape;
    CHECK_THROWS_AS(tape.leaf(none), ValueError);
    CHECK_THROWS_AS(tape.backward(none), ValueError);
    CHECK_THROWS_AS(tape.gradient(sum(tape.leaf(a)), {none}), ValueError);
}

TEST_CASE("tape: indices are inputs without a gradient") {
    Parameter<double> w = parameter({1, 2, 3});
    Tape<double> tape;
    const auto picked = pick(w, indices({2, 0, 2}));
    CHECK(elements(picked) == Doubles{3, 1, 3});
    tape.backward(sum(picked));
    CHECK(elements(w.grad()) == Doubles{1, 0, 2});
}

TEST_CASE("tape: backward of any shape takes a cotangent") {
    Parameter<double> w = parameter({1, 2});
    Tape<double> tape;
    tape.backward(square(w), Tensor<double>({2}, {10, 100}));
    CHECK(elements(w.grad()) == Doubles{20, 400});
}

TEST_CASE("tape: no tape records nothing") {
    Parameter<double> w = parameter({1, 2});
    CHECK(Tape<double>::recording() == nullptr);
    CHECK(elements(square(w)) == Doubles{1, 4});
}

TEST_CASE("tape: ops on constants are not recorded") {
    Tape<double> tape;
    const auto y = square(Tensor<double>({2}, {1, 2}));
    CHECK(tape.size() == 0);
    CHECK_FALSE(tape.wants_grad(y));
}

TEST_CASE("tape: the errors of backward") {
    Parameter<double> w = parameter({1, 2});
    const std::string not_recorded =
        "backward: this tape did not record the tensor: it depends on no Parameter or leaf, or was made before the "
        "tape or under Pause";
    const auto before = sum(w);
    Tape<double> tape;
    CHECK_THROWS_WITH(tape.backward(before), not_recorded);
    CHECK_THROWS_WITH(tape.backward(Tensor<double>(1.0)), not_recorded);
    CHECK_THROWS_WITH(tape.backward(Tensor<double>()), not_recorded);
    CHECK_THROWS_WITH(tape.backward([&] {
        const Pause pause;
        return sum(w);
    }()),
                      not_recorded);
    const auto y = square(w);
    CHECK_THROWS_WITH(tape.backward(y),
                      "backward: the loss must be a scalar: loss is [2]; take mean(loss), or pass a cotangent");
    CHECK_THROWS_AS(tape.backward(y), ShapeError);
    CHECK_THROWS_WITH(tape.backward(y, Tensor<double>::zeros({3})),
                      "backward: the cotangent has another shape: output is [2], cotangent is [3]");
    const auto loss = sum(y);
    tape.backward(loss);
    CHECK_THROWS_WITH(tape.backward(loss),
                      "backward: this tape is used up by an earlier call; make a new tape, or one with keep_records");
    CHECK(elements(w.grad()) == Doubles{2, 4});
}

TEST_CASE("gradient: by leaves and parameters, in their order, with no grad touched") {
    Parameter<double> w = parameter({1, 2}), idle = parameter({1});
    Tape<double> tape;
    const auto x = tape.leaf(Tensor<double>({2}, {3, 4}));
    const auto gradients = tape.gradient(sum(product(x, w)), {w, x, idle});
    CHECK(elements(gradients[0]) == Doubles{3, 4});
    CHECK(elements(gradients[1]) == Doubles{1, 2});
    CHECK(elements(gradients[2]) == Doubles{0});
    CHECK_FALSE(w.grad());
}

TEST_CASE("gradient: what is asked for twice is given twice") {
    Parameter<double> w = parameter({1, 2});
    Tape<double> tape;
    const auto x = tape.leaf(Tensor<double>({2}, {3, 4}));
    const auto gradients = tape.gradient(sum(product(x, w)), {w, x, w, x});
    CHECK(elements(gradients[2]) == Doubles{3, 4});
    CHECK(elements(gradients[3]) == Doubles{1, 2});
}

TEST_CASE("gradient: by a leaf alone leaves the others out, and a leaf may be the loss") {
    Tape<double> tape;
    const auto x = tape.leaf(Tensor<double>(3.0)), y = tape.leaf(Tensor<double>(4.0));
    CHECK(tape.gradient(product(x, y), {y})[0].item() == 3);
    Tape<double> other;
    const auto z = other.leaf(Tensor<double>(3.0));
    CHECK(other.gradient(z, {z})[0].item() == 1);
}

TEST_CASE("gradient: errors, after which the tape still works") {
    Parameter<double> w = parameter({1, 2});
    Tape<double> tape;
    const auto y = square(w);
    const auto loss = sum(y);
    CHECK_THROWS_WITH(
        tape.gradient(loss, {w, y}),
        "gradient: tensor 1 is neither a Parameter nor a leaf of this tape: x is [2]; take x = tape.leaf(x) "
        "before it is used");
    CHECK_THROWS_WITH(tape.gradient(y, {w}),
                      "gradient: the loss must be a scalar: loss is [2]; take mean(loss), or pass a cotangent");
    tape.backward(loss);
    CHECK(elements(w.grad()) == Doubles{2, 4});
}

TEST_CASE("detach: the same values, and no gradient") {
    Parameter<double> w = parameter({3});
    Tape<double> tape;
    tape.backward(sum(product(w, detach<double>(w))));
    CHECK(elements(w.grad()) == Doubles{3});
}

TEST_CASE("pause: records nothing in its scope, and may be nested") {
    Parameter<double> w = parameter({3});
    Tape<double> tape;
    {
        const Pause pause;
        { const Pause inner; }
        square(w);
        CHECK(tape.size() == 0);
    }
    square(w);
    CHECK(tape.size() == 1);
}

TEST_CASE("tape: of nested ones the innermost records, and sees the outer's tensors as constants") {
    Parameter<double> w = parameter({3});
    Tape<double> outer;
    const auto y = square(w);
    {
        Tape<double> inner;
        const auto x = inner.leaf(y);
        CHECK(inner.gradient(sum(square(x)), {x})[0].item() == 18);
        CHECK(outer.size() == 1);
    }
    {
        Tape<double> inner;
        const auto z = square(y);
        CHECK_FALSE(inner.wants_grad(z));
    }
    outer.backward(sum(y));
    CHECK(elements(w.grad()) == Doubles{6});
}

TEST_CASE("tape: float and double are recorded apart") {
    Parameter<double> w = parameter({3});
    const Parameter<float> v(Tensor<float>({1}, {2}));
    Tape<double> tape;
    sum(v);
    CHECK(tape.size() == 0);
    Tape<float> other;
    square(w);
    CHECK(tape.size() == 1);
    CHECK(other.size() == 0);
}

TEST_CASE("tape: ends in the middle of an exception without harm") {
    Parameter<double> w = parameter({3});
    CHECK_THROWS_AS(
        [&] {
            Tape<double> tape;
            const auto y = square(w);
            square(Tensor<double>::zeros({1, 1, 1}));
        }(),
        ShapeError);
    CHECK(Tape<double>::recording() == nullptr);
}

TEST_CASE("tape: a vjp whose gradient does not fit is reported as a bug of the op") {
    Parameter<double> w = parameter({1, 2, 3, 4});
    Tape<double> tape;
    const auto y = sum(apply<double>(Half{}, Where{}, w));
    CHECK_THROWS_AS(tape.backward(y), ShapeError);
}

TEST_CASE("tape: keeps only what some vjp of a wanted input reads") {
    const Index n = 1000;
    Tape<double> tape;
    const auto x = tape.leaf(Tensor<double>::full({n}, 1));
    const auto constant = Tensor<double>::full({n}, 2);
    const std::size_t empty = tape.bytes();
    const auto sum_of = add(add(x, x), x);
    CHECK(tape.bytes() == empty);
    const auto scaled = product(x, constant);
    CHECK(tape.bytes() - empty < 3 * n * sizeof(double));
    const auto all = tape.records();
    REQUIRE(all.size() == 3);
    CHECK(all[0].op == "add");
    CHECK(all[2].op == "product");
    CHECK(all[1].inputs == std::vector<std::uint32_t>{all[0].output, all[0].inputs[0]});
    CHECK(all[1].shape == Shape{n});
    CHECK(all[0].kept_bytes == 0);
    square(x);
    CHECK(tape.records().back().kept_bytes >= n * sizeof(double));
}

TEST_CASE("tape: backward frees what it kept") {
    Parameter<double> w(Tensor<double>::full({10000}, 1));
    Tape<double> tape;
    auto loss = sum(square(square(w)));
    const auto before = pool_statistics().bytes_in_use;
    tape.backward(loss);
    CHECK(pool_statistics().bytes_in_use <= before - 80000);
    CHECK(tape.size() == 0);
}

TEST_CASE("tape: a steady state asks the system for no memory") {
    Parameter<double> w(Tensor<double>::full({100}, 0.5));
    PoolStatistics steady;
    for (int step = 0; step < 5; ++step) {
        if (step == 1) steady = pool_statistics();
        Tape<double> tape;
        auto y = square(w);
        for (int i = 0; i < 100; ++i) y = product(y, w, y);
        tape.backward(sum(y));
        w.zero_grad();
    }
    CHECK(pool_statistics().system_allocations == steady.system_allocations);
    CHECK(pool_statistics().bytes_in_use == steady.bytes_in_use);
}

TEST_CASE("tape: a chain of a million ops") {
    Parameter<float> w(Tensor<float>(1.0f));
    const Tensor<float> zero(0.0f);
    Tape<float> tape;
    Tensor<float> y = w;
    for (int i = 0; i < 1'000'000; ++i) y = add(y, zero);
    tape.backward(y);
    CHECK(w.grad().item() == 1);
}

TEST_CASE("tape: a million ops that are not replayed end without recursion") {
    Parameter<float> w(Tensor<float>(1.0f));
    Tape<float> tape;
    Tensor<float> y = w;
    for (int i = 0; i < 1'000'000; ++i) y = y.size() == 1 ? reshape(y, i % 2 == 0 ? Shape{1} : Shape{}) : y;
    CHECK(tape.size() == 1'000'000);
}

TEST_CASE("tape: one element broadcast against many, and against one") {
    Parameter<double> one = parameter({2}), many = parameter({1, 2, 3});
    Tape<double> tape;
    tape.backward(sum(add(one, many)) + sum(add(one, one)));
    CHECK(elements(one.grad()) == Doubles{5});
    CHECK(elements(many.grad()) == Doubles{1, 1, 1});
}

TEST_CASE("parameter: may not be written while a record that waits for its replay reads it") {
    Parameter<double> w = parameter({1, 2}), other = parameter({1});
    {
        Tape<double> tape;
        const auto loss = sum(square(w));
        CHECK_THROWS_WITH(w.write(),
                          "write: a record that is not replayed reads this parameter: parameter is [2]; call backward, "
                          "or end the tape, before a step or a load");
        other.write()[0] = 2;
        tape.backward(loss);
        w.write()[0] = 3;
    }
    Tape<double> tape;
    square(other);
    w.write()[0] = 4;
    CHECK(w.values()[0] == 4);
}

TEST_CASE("parameter: destroyed before the replay is an error, not a crash") {
    Tape<double> tape;
    Tensor<double> loss;
    {
        const Parameter<double> w = parameter({1, 2});
        loss = sum(square(w));
    }
    CHECK_THROWS_WITH(tape.backward(loss), "backward: a Parameter that this tape reads has been destroyed");
}

TEST_CASE("parameter: moved between the forward and the replay keeps its gradient") {
    std::vector<Parameter<double>> all;
    all.push_back(parameter({3}));
    Tape<double> tape;
    const auto loss = sum(square(all[0]));
    all.push_back(parameter({4}));
    all.push_back(parameter({5}));
    tape.backward(loss);
    CHECK(elements(all[0].grad()) == Doubles{6});
}

TEST_CASE("tape: two threads use one model, each with a tape of its own") {
    Parameter<double> w(Tensor<double>::full({64}, 0.5)), v(Tensor<double>::full({64}, 0.25));
    std::vector<Doubles> results(2);
    const auto work = [&](std::size_t thread) {
        for (int step = 0; step < 200; ++step) {
            Tape<double> tape;
            const auto x = Tensor<double>::full({64}, static_cast<double>(thread + 1));
            const auto loss = sum(square(product(product(w, x), v)));
            results[thread] = elements(tape.gradient(loss, {w, v})[0]);
        }
    };
    std::thread other(work, 1);
    work(0);
    other.join();
    CHECK(results[0] == Doubles(64, 2 * 0.5 * 0.25 * 0.25));
    CHECK(results[1] == Doubles(64, 4 * 2 * 0.5 * 0.25 * 0.25));
    CHECK_FALSE(w.grad());
}

TEST_CASE("tape: two threads hold one parameter by handles and under other shapes") {
    Parameter<double> w(Tensor<double>::full({4, 4}, 0.5));
    const auto work = [&] {
        for (int step = 0; step < 500; ++step) {
            Tape<double> tape;
            const Tensor<double> handle = w;
            tape.gradient(sum(product(reshape(handle, {16}), reshape(detach<double>(w), {16}))), {w});
        }
    };
    std::thread other(work);
    work();
    other.join();
    CHECK(w.body()->count == 1);
}

TEST_CASE("errors: say the name scope and the call site") {
    const Scope layers("layers", 3);
    const Scope attention("attention");
    const Tensor<double> x = Tensor<double>::zeros({1, 1, 1});
    const std::string line = std::to_string(__LINE__ + 1);  // compilers differ on the line of a macro's argument
    const auto call = [&] { return square(x); };
    CHECK_THROWS_WITH(call(), StartsWith("square: rank above 2: x is [1, 1, 1] (in layers.3.attention) (") &&
                                  EndsWith("test_tape.cpp:" + line + ")"));
    CHECK_THROWS_WITH(square(x, Where{}), "square: rank above 2: x is [1, 1, 1] (in layers.3.attention)");
    CHECK_THROWS_AS(square(x), ShapeError);
}

TEST_CASE("scope: nodes are shared by those who open the same name, and closed with them") {
    CHECK(detail::path_of(detail::current_scope()).empty());
    const detail::ScopeNode* first = nullptr;
    {
        const Scope scope("layers", 1);
        first = detail::current_scope();
    }
    const Scope other("layers", 2);
    CHECK(detail::current_scope() != first);
    CHECK(detail::path_of(first) == "layers.1");
    CHECK(detail::path_of(detail::current_scope()) == "layers.2");
}

TEST_CASE("records: carry the scope that they were made in") {
    Parameter<double> w = parameter({1});
    Tape<double> tape;
    {
        const Scope scope("head");
        square(w);
    }
    CHECK(tape.records()[0].scope == "head");
}

TEST_CASE("a kept tape goes on after a sweep that an error has stopped") {
    Parameter<double> w(Tensor<double>({2}, {1, 4}));
    Tape<double> tape({.keep_records = true, .check_finite = true});
    const Tensor<double> x = tape.leaf(Tensor<double>({2}, {0, 4}));
    const Tensor<double> h = x * w;
    const Tensor<double> loss = sum(sqrt(h) + h);
    CHECK_THROWS_AS(tape.backward(loss), ValueError);
    w.zero_grad();
    tape.set(x, Tensor<double>({2}, {1, 4}));
    tape.replay();
    tape.backward(loss);
    CHECK(w.grad().values()[0] == Approx(1.5));
    CHECK(w.grad().values()[1] == Approx(4 + 0.5));
}

TEST_CASE("a kept tape goes on with backward after a gradient that an error has stopped") {
    const Parameter<double> w = parameter({1, 2});
    Tape<double> tape({.keep_records = true, .check_finite = true});
    const auto x = tape.leaf(Tensor<double>({2}, {0, 1}));
    const auto loss = sum(sqrt(x) * w);
    CHECK_THROWS_WITH(tape.gradient(loss, {w, x}), Contains("check_finite"));  // the slope of the root at 0
    CHECK_THROWS_WITH(tape.gradient(loss, Tensor<double>({2}, {1, 1}), std::span<const Tensor<double>* const>()),
                      StartsWith("gradient: the cotangent has another shape: output is [], cotangent is [2]"));
    tape.set(x, Tensor<double>({2}, {1, 4}));
    tape.replay();
    tape.backward(loss);
    CHECK(elements(w.grad()) == Doubles{1, 2});
}

TEST_CASE("check_finite: stops at the first op that makes a NaN or an infinity, and names it") {
    constexpr double inf = std::numeric_limits<double>::infinity();
    Tape<double> tape({.check_finite = true});
    const auto x = tape.leaf(Tensor<double>({2, 2}, {1, 1, 1, -1}));
    const auto large = tape.leaf(Tensor<double>({1}, {1e200}));
    const Scope layers("layers", 3);
    const Scope scope("attention");
    CHECK_THROWS_WITH(log(x), "check_finite: first NaN at layers.3.attention.log, row 1; its input was finite");
    CHECK_THROWS_WITH(square(large),
                      "check_finite: first infinity at layers.3.attention.square, row 0; its input was finite");
    CHECK_THROWS_WITH(
        square(Tensor<double>({1}, {inf})),
        "check_finite: first infinity at layers.3.attention.square, row 0; its input was not: look at the "
        "Parameters and leaves");
    CHECK_THROWS_AS(log(x), ValueError);
}

TEST_CASE("check_finite: looks at gradients too") {
    Tape<double> tape({.check_finite = true});
    const auto x = tape.leaf(Tensor<double>({1}, {0}));
    const Scope scope("head");
    const auto loss = sum(sqrt(x));
    CHECK_THROWS_WITH(tape.backward(loss), "check_finite: first NaN or infinity of a gradient at the vjp of head.sqrt");
}

TEST_CASE("profile: time, calls and memory by op and scope") {
    Parameter<double> w(Tensor<double>::full({1000}, 1));
    Tape<double> tape({.profile = true});
    Tensor<double> y = w;
    for (int i = 0; i < 3; ++i) {
        const Scope scope("a");
        y = square(y);
    }
    tape.backward(sum(y));
    const auto row = std::find_if(tape.profile().begin(), tape.profile().end(),
                                  [](const ProfileRow& known) { return known.op == "square"; });
    REQUIRE(row != tape.profile().end());
    CHECK(row->scope == "a");
    CHECK(row->calls == 3);
    CHECK(row->forward_seconds > 0);
    CHECK(row->backward_seconds > 0);
    CHECK(row->kept_bytes >= 3 * 8000);
}

}  // namespace test_tape
