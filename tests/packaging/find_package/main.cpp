#include <cstdio>
#include <xtape/xtape.hpp>

using namespace xtape;

// The example of the README.
int main() {
    Tensor<float> x({4, 1}, {0, 1, 2, 3}), y({4, 1}, {1, 3, 5, 7});
    nn::Rng rng(1);
    nn::Linear<float> line(1, 1, rng);
    SGD<float> sgd(line, {.lr = 0.1});
    for (int step = 0; step < 200; ++step) {
        Tape<float> tape;
        const Tensor<float> error = line(x) - y;
        tape.backward(mean(error * error));
        sgd.step();
    }
    std::printf("y = %.3f x + %.3f\n", line.weight.item(), line.bias->item());
}
