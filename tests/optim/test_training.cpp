#include <xtape/engine/ops.hpp>
#include <xtape/engine/tape.hpp>
#include <xtape/nn/linear.hpp>
#include <xtape/optim/adam.hpp>
#include <xtape/optim/gradients.hpp>
#include <xtape/tests/catch.hpp>

#include <cmath>

namespace test_training {

using namespace xtape;

namespace {

const Tensor<float> x({4, 2}, std::vector<float>{0, 0, 0, 1, 1, 0, 1, 1});
const Indices targets = indices({0, 1, 1, 1});

nn::Linear<float> model_of(std::uint64_t seed) {
    nn::Rng rng(seed);
    return {2, 2, rng};
}

float train(nn::Linear<float>& model, AdamW<float>& adamw) {
    Tape<float> tape;
    const Tensor<float> loss = cross_entropy(model(x), targets);
    tape.backward(loss);
    clip_grad_norm(model, 1.0f);
    adamw.step();
    return loss.item();
}

}  // namespace

TEST_CASE("training: the loop of a few lines learns OR") {
    auto model = model_of(1);
    AdamW adamw(model, {.lr = 0.1f});
    const float first = train(model, adamw);
    float last = first;
    for (int step = 0; step < 200; ++step) last = train(model, adamw);
    CHECK(last < 0.2f * first);
}

TEST_CASE("training: n backward passes scaled by 1/n are the gradient of the mean") {
    auto whole = model_of(1), parts = model_of(1);
    for (int pass = 0; pass < 3; ++pass) {
        Tape<float> tape;
        tape.backward(cross_entropy(parts(x), targets));
    }
    scale_grad(parts, 1.0 / 3);
    Tape<float> tape;
    tape.backward(cross_entropy(whole(x), targets));
    for (std::size_t i = 0; i < 4; ++i)
        CHECK(parts.weight.grad().values()[i] == Approx(whole.weight.grad().values()[i]).margin(1e-6));
}

TEST_CASE("training: a step while a record waits for its replay is refused") {
    auto model = model_of(1);
    AdamW adamw(model);
    model.weight.write_grad()[0] = 1;
    const Tape<float> tape;
    const Tensor<float> loss = cross_entropy(model(x), targets);
    CHECK_THROWS_WITH(adamw.step(),
                      Catch::Matchers::StartsWith("write: a record that is not replayed reads this parameter"));
}

}  // namespace test_training
