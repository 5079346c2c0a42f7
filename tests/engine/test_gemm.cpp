#include "../catch.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#include <xtape/engine/kernels/gemm.hpp>
#include <xtape/engine/kernels/gemm_bf16.hpp>
#include <xtape/engine/kernels/parallel.hpp>
#include <xtape/engine/threads.hpp>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace test_gemm {

using xtape::kernels::Gemm;
using xtape::kernels::Index;

namespace {

/// Operands of one product, in buffers that end with their last element (so that ASan sees a read beyond it).
template <class T> struct Problem {
    Gemm shape;
    std::vector<T> a, b, c, bias;

    Problem(Gemm wanted, Index padding, std::mt19937& random) : shape(wanted) {
        shape.lda = (shape.transpose_a ? shape.m : shape.k) + padding;
        shape.ldb = (shape.transpose_b ? shape.k : shape.n) + padding;
        shape.ldc = shape.n + padding;
        const Index a_rows = shape.transpose_a ? shape.k : shape.m, b_rows = shape.transpose_b ? shape.n : shape.k;
        a = draw(a_rows, shape.lda, padding, random);
        b = draw(b_rows, shape.ldb, padding, random);
        c = draw(shape.m, shape.ldc, padding, random);
        bias = draw(1, shape.n, 0, random);
    }

    static std::vector<T> draw(Index rows, Index stride, Index padding, std::mt19937& random) {
        std::uniform_real_distribution<T> uniform(-1, 1);
        std::vector<T> values(static_cast<std::size_t>(std::max<Index>(0, rows * stride - padding)));
        for (T& value : values) value = uniform(random);
        return values;
    }

    T a_at(Index i, Index p) const { return element(a, shape.transpose_a ? p * shape.lda + i : i * shape.lda + p); }
    T b_at(Index p, Index j) const { return element(b, shape.transpose_b ? j * shape.ldb + p : p * shape.ldb + j); }

    static T element(const std::vector<T>& values, Index at) { return values[static_cast<std::size_t>(at)]; }

    std::vector<T> result(bool with_bias = false) const {
        std::vector<T> out = c;
        xtape::kernels::gemm(shape, a.data(), b.data(), out.data(), with_bias ? bias.data() : nullptr);
        return out;
    }
};

/// Largest error in units of eps (k + 2) (|start| + |A| |B|), against a plain triple loop; padding must be untouched.
template <class T> double worst_error(const Problem<T>& problem, bool with_bias) {
    const Gemm& g = problem.shape;
    const std::vector<T> out = problem.result(with_bias);
    double worst = 0;
    for (Index at = 0; at < static_cast<Index>(out.size()); ++at) {
        const Index i = at / g.ldc, j = at % g.ldc;
        const T got = problem.element(out, at), old = problem.element(problem.c, at);
        if (j >= g.n) {
            if (got != old) return std::numeric_limits<double>::infinity();
            continue;
        }
        long double sum = g.accumulate ? old : with_bias ? problem.element(problem.bias, j) : T{};
        long double size = std::abs(sum);
        for (Index p = 0; p < g.k; ++p) {
            const long double product = static_cast<long double>(problem.a_at(i, p)) * problem.b_at(p, j);
            sum += product;
            size += std::abs(product);
        }
        if (g.relu) sum = std::max(sum, 0.0L);
        const long double unit = std::numeric_limits<T>::epsilon() * static_cast<long double>(g.k + 2) * size;
        if (got != static_cast<T>(sum)) worst = std::max(worst, static_cast<double>(std::abs(got - sum) / unit));
    }
    return worst;
}

template <class T> bool same_bits(const std::vector<T>& x, const std::vector<T>& y) {
    return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(T)) == 0;
}

template <class T> std::vector<T> with_threads([[maybe_unused]] int threads, const Problem<T>& problem) {
#ifdef _OPENMP
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    std::vector<T> out = problem.result();
    omp_set_num_threads(before);
    return out;
#else
    return problem.result();
#endif
}

/// The bits of flags: a transposed, b transposed, accumulate.
Gemm extents(int flags, Index m, Index n, Index k) {
    return {.transpose_a = (flags & 1) != 0,
            .transpose_b = (flags & 2) != 0,
            .m = m,
            .n = n,
            .k = k,
            .accumulate = (flags & 4) != 0};
}

Gemm with_relu(bool relu, Gemm shape) {
    shape.relu = relu;
    return shape;
}

}  // namespace

TEMPLATE_TEST_CASE("gemm: agrees with a plain triple loop for any shape, transposition and row distance", "", float,
                   double) {
    std::mt19937 random(7);
    const Index sizes[] = {0, 1, 2, 3, 5, 7, 8, 15, 16, 17, 27, 31, 33, 64, 65, 100};
    std::uniform_int_distribution<std::size_t> pick(0, std::size(sizes) - 1);
    for (int trial = 0; trial < 3000; ++trial) {
        const Gemm shape =
            with_relu((trial & 32) != 0, extents(trial, sizes[pick(random)], sizes[pick(random)], sizes[pick(random)]));
        const Index padding = (trial & 8) != 0 ? 1 + trial % 5 : 0;
        const bool with_bias = !shape.accumulate && (trial & 16) != 0;
        const Problem<TestType> problem(shape, padding, random);
        CAPTURE(trial, shape.m, shape.n, shape.k, shape.transpose_a, shape.transpose_b, shape.accumulate, padding,
                with_bias);
        REQUIRE(worst_error(problem, with_bias) <= 1);
    }
}

TEMPLATE_TEST_CASE("gemm: agrees with a plain triple loop where it is blocked and tiled", "", float, double) {
    std::mt19937 random(8);
    const Index shapes[][3] = {{150, 90, 100}, {40, 40, 3500},  {2100, 5, 300}, {33, 3, 40000},
                               {7, 600, 700},  {1, 2100, 1000}, {2050, 1, 1000}};
    for (const auto& [m, n, k] : shapes)
        for (int flags = 0; flags < 16; ++flags) {
            const Problem<TestType> problem(with_relu(flags >= 8, extents(flags, m, n, k)), flags % 3, random);
            CAPTURE(m, n, k, flags);
            REQUIRE(worst_error(problem, flags % 8 == 1 || flags % 8 == 2) <= 1);
        }
}

TEMPLATE_TEST_CASE("gemm: a sum of nothing is zero, the bias, or what was there", "", float, double) {
    std::mt19937 random(9);
    Problem<TestType> problem(extents(0, 3, 2, 0), 0, random);
    const auto run = [&](const TestType* bias) {
        xtape::kernels::gemm<TestType>(problem.shape, nullptr, nullptr, problem.c.data(), bias);
        return problem.c;
    };
    CHECK(run(nullptr) == std::vector<TestType>(6, 0));
    const TestType bias[] = {1, 2};
    CHECK(run(bias) == std::vector<TestType>{1, 2, 1, 2, 1, 2});
    problem.shape.accumulate = true;
    CHECK(run(nullptr) == std::vector<TestType>{1, 2, 1, 2, 1, 2});
    problem.shape.relu = true;
    problem.c = {1, -2, 1, 2, -1, 2};
    CHECK(run(nullptr) == std::vector<TestType>{1, 0, 1, 2, 0, 2});
    problem.shape.accumulate = false;
    const TestType negative[] = {-1, 2};
    CHECK(run(negative) == std::vector<TestType>{0, 2, 0, 2, 0, 2});
}

TEMPLATE_TEST_CASE("gemm: NaN in A reaches its row of C, and NaN in an overwritten C nothing", "", float, double) {
    std::mt19937 random(10);
    for (const Index size : {5, 27, 150, 300})
        for (int flags = 0; flags < 8; ++flags) {
            Problem<TestType> problem(with_relu(flags >= 4, extents(flags % 4, size, size, size)), 0, random);
            problem.a.back() = std::numeric_limits<TestType>::quiet_NaN();  // at (size - 1, size - 1) of op(A)
            std::fill(problem.c.begin(), problem.c.end(), std::numeric_limits<TestType>::quiet_NaN());
            const auto out = problem.result();
            const auto last_row = out.end() - size;
            CAPTURE(size, flags);
            CHECK(std::none_of(out.begin(), last_row, [](TestType x) { return std::isnan(x); }));
            CHECK(std::all_of(last_row, out.end(), [](TestType x) { return std::isnan(x); }));
        }
}

TEMPLATE_TEST_CASE("gemm: same bits for any number of threads and any address", "", float, double) {
    std::mt19937 random(11);
    const Index shapes[][3] = {{16, 16, 16},   {128, 128, 128}, {128, 512, 300}, {300, 288, 257},
                               {64, 64, 3000}, {1, 3000, 900},  {1, 64, 40000},  {64, 1, 40000}};
    for (const auto& [m, n, k] : shapes)
        for (int flags = 0; flags < 16; ++flags) {
            Problem<TestType> problem(with_relu(flags >= 8, extents(flags, m, n, k)), 0, random);
            const auto one = with_threads(1, problem);
            CAPTURE(m, n, k, flags);
            for (const int threads : {2, 3, 7}) CHECK(same_bits(one, with_threads(threads, problem)));
            problem.a.insert(problem.a.begin(), TestType{});
            std::vector<TestType> shifted = problem.c;
            xtape::kernels::gemm(problem.shape, problem.a.data() + 1, problem.b.data(), shifted.data());
            CHECK(same_bits(one, shifted));
        }
}

TEST_CASE("parallel_for: visits each tile once, with the same bounds whether threaded or not") {
    for (const int threads : {0, 1, 3, 7, 70, -1}) {
        const bool threaded = threads >= 0;
        xtape::set_threads(std::max(threads, 0));
        std::vector<Index> visits(1003, 0), begins(1003, -1);
        xtape::kernels::parallel_for(1003, 10, threaded, [&](Index begin, Index end) {
            for (Index i = begin; i < end; ++i) {
                ++visits[static_cast<std::size_t>(i)];
                begins[static_cast<std::size_t>(i)] = begin;
            }
        });
        CHECK(std::count(visits.begin(), visits.end(), 1) == 1003);
        for (Index i = 0; i < 1003; ++i) REQUIRE(begins[static_cast<std::size_t>(i)] == i / 10 * 10);
    }
    xtape::set_threads(0);
    xtape::kernels::parallel_for(0, 10, true, [](Index, Index) { FAIL("a tile of nothing"); });
}

TEST_CASE("gemm_bf16: near the f32 product, whatever is transposed, added or threaded") {
    if (!xtape::kernels::has_bf16()) {
        WARN("not checked: this processor does not multiply bfloat16");
        return;
    }
    std::mt19937 random(7);
    const Index shapes[][3] = {{300, 1100, 70}, {33, 50, 601}, {529, 17, 35}};
    for (const auto& [m, n, k] : shapes) {
        for (int flags = 0; flags < 16; ++flags) {
            const Problem<float> problem(with_relu(flags >= 8, extents(flags, m, n, k)), flags % 3, random);
            const bool accumulate = problem.shape.accumulate;
            const float* const bias = accumulate ? nullptr : problem.bias.data();
            const std::vector<float> truth = problem.result(!accumulate);
            std::vector<std::uint32_t> scratch(static_cast<std::size_t>(xtape::kernels::bf16_scratch(problem.shape)));
            const auto run = [&] {
                std::vector<float> out = problem.c;
                xtape::kernels::gemm_bf16(problem.shape, problem.a.data(), problem.b.data(), out.data(), bias,
                                          scratch.data());
                return out;
            };
            xtape::set_threads(1);
            const std::vector<float> one = run();
            xtape::set_threads(0);
            CAPTURE(m, n, k, flags);
            CHECK(run() == one);
            double worst = 0;
            for (std::size_t i = 0; i < one.size(); ++i)
                worst = std::max(worst, static_cast<double>(std::abs(one[i] - truth[i])));
            CHECK(worst < static_cast<double>(k) * 0x1p-8);  // eight bits of each factor
            CHECK(worst > 0);
        }
    }
}

}  // namespace test_gemm
