#pragma once

#include <xtape/nn/module.hpp>

#include <cmath>
#include <vector>

namespace course {

using namespace xtape;

/// Two parameters, one of an odd size, and gradients that follow from the step alone.
template <class T> struct Model {
    using Scalar = T;
    Parameter<T> w, b;

    Model() : w(Shape{3, 7}), b(Shape{5}) {
        nn::Rng rng(1);
        w = Parameter<T>(nn::normal<T>({3, 7}, rng, 1));
        b = Parameter<T>(nn::normal<T>({5}, rng, 1));
    }
    void each_parameter(auto&& visit) {
        visit("w", w);
        visit("b", b);
    }

    void set_gradients(int step) {
        for (auto* parameter : {&w, &b}) {
            auto grad = parameter->write_grad();
            for (std::size_t i = 0; i < grad.size(); ++i) grad[i] = static_cast<T>(gradient(step, i));
        }
    }

    static double gradient(int step, std::size_t i) {
        return static_cast<float>(std::sin(1.0 + step * 0.7 + static_cast<double>(i)) *
                                  std::pow(10.0, static_cast<double>(i % 5) - 3));
    }
};

template <class T> std::vector<double> values(const Parameter<T>& parameter) {
    return {parameter.values().begin(), parameter.values().end()};
}

}  // namespace course
