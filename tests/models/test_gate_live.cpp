#include "../catch.hpp"

#include <xtape/engine/threads.hpp>
#include <xtape/models/gate/live.hpp>
#include <xtape/nn/module.hpp>

#include <atomic>
#include <cmath>
#include <thread>

namespace test_gate_live {

using namespace xtape;
using models::Gate;
using models::GateBatch;
using models::GateConfig;
using models::GateExample;
using models::LiveGate;

namespace {

const GateConfig tiny{.vocab = 11, .dim = 16, .layers = 2, .heads = 2, .ffn = 32, .context = 8, .init = 0.1};
const std::vector<std::int32_t> call{1, 2, 3, 4};

std::vector<GateBatch> corrections() {
    const std::vector<GateExample> first{{.tokens = call, .label = -1, .weight = 8}, {.tokens = {1, 2}, .next = 3}};
    const std::vector<GateExample> second{{.tokens = {5, 6, 7}, .label = 1}};
    return {models::pack(first), models::pack(second)};
}

}  // namespace

TEST_CASE("live gate: what is learned serves from publish on, and not before") {
    LiveGate live(nn::build<Gate<float>>(tiny, 1), {.lr = 1e-2});
    const double before = live.predict(call);
    const auto old = live.serving();
    for (int step = 0; step < 20; ++step) live.learn(corrections());
    CHECK(live.predict(call) == before);
    live.publish();
    CHECK(live.predict(call) < 0.1);
    CHECK(old->predict(call) == before);
    CHECK(live.losses().steps() == 20);
    CHECK(live.losses().last().back() < live.losses().last().front());
}

TEST_CASE("live gate: some batches are learned as their mean") {
    const auto gate = nn::build<Gate<float>>(tiny, 2);
    const std::vector<GateBatch> batches = corrections();
    const double mean = (gate.loss(batches[0]).item() + gate.loss(batches[1]).item()) / 2.0;
    LiveGate live(gate);
    CHECK(live.learn(batches) == Approx(mean));
}

TEST_CASE("live gate: a course that is saved and filled goes on bit for bit") {
    LiveGate live(nn::build<Gate<float>>(tiny, 3)), other(nn::build<Gate<float>>(tiny, 4));
    live.learn(corrections());
    const nn::Arrays from = live.state(), into = other.state();
    REQUIRE(from.size() == into.size());
    for (std::size_t i = 0; i < from.size(); ++i) {
        CHECK(from[i].name == into[i].name);
        std::visit([&](auto values) { std::ranges::copy(values, std::get<decltype(values)>(into[i].values).begin()); },
                   from[i].values);
    }
    for (LiveGate* gate : {&live, &other}) {
        gate->learn(corrections());
        gate->publish();
    }
    CHECK(live.predict(call) == other.predict(call));
}

TEST_CASE("live gate: a loss that is not finite is refused, and the copy stays") {
    LiveGate live(nn::build<Gate<float>>(tiny, 5));
    const double before = live.predict(call);
    const GateExample absurd{.tokens = call, .label = 0, .weight = 1e300};
    const GateBatch batch = models::pack(std::span(&absurd, 1));
    CHECK_THROWS_WITH(live.learn(std::span(&batch, 1)), "gate: the loss is inf; nothing is learned");
    CHECK_THROWS_WITH(live.learn({}), "gate: nothing to learn from: there are no batches");
    live.publish();
    CHECK(live.predict(call) == before);
    CHECK(live.losses().steps() == 0);
}

TEST_CASE("live gate: predictions while it learns are of one version or another, never of a mixture") {
    constexpr int versions = 12;
    const auto gate = nn::build<Gate<float>>(tiny, 6);
    std::vector<double> expected;
    {
        LiveGate alone(gate, {.lr = 1e-2});
        expected.push_back(alone.predict(call));
        for (int i = 0; i < versions; ++i) {
            alone.learn(corrections());
            alone.publish();
            expected.push_back(alone.predict(call));
        }
    }
    LiveGate live(gate, {.lr = 1e-2});
    std::atomic<bool> done = false, mixed = false;
    const auto predict = [&] {
        set_threads(1);
        std::size_t version = 0;
        while (!done) {
            const double allow = live.predict(call);
            while (version < expected.size() && expected[version] != allow) ++version;
            if (version == expected.size()) mixed = true;
        }
    };
    std::thread first(predict), second(predict);
    for (int i = 0; i < versions; ++i) {
        live.learn(corrections());
        live.publish();
    }
    done = true;
    first.join();
    second.join();
    CHECK_FALSE(mixed);
    CHECK(live.predict(call) == expected.back());
}

}  // namespace test_gate_live
