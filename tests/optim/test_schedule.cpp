#include <xtape/optim/schedule.hpp>
#include <xtape/tests/catch.hpp>

namespace test_schedule {

using namespace xtape;

TEST_CASE("schedule: constant") {
    const Schedule schedule = ConstantRate{0.1};
    CHECK(schedule(0) == 0.1);
    CHECK(schedule(1000000) == 0.1);
}

TEST_CASE("schedule: linear decay is lr (1 - step/steps), and 0 beyond") {
    const Schedule schedule = LinearDecay{.lr = 0.01, .steps = 1000};
    CHECK(schedule(0) == 0.01);
    CHECK(schedule(250) == Approx(0.0075));
    CHECK(schedule(1000) == 0);
    CHECK(schedule(2000) == 0);
    CHECK(LinearDecay{.lr = 1, .steps = 0}(0) == 0);
}

TEST_CASE("schedule: warm-up rises to lr, then a cosine falls to its fraction") {
    const WarmupCosine schedule{.lr = 2, .steps = 110, .warmup = 10, .fraction = 0.1};
    CHECK(schedule(0) == Approx(0.2));
    CHECK(schedule(9) == Approx(2));
    CHECK(schedule(10) == Approx(2));
    CHECK(schedule(60) == Approx(2 * 0.55));
    CHECK(schedule(110) == Approx(0.2));
    CHECK(schedule(1000) == Approx(0.2));
    for (Index step = 10; step < 109; ++step) CHECK(schedule(step + 1) < schedule(step));
}

TEST_CASE("schedule: a warm-up as long as the course") {
    const WarmupCosine schedule{.lr = 1, .steps = 5, .warmup = 5};
    CHECK(schedule(4) == 1);
    CHECK(schedule(5) == Approx(0.1));
}

}  // namespace test_schedule
