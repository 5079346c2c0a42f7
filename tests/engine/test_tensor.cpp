#include <xtape/engine/arena.hpp>
#include <xtape/engine/parameter.hpp>
#include <xtape/engine/tape.hpp>
#include <xtape/engine/xtensor.hpp>
#include <xtape/tests/catch.hpp>

#include <array>
#include <cstdint>
#include <sstream>
#include <thread>

namespace test_tensor {

namespace {

using namespace xtape;

template <class T> std::vector<T> elements(const Tensor<T>& x) { return {x.values().begin(), x.values().end()}; }

}  // namespace

TEST_CASE("tensor: holds its elements row by row, 64-byte aligned") {
    const Tensor<float> x({2, 3}, {1, 2, 3, 4, 5, 6});
    CHECK(x.shape() == Shape{2, 3});
    CHECK(x.size() == 6);
    CHECK(x.values()[4] == 5);
    CHECK(reinterpret_cast<std::uintptr_t>(x.data()) % 64 == 0);
    CHECK(elements(Tensor<float>::full({2}, 7)) == std::vector<float>{7, 7});
    CHECK(elements(Tensor<float>::zeros({2})) == std::vector<float>{0, 0});
    CHECK(Tensor<float>::zeros({0, 4}).values().empty());
}

TEST_CASE("tensor: an empty handle is false") {
    CHECK_FALSE(Tensor<float>());
    CHECK(Tensor<float>(1.0f));
}

TEST_CASE("tensor: a copy shares the elements, detach too, and a move leaves nothing") {
    Tensor<double> x({2}, {1, 2});
    const Tensor<double> copy = x;
    CHECK(copy.data() == x.data());
    CHECK(detach(x).data() == x.data());
    const Tensor<double> moved = std::move(x);
    CHECK(moved.data() == copy.data());
    CHECK_FALSE(x);
}

TEST_CASE("tensor: the elements outlive the handle that they were made by") {
    Tensor<double> same;
    {
        const Tensor<double> x({2, 3}, {1, 2, 3, 4, 5, 6});
        same = x.alias({3, 2}).alias({6});
    }
    CHECK(elements(same) == std::vector<double>{1, 2, 3, 4, 5, 6});
}

TEST_CASE("tensor: item is the element of a tensor of one") {
    CHECK(Tensor<double>(2.5).item() == 2.5);
    CHECK(Tensor<double>({1, 1}, {3}).item() == 3);
    CHECK_THROWS_WITH(Tensor<double>::zeros({2}).item(), "item: the tensor must have one element: x is [2]");
    CHECK_THROWS_WITH(Tensor<double>().item(), "item: the tensor must have one element: x is empty");
}

TEST_CASE("tensor: elements that do not fit the shape are an error") {
    CHECK_THROWS_WITH((Tensor<float>({2, 2}, {1, 2, 3})), "tensor: 3 values for 4 elements: shape is [2, 2]");
}

TEST_CASE("indices: a row of integers, or any shape") {
    const Indices ids = indices({3, 1, 2});
    CHECK(ids.shape() == Shape{3});
    CHECK(ids.values()[0] == 3);
    CHECK(Indices({2, 2}, {1, 2, 3, 4}).shape() == Shape{2, 2});
    CHECK(indices({}).size() == 0);
}

TEST_CASE("xtensor: a tensor is made from any expression, and converts its elements") {
    const xt::xarray<double> a{{1, 2, 3}, {4, 5, 6}};
    CHECK(elements(Tensor<double>(a)) == std::vector<double>{1, 2, 3, 4, 5, 6});
    CHECK(elements(Tensor<double>(a * 2.0 + 1.0)) == std::vector<double>{3, 5, 7, 9, 11, 13});
    CHECK(elements(Tensor<float>(a)) == std::vector<float>{1, 2, 3, 4, 5, 6});
    const Tensor<double> transposed(xt::transpose(a));
    CHECK(transposed.shape() == Shape{3, 2});
    CHECK(elements(transposed) == std::vector<double>{1, 4, 2, 5, 3, 6});
    const xt::xtensor<std::int32_t, 1> ids{3, 1};
    CHECK(elements(Indices(ids)) == std::vector<std::int32_t>{3, 1});
}

TEST_CASE("xtensor: a scalar and an empty array") {
    const xt::xarray<float> scalar(3.0f);
    CHECK(Tensor<float>(scalar).shape() == Shape{});
    CHECK(Tensor<float>(scalar).item() == 3);
    const xt::xtensor<float, 2> empty(std::array<std::size_t, 2>{0, 3});
    CHECK(Tensor<float>(empty).shape() == Shape{0, 3});
}

TEST_CASE("xtensor: views look at a tensor's own elements") {
    const Tensor<float> x({2, 3}, {1, 2, 3, 4, 5, 6});
    const auto view = x.array();
    CHECK(view.dimension() == 2);
    CHECK(view(1, 0) == 4);
    CHECK(&view(0, 0) == x.data());
    CHECK(x.flat().dimension() == 1);
    CHECK(x.flat()(5) == 6);
    const xt::xarray<float> doubled = x.array() * 2.0f;
    CHECK(doubled(1, 2) == 12);
    CHECK(elements(Tensor<float>(x.flat() + x.flat())) == std::vector<float>{2, 4, 6, 8, 10, 12});
}

TEST_CASE("parameter: a copy is another parameter, with the values and without the gradient") {
    Parameter<float> a(Tensor<float>({2}, {1, 2}));
    a.write_grad()[0] = 5;
    Parameter<float> b = a;
    CHECK(b.data() != a.data());
    CHECK_FALSE(b.grad());
    b.write()[0] = 9;
    CHECK(a.values()[0] == 1);
    a = b;
    CHECK(a.values()[0] == 9);
    CHECK(a.data() != b.data());
}

TEST_CASE("parameter: is moved without moving its elements, as a vector of them grows") {
    std::vector<Parameter<float>> all;
    all.emplace_back(Shape{3});
    const float* const before = all[0].data();
    for (int i = 0; i < 100; ++i) all.emplace_back(Shape{3});
    CHECK(all[0].data() == before);
    all[0].write()[1] = 2;
    CHECK(all[0].values()[1] == 2);
}

TEST_CASE("parameter: takes over a tensor that nobody else holds, and copies any other") {
    Tensor<float> x({2}, {1, 2});
    const float* const elements = x.data();
    CHECK(Parameter<float>(x).data() != elements);
    const Parameter<float> taken(std::move(x));
    CHECK(taken.data() == elements);
}

TEST_CASE("parameter: a tensor that holds the old values keeps them through a write") {
    Parameter<float> p(Tensor<float>({2}, {1, 2}));
    const float* const in_place = p.data();
    p.write()[0] = 3;
    CHECK(p.data() == in_place);
    const Tensor<float> held = p;
    const Tensor<float> detached = detach<float>(p);
    p.write()[0] = 4;
    CHECK(held.values()[0] == 3);
    CHECK(detached.values()[0] == 3);
    CHECK(p.values()[0] == 4);
}

TEST_CASE("parameter: the gradient is zeros when it is first written, and gone after zero_grad") {
    Parameter<double> p(Shape{2});
    CHECK_FALSE(p.grad());
    CHECK(p.write_grad()[1] == 0);
    p.write_grad()[1] = 2;
    const Tensor<double> held = p.grad();
    p.write_grad()[1] = 3;
    CHECK(held.values()[1] == 2);
    CHECK(p.grad().values()[1] == 3);
    p.zero_grad();
    CHECK_FALSE(p.grad());
}

TEST_CASE("construction log: lists the parameters that are made and still there while it is open") {
    const detail::ConstructionLog log;
    const Parameter<float> a(Shape{2});
    {
        const Parameter<float> gone(Shape{2});
        CHECK(log.states.size() == 2);
    }
    const Parameter<float> b = a;
    CHECK(log.states == std::vector<const void*>{a.state(), b.state()});
}

TEST_CASE("tensor: a handle that holds nothing says so") {
    const Tensor<float> none;
    const auto says = Catch::Matchers::StartsWith("the tensor is empty: ");
    CHECK_THROWS_WITH(none.shape(), says);
    CHECK_THROWS_WITH(none.size(), says);
    CHECK_THROWS_WITH(none.data(), says);
    CHECK_THROWS_WITH(none.values(), says);
}

TEST_CASE("pool: blocks are reused, and its peak is measured") {
    { const Tensor<float> warm = Tensor<float>::zeros({1000}); }
    const PoolStatistics before = pool_statistics();
    reset_pool_peak();
    for (int i = 0; i < 10; ++i) const Tensor<float> x = Tensor<float>::zeros({1000});
    CHECK(pool_statistics().system_allocations == before.system_allocations);
    CHECK(pool_statistics().bytes_in_use == before.bytes_in_use);
    CHECK(pool_statistics().peak_bytes >= before.bytes_in_use + 4000);
    CHECK(pool_statistics().peak_bytes <= before.bytes_in_use + 8000);
}

TEST_CASE("pool: every size up to a few octaves comes aligned, and no two blocks overlap") {
    std::vector<std::pair<char*, std::size_t>> blocks;
    for (std::size_t bytes = 1; bytes < 400000; bytes += bytes / 7 + 1) {
        auto* block = static_cast<char*>(detail::pool_allocate(bytes));
        CHECK(reinterpret_cast<std::uintptr_t>(block) % 64 == 0);
        std::fill_n(block, bytes, static_cast<char>(blocks.size()));
        blocks.emplace_back(block, bytes);
    }
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        CHECK(std::count(blocks[i].first, blocks[i].first + blocks[i].second, static_cast<char>(i)) ==
              static_cast<std::ptrdiff_t>(blocks[i].second));
        detail::pool_release(blocks[i].first, blocks[i].second);
    }
    for (const int bits : {45, 46, 62}) CHECK_THROWS_AS(detail::pool_allocate(std::size_t{1} << bits), std::bad_alloc);
    CHECK_THROWS_AS(Tensor<float>::unwritten({Index{1} << 48}), std::bad_alloc);
}

TEST_CASE("tensor: prints its shape and its elements, of many the first and the last") {
    const auto printed = [](const auto& x) {
        std::ostringstream out;
        out << x;
        return out.str();
    };
    CHECK(printed(Tensor<float>({2, 2}, {1, 2, 3, 4.5f})) == "[2, 2]\n{{ 1. ,  2. },\n { 3. ,  4.5}}");
    CHECK(printed(indices({7, 8})) == "[2]\n{7, 8}");
    CHECK(printed(Tensor<double>()) == "an empty tensor");
    CHECK(printed(Tensor<double>::zeros({100, 100})).size() < 500);
}

TEST_CASE("pool: large blocks that were given back are one, from which a larger one is cut") {
    static detail::Arena arena;  // what it takes it keeps
    constexpr std::size_t size = 1 << 20;
    std::array<void*, 4> blocks{};
    for (void*& block : blocks) block = arena.allocate(size).first;
    for (const std::size_t i : {0u, 2u, 1u}) arena.release(blocks[i], size);
    CHECK(arena.allocate(3 * size) == std::pair(blocks[0], false));
    arena.release(blocks[0], 3 * size);
    arena.release(blocks[3], size);
    const auto [large, asked] = arena.allocate(std::size_t{1} << 27);
    CHECK(asked);
    arena.release(large, std::size_t{1} << 27);
    CHECK(arena.allocate(4 * size) == std::pair(blocks[0], false));
}

TEST_CASE("pool: a large block that another thread gave back is there for this one") {
    constexpr std::size_t size = 1 << 22;
    void* const block = detail::pool_allocate(size);
    std::thread([&] { detail::pool_release(block, size); }).join();
    void* const again = detail::pool_allocate(size);
    CHECK(again == block);
    detail::pool_release(again, size);
}

TEST_CASE("pool: each thread has its own") {
    std::int64_t in_use = -1;
    std::thread([&] {
        const Tensor<float> x = Tensor<float>::zeros({10});
        in_use = pool_statistics().bytes_in_use;
    }).join();
    CHECK(in_use > 0);
    CHECK(in_use < 1000);
}

}  // namespace test_tensor
