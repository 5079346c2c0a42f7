// A GradReport in GoogleTest's own macros.
#include <xtape/engine/check/compare.hpp>
#include <xtape/engine/check/gradcheck.hpp>
#include <xtape/engine/ops.hpp>

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

namespace {

using namespace xtape;
using Arrays = std::vector<std::vector<double>>;

/// x² by hand: its gradient is 2 x.
GradReport report_of(double factor) {
    return compare([](const auto& x) { return sum(x * x); },
                   [=](const Arrays& in, Arrays& grads) {
                       for (std::size_t i = 0; i < in[0].size(); ++i) grads[0][i] = factor * in[0][i];
                   },
                   {Shape{2, 3}}, {.names = {"x"}});
}

TEST(GradReport, PassesAsAnAssertion) {
    EXPECT_TRUE(report_of(2));
    ASSERT_TRUE(gradcheck([](const auto& x) { return exp(x); }, {Tensor<double>({2}, {1, 2})}));
}

TEST(GradReport, PrintsItsTableWhereItFails) {
    EXPECT_NONFATAL_FAILURE(EXPECT_TRUE(report_of(-2)), "compare: 1 of 1 gradients differ");
    EXPECT_NONFATAL_FAILURE(EXPECT_TRUE(report_of(-2)), "sign; worst at [");
    EXPECT_FALSE(report_of(-2));
}

}  // namespace
