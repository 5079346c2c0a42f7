#include <xtape/engine/tensor.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>

namespace xtape {
namespace detail {

void wrong_thread() {
    std::fputs("xtape: a Tensor was copied or destroyed by another thread than the one that made it\n", stderr);
    std::abort();
}

void empty_tensor() {
    throw ValueError(
        "the tensor is empty: it was default-constructed, or is a gradient that step() or zero_grad() has used up");
}

void empty_input(std::string_view op, std::size_t input) {
    const std::array<std::string, 6> ordinals{"first", "second", "third", "fourth", "fifth", "sixth"};
    throw ValueError(
        fmt::format("{}: the {} input is an empty tensor: it was default-constructed, or is a gradient that step() or "
                    "zero_grad() has used up",
                    op, input < ordinals.size() ? ordinals[input] : fmt::format("{}th", input + 1)));
}

template <class T> TensorBody<T>* new_body(const Shape& shape) {
    const std::size_t bytes = sizeof(TensorBody<T>) + static_cast<std::size_t>(shape.size()) * sizeof(T);
    void* block = pool_allocate(bytes);
    T* data = reinterpret_cast<T*>(static_cast<char*>(block) + sizeof(TensorBody<T>));
    return new (block) TensorBody<T>{shape, data, nullptr, nullptr, thread_mark(), 0, 0, 1, bytes};
}

template <class T> TensorBody<T>* new_alias(TensorBody<T>* base, const Shape& shape) {
    if (base->base != nullptr) base = base->base;
    base->retain();
    constexpr std::size_t bytes = sizeof(TensorBody<T>);
    return new (pool_allocate(bytes)) TensorBody<T>{shape, base->data, base, nullptr, thread_mark(), 0, 0, 1, bytes};
}

template <class T> void delete_body(TensorBody<T>* body) noexcept {
    if (TensorBody<T>* base = body->base; base != nullptr && base->release()) delete_body(base);
    pool_release(body, body->bytes);
}

}  // namespace detail

template <class T> Tensor<T>::Tensor(const Shape& shape, std::span<const T> values) : Tensor(unwritten(shape)) {
    if (static_cast<Index>(values.size()) != shape.size())
        throw ShapeError(fmt::format("tensor: {} values for {} elements: shape is {}", values.size(), shape.size(),
                                     to_string(shape)));
    std::copy(values.begin(), values.end(), body()->data);
}

template <class T> Tensor<T> Tensor<T>::full(const Shape& shape, T value) {
    Tensor result = unwritten(shape);
    std::fill_n(result.body()->data, shape.size(), value);
    return result;
}

template <class T> T Tensor<T>::item() const {
    if (!*this || size() != 1)
        throw ShapeError(fmt::format("item: the tensor must have one element: x is {}",
                                     *this ? to_string(shape()) : std::string("empty")));
    return *data();
}

template class Tensor<float>;
template class Tensor<double>;
template class Tensor<std::int32_t>;

namespace detail {
template TensorBody<float>* new_body(const Shape&);
template TensorBody<double>* new_body(const Shape&);
template TensorBody<std::int32_t>* new_body(const Shape&);
template TensorBody<float>* new_alias(TensorBody<float>*, const Shape&);
template TensorBody<double>* new_alias(TensorBody<double>*, const Shape&);
template TensorBody<std::int32_t>* new_alias(TensorBody<std::int32_t>*, const Shape&);
template void delete_body(TensorBody<float>*) noexcept;
template void delete_body(TensorBody<double>*) noexcept;
template void delete_body(TensorBody<std::int32_t>*) noexcept;
}  // namespace detail

}  // namespace xtape
