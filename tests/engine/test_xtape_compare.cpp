#include <xtape/engine/check/xtape_compare.h>
#include <xtape/tests/catch.hpp>

#include <cmath>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

namespace test_xtape_compare {

namespace {

using Catch::Matchers::Contains;

struct Free {
    void operator()(xtape_report* report) const { xtape_free(report); }
};
using Report = std::unique_ptr<xtape_report, Free>;

/// loss = Σ x³ / 3, whose gradient is x².
template <class T> double cubes(void* context) {
    double sum = 0;
    for (const T v : *static_cast<std::vector<T>*>(context)) sum += double(v) * v * v / 3;
    return sum;
}

template <class T> xtape_tensor tensor(std::vector<T>& x, const std::vector<T>& gradient) {
    const xtape_dtype dtype = sizeof(T) == 4 ? XTAPE_F32 : XTAPE_F64;
    xtape_tensor made{};
    made.name = "x";
    made.rank = 1;
    made.extents[0] = static_cast<std::int64_t>(x.size());
    made.values = x.data();
    made.gradient = gradient.data();
    made.values_dtype = made.gradient_dtype = dtype;
    return made;
}

}  // namespace

TEMPLATE_TEST_CASE("xtape_gradcheck: a right gradient passes, and the host's values are put back bit for bit", "",
                   float, double) {
    std::vector<TestType> x{TestType(0.3), TestType(-0.7), TestType(1.1)}, before = x, gradient;
    for (const TestType v : x) gradient.push_back(v * v);
    const xtape_tensor one = tensor(x, gradient);
    const Report report(xtape_gradcheck(cubes<TestType>, &x, &one, 1));
    INFO(xtape_text(report.get()));
    CHECK(xtape_passed(report.get()) == 1);
    CHECK(xtape_error(report.get()) == nullptr);
    REQUIRE(xtape_row_count(report.get()) == 1);
    CHECK(xtape_row_at(report.get(), 0)->verdict == XTAPE_AGREES);
    CHECK(xtape_row_at(report.get(), 1) == nullptr);
    CHECK(x == before);
}

TEST_CASE("xtape_gradcheck: a gradient off by a factor is named, with the place of its worst element") {
    std::vector<double> x{0.3, -0.7, 1.1}, gradient;
    for (const double v : x) gradient.push_back(-v * v);
    const xtape_tensor one = tensor(x, gradient);
    const Report report(xtape_gradcheck(cubes<double>, &x, &one, 1));
    const xtape_row& row = *xtape_row_at(report.get(), 0);
    CHECK(row.verdict == XTAPE_DIFFERS);
    CHECK(row.diagnosis == std::string("sign"));
    CHECK(row.scale == Approx(-1));
    CHECK(row.worst == 2);
    CHECK(xtape_passed(report.get()) == 0);
}

TEST_CASE("xtape_gradcheck: no gradient is never written") {
    std::vector<float> x{0.3f, -0.7f};
    xtape_tensor one = tensor(x, {});
    one.gradient = nullptr;
    const Report report(xtape_gradcheck(cubes<float>, &x, &one, 1));
    CHECK(xtape_row_at(report.get(), 0)->verdict == XTAPE_NEVER_WRITTEN);
}

TEST_CASE("xtape_gradcheck: a large gradient is never written only where all of it is zero") {
    std::vector<double> x(300, 0.5), gradient(300);
    const xtape_tensor one = tensor(x, gradient);
    const auto verdict = [&] {
        const Report report(xtape_gradcheck(cubes<double>, &x, &one, 1));
        return xtape_row_at(report.get(), 0)->verdict;
    };
    CHECK(verdict() == XTAPE_NEVER_WRITTEN);
    for (std::size_t i = 1; i < 300; i += 2) gradient[i] = 0.25;  // entries are looked at one in two
    CHECK(verdict() == XTAPE_DIFFERS);
}

TEST_CASE("xtape_gradcheck: a NaN in the gradient is said to be one, and hides no other tensor") {
    std::vector<double> x{0.3, -0.7, 1.1};
    const std::vector<double> bad{0.09, std::nan(""), 1.21}, good{0.09, 0.49, 1.21};
    const xtape_tensor both[]{tensor(x, bad), tensor(x, good)};
    const Report report(xtape_gradcheck(cubes<double>, &x, both, 2));
    CHECK(xtape_row_at(report.get(), 0)->verdict == XTAPE_DIFFERS);
    CHECK(xtape_row_at(report.get(), 0)->diagnosis == std::string("NaN at [1]"));
    CHECK(xtape_row_at(report.get(), 1)->verdict == XTAPE_AGREES);
}

TEST_CASE("xtape_compare: a noise that is not finite or negative excuses nothing") {
    const std::vector<double> truth{1, 2, 3};
    const std::vector<float> off{1, 2, 4};
    for (const double noise : {std::nan(""), HUGE_VAL, -1.0}) {
        const xtape_tensor one{"g", 1, {3}, off.data(), XTAPE_F32, nullptr, XTAPE_F32, truth.data(), noise};
        const Report report(xtape_compare(&one, 1));
        CHECK(xtape_row_at(report.get(), 0)->verdict == XTAPE_DIFFERS);
    }
}

TEST_CASE("xtape_compare: extents that are negative, or of more elements than there can be, end in a sentence") {
    const std::vector<double> truth{1};
    for (const std::int64_t extent : {std::int64_t{-1}, INT64_MAX}) {
        const xtape_tensor one{"g", 2, {extent, extent}, truth.data(), XTAPE_F64, nullptr, XTAPE_F32, truth.data(), 0};
        const Report report(xtape_compare(&one, 1));
        CHECK(xtape_passed(report.get()) == 0);
        CHECK_THAT(xtape_error(report.get()), Contains("xtape_compare: shape: "));
    }
}

TEST_CASE("xtape_compare: f32 by the noise floor and f64 by its own tolerance, in one report") {
    const std::vector<double> truth{1, 2, 3}, off{1, 2, 3 + 1e-7};
    const std::vector<float> rounded{1, 2, 3.0000002f};
    std::vector<xtape_tensor> tensors(2);
    for (xtape_tensor& one : tensors)
        one = {"g", 1, {3}, rounded.data(), XTAPE_F32, nullptr, XTAPE_F32, truth.data(), 0};
    tensors[1].gradient = off.data();
    tensors[1].gradient_dtype = XTAPE_F64;
    const Report report(xtape_compare(tensors.data(), tensors.size()));
    CHECK(xtape_row_at(report.get(), 0)->verdict == XTAPE_AGREES);
    CHECK(xtape_row_at(report.get(), 1)->verdict == XTAPE_DIFFERS);
    CHECK_THAT(xtape_text(report.get()), Contains("1 of 1 gradients differ"));
}

TEST_CASE("xtape_compare and xtape_gradcheck: wrong usage and a loss that throws end in a sentence") {
    std::vector<double> x{1};
    xtape_tensor one = tensor(x, x);
    const auto error = [&](xtape_loss loss) {
        const Report report(xtape_gradcheck(loss, &x, &one, 1));
        CHECK(xtape_passed(report.get()) == 0);
        return std::string(xtape_error(report.get()));
    };
    CHECK(error(nullptr) == "xtape_gradcheck: there is no loss");
    CHECK(error([](void*) -> double { throw std::runtime_error("no device"); }) == "xtape_gradcheck: no device");
    CHECK(error([](void*) -> double { throw std::bad_alloc(); }) == "xtape_gradcheck: out of memory");
    one.rank = 9;
    CHECK(error(cubes<double>) == "xtape_gradcheck: x has rank 9, and 0 to 6 are possible");
    one.rank = 1;
    one.gradient_dtype = XTAPE_I32;
    CHECK(error(cubes<double>) == "xtape_gradcheck: gradients and values are f32 or f64");
    one.values = nullptr;
    CHECK(error(cubes<double>) == "xtape_gradcheck: x has no values to be moved");
    const Report nothing(xtape_compare(nullptr, 0));
    CHECK(xtape_passed(nothing.get()) == 0);
    CHECK(xtape_passed(nullptr) == 0);
    CHECK(xtape_row_count(nullptr) == 0);
    xtape_free(nullptr);
}

}  // namespace test_xtape_compare
