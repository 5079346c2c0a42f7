#pragma once
// The one header that includes xtensor (under its old and its new paths), and what tensors exchange with it.

#if __has_include(<xtensor/containers/xadapt.hpp>)
#include <xtensor/containers/xadapt.hpp>
#include <xtensor/core/xnoalias.hpp>
#else
#include <xtensor/xadapt.hpp>
#include <xtensor/xnoalias.hpp>
#endif

#include <xtape/engine/tensor.hpp>

#include <array>

namespace xtape {

namespace detail {

/// The extents as xtensor wants them.
inline std::vector<std::size_t> extents_of(const Shape& shape) { return {shape.begin(), shape.end()}; }

template <class E> Shape shape_of(const E& expression) {
    const std::vector<Index> extents(expression.shape().begin(), expression.shape().end());
    return Shape(std::span<const Index>(extents));
}

}  // namespace detail

template <class T>
template <class E>
Tensor<T>::Tensor(const xt::xexpression<E>& expression)
    : Tensor(unwritten(detail::shape_of(expression.derived_cast()))) {
    auto elements =
        xt::adapt(body()->data, static_cast<std::size_t>(size()), xt::no_ownership(), detail::extents_of(shape()));
    xt::noalias(elements) = expression.derived_cast();
}

template <class T> auto Tensor<T>::array() const {
    return xt::adapt(data(), static_cast<std::size_t>(size()), xt::no_ownership(), detail::extents_of(shape()));
}

template <class T> auto Tensor<T>::flat() const {
    return xt::adapt(data(), static_cast<std::size_t>(size()), xt::no_ownership(),
                     std::array{static_cast<std::size_t>(size())});
}

}  // namespace xtape
