#include <xtape/engine/check/function.hpp>
#include <xtape/engine/tape.hpp>

#include <algorithm>

namespace xtape::check {

template <class T>
TapeGradients<T> tape_gradients(const TensorFunction<T>& f, std::span<const Tensor<T>> inputs,
                                const MakeCotangent<T>& cotangent) {
    Tape<T> tape;
    std::vector<Tensor<T>> x;
    for (const Tensor<T>& input : inputs) x.push_back(tape.leaf(input));
    TapeGradients<T> result{f(x), std::vector<Tensor<T>>(inputs.size())};
    if (!tape.wants_grad(result.y)) return result;
    tape.backward(result.y, cotangent(result.y));
    std::ranges::transform(x, result.dx.begin(),
                           [&](const Tensor<T>& leaf) { return tape.at(leaf.body()->value).grad; });
    return result;
}

template TapeGradients<float> tape_gradients(const TensorFunction<float>&, std::span<const Tensor<float>>,
                                             const MakeCotangent<float>&);
template TapeGradients<double> tape_gradients(const TensorFunction<double>&, std::span<const Tensor<double>>,
                                              const MakeCotangent<double>&);

double Random::uniform(double low, double high) {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return low + (high - low) * static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

Tensor<double> Random::tensor(const Shape& shape, double low, double high) {
    std::vector<double> values(static_cast<std::size_t>(shape.size()));
    std::ranges::generate(values, [&] { return uniform(low, high); });
    return {shape, values};
}

}  // namespace xtape::check
