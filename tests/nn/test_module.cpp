#include <xtape/nn/module.hpp>
#include <xtape/tests/catch.hpp>

#include <memory>
#include <optional>

namespace test_module {

using namespace xtape;
using Catch::Matchers::Equals;

namespace {

template <class T> struct Block {
    Parameter<T> a, b;

    Block(Index rows, nn::Rng& rng) : a(nn::normal<T>({rows, 2}, rng, 1)), b(nn::normal<T>({3}, rng, 1)) {}

    void each_parameter(auto&& visit) {
        visit("a", a);
        visit("b", b);
    }
};

struct Forget {
    bool last = false, middle = false;
};

template <class T> struct Model {
    using Config = Forget;
    Config config;
    Parameter<T> table;
    std::vector<Block<T>> blocks;
    std::vector<Parameter<T>> gains;
    std::optional<Parameter<T>> bias;
    std::optional<Block<T>> none;
    Parameter<T>* tied = nullptr;

    Model(const Config& c, nn::Rng& rng) : config(c), table(nn::normal<T>({4, 2}, rng, 1)) {
        for (Index i = 0; i < 2; ++i) blocks.emplace_back(i + 1, rng);
        gains.emplace_back(Shape{2});
        bias.emplace(Shape{5});
    }

    void each_parameter(auto&& visit) {
        visit("table", table);
        if (!config.middle) visit("blocks", blocks);
        visit("gains", gains);
        if (!config.last) visit("bias", bias);
        visit("none", none);
        visit("tied", tied);
    }
};

struct Twice {
    using Scalar = float;
    Parameter<float> a{Shape{1}}, b{Shape{1}};

    void each_parameter(auto&& visit) {
        visit("w", a);
        visit("w", b);
    }
};

template <class List> std::string names(const List& list) {
    std::string text;
    for (const auto& named : list) text += named.name + " ";
    return text;
}

}  // namespace

TEST_CASE("parameters: names are dotted paths in the order of each_parameter") {
    auto model = nn::build<Model<float>>({}, 1);
    CHECK(names(nn::parameters(model)) == "table blocks.0.a blocks.0.b blocks.1.a blocks.1.b gains.0 bias ");
    CHECK(nn::parameters(model)[3].parameter == &model.blocks[1].a);
    CHECK(nn::count(model) == 8 + 2 + 3 + 4 + 3 + 2 + 5);
}

TEST_CASE("parameters: a const model is read through const pointers") {
    const auto model = nn::build<Model<double>>({}, 1);
    const auto list = nn::parameters(model);
    static_assert(std::is_same_v<decltype(list[0].parameter), const Parameter<double>* const&> ||
                  std::is_same_v<decltype(list[0].parameter), const Parameter<double>*>);
    CHECK(list[0].parameter == &model.table);
    CHECK(nn::count(model) == 27);
}

TEST_CASE("parameters: one with two owners appears once, under its first name") {
    auto model = nn::build<Model<float>>({}, 1);
    model.tied = &model.blocks[0].a;
    CHECK(names(nn::parameters(model)) == "table blocks.0.a blocks.0.b blocks.1.a blocks.1.b gains.0 bias ");
    CHECK(nn::count(model) == 27);
}

TEST_CASE("parameters: two of one name are an error") {
    Twice model;
    CHECK_THROWS_WITH(nn::parameters(model), "parameters: two of the model's parameters are named w");
}

TEST_CASE("for_each_parameter and zero_grad reach every leaf") {
    auto model = nn::build<Model<float>>({}, 1);
    nn::for_each_parameter(model, [](std::string_view, Parameter<float>& p) { p.write_grad()[0] = 1; });
    int with_grad = 0;
    nn::for_each_parameter(std::as_const(model),
                           [&](std::string_view, const Parameter<float>& p) { with_grad += p.grad() ? 1 : 0; });
    CHECK(with_grad == 7);
    nn::zero_grad(model);
    CHECK_FALSE(model.table.grad());
    CHECK_FALSE(model.bias->grad());
}

TEST_CASE("parameters: their list stands for the model") {
    auto model = nn::build<Model<float>>({}, 1);
    auto list = nn::parameters(model);
    list.resize(2);
    CHECK(nn::count(list) == 10);
    model.table.write_grad();
    nn::zero_grad(list);
    CHECK_FALSE(model.table.grad());
}

TEST_CASE("copy_parameters: from float to double and back") {
    const auto narrow = nn::build<Model<float>>({}, 1);
    auto wide = nn::build<Model<double>>({}, 2);
    nn::copy_parameters(narrow, wide);
    CHECK(wide.blocks[1].a.values()[3] == static_cast<double>(narrow.blocks[1].a.values()[3]));
    auto back = nn::build<Model<float>>({}, 3);
    nn::copy_parameters(wide, back);
    CHECK(std::ranges::equal(back.table.values(), narrow.table.values()));
}

TEST_CASE("copy_parameters: what differs is named, and nothing is changed") {
    nn::Rng rng(1);
    const Block<float> small(1, rng);
    Block<float> large(2, rng);
    const std::vector<float> before(large.b.values().begin(), large.b.values().end());
    CHECK_THROWS_WITH(nn::copy_parameters(small, large),
                      "copy_parameters: a is [1, 2] in the source, the destination wants [2, 2]");
    CHECK(std::ranges::equal(large.b.values(), before));
    auto model = nn::build<Model<float>>({}, 1);
    CHECK_THROWS_WITH(nn::copy_parameters(small, model),
                      "copy_parameters: the source has no table, the destination wants [4, 2]");
    const auto fewer = nn::build<Block<float>>(1, 1);
    auto list = nn::parameters(large);
    list.pop_back();
    Block<float> same(2, rng);
    CHECK_THROWS_WITH(nn::copy_parameters(same, list),
                      "copy_parameters: the source has 2 parameters, the destination 1");
}

TEST_CASE("build: a seed gives the same model, in float and in double") {
    const auto a = nn::build<Model<float>>({}, 5), b = nn::build<Model<float>>({}, 5),
               c = nn::build<Model<float>>({}, 6);
    const auto wide = nn::build<Model<double>>({}, 5);
    CHECK(std::ranges::equal(a.blocks[1].b.values(), b.blocks[1].b.values()));
    CHECK_FALSE(std::ranges::equal(a.blocks[1].b.values(), c.blocks[1].b.values()));
    CHECK(a.table.values()[0] == static_cast<float>(wide.table.values()[0]));
}

TEST_CASE("build: a forgotten parameter is named as well as it can be") {
    CHECK_THROWS_AS(nn::build<Model<float>>({.last = true}, 1), ValueError);
    CHECK_THROWS_WITH(nn::build<Model<float>>({.last = true}, 1),
                      "build: each_parameter does not visit a parameter that the model constructs: "
                      "number 7 of 7, next after gains.0, is [5]");
    CHECK_THROWS_WITH(nn::build<Model<double>>({.middle = true}, 1),
                      "build: each_parameter does not visit a parameter that the model constructs: "
                      "number 2 of 7, next after table, is [1, 2]");
}

}  // namespace test_module
