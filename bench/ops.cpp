// Ops, forward alone and with their backward, at the sizes of microgpt and of a larger model.

#include <xtape/engine/ops.hpp>
#include <xtape/engine/tape.hpp>
#include <xtape/nn/init.hpp>

#include <functional>

#include <benchmark/benchmark.h>

namespace xtape::bench {
namespace {

using F = Tensor<float>;
using Op = std::function<F(const F&)>;

F input(const Shape& shape) {
    nn::Rng rng(1);
    return nn::normal<float>(shape, rng, 1);
}

void forward(benchmark::State& state, const Op& op, const Shape& shape) {
    const F x = input(shape);
    for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(op(x).data());
}

void backward(benchmark::State& state, const Op& op, const Shape& shape) {
    const F x = input(shape);
    const F dy = input(op(x).shape());
    for ([[maybe_unused]] auto _ : state) {
        Tape<float> tape;
        const F leaf = tape.leaf(x);
        const F* of[] = {&leaf};
        benchmark::DoNotOptimize(tape.gradient(op(leaf), dy, of).front().data());
    }
}

void add_op(const std::string& name, const Op& op) {
    for (const Shape& shape : {Shape{8, 16}, Shape{104, 64}, Shape{1024, 256}}) {
        const std::string at = name + to_string(shape);
        benchmark::RegisterBenchmark((at + "/forward").c_str(), [=](auto& state) { forward(state, op, shape); });
        benchmark::RegisterBenchmark((at + "/forward+backward").c_str(),
                                     [=](auto& state) { backward(state, op, shape); });
    }
}

void add_all() {
    add_op("add", [](const F& x) { return x + x; });
    add_op("mul", [](const F& x) { return x * x; });
    add_op("exp", [](const F& x) { return exp(x); });
    add_op("silu", [](const F& x) { return silu(x); });
    add_op("gelu", [](const F& x) { return gelu(x); });
    add_op("relu", [](const F& x) { return relu(x); });
    add_op("sum", [](const F& x) { return sum(x); });
    add_op("sum_rows", [](const F& x) { return sum(x, {0}); });
    add_op("transpose", [](const F& x) { return transpose(x); });
    add_op("softmax", [](const F& x) { return softmax(x); });
    add_op("rms_norm", [](const F& x) { return rms_norm(x); });
    add_op("matmul", [](const F& x) { return matmul(x, x, {.transpose_b = true}); });
    add_op("matmul_relu", [](const F& x) { return matmul(x, x, {.transpose_b = true, .relu = true}); });
    add_op("causal_attention", [](const F& x) { return causal_attention(x, x, x, {}, {.heads = 4}); });
    add_op("cross_entropy", [](const F& x) { return cross_entropy(x, Indices::zeros({x.shape().rows()})); });
}

}  // namespace
}  // namespace xtape::bench

int main(int argc, char** argv) {
    xtape::bench::add_all();
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
}
