#pragma once
// Tensor<T>: a counted handle to an immutable, row-major array. One pooled block holds a TensorBody (shape, counts,
// the tape's mark) and behind it the elements. Indices are tensors of int32. Start reading at TensorBody.

#include <xtape/engine/buffer.hpp>
#include <xtape/engine/error.hpp>
#include <xtape/engine/shape.hpp>

#include <atomic>
#include <concepts>
#include <cstdint>
#include <iosfwd>
#include <span>
#include <utility>
#include <vector>

namespace xt {
template <class D> class xexpression;
}

namespace xtape {

template <class T> class Tensor;
template <class T> class Parameter;
template <class T> class Tape;

/// The scalar types that tensors are differentiated in.
template <class T>
concept Real = std::same_as<T, float> || std::same_as<T, double>;

namespace detail {

template <class T> struct ParameterState;

/// Identifies this thread: the address is unique among living threads.
inline const void* thread_mark() {
    thread_local constinit char mark = 0;
    return &mark;
}

[[noreturn]] void wrong_thread();
[[noreturn]] void empty_tensor();
[[noreturn]] void empty_input(std::string_view op, std::size_t input);

/// The block that a Tensor points at.
template <class T> struct alignas(64) TensorBody {
    Shape shape;
    T* data;
    TensorBody* base;              ///< whose elements these are, for the same array under another shape; else null
    ParameterState<T>* parameter;  ///< set for the values of a Parameter
    const void* thread;            ///< the thread that made it, checked in debug builds
    std::uint64_t tape;            ///< serial of the tape that knows this tensor, or 0
    std::uint32_t value;           ///< its number there
    std::uint32_t count;           ///< handles
    std::size_t bytes;             ///< of the whole block
    bool shared = false;           ///< of a Parameter, now or before: several threads may hold it

    void retain() {
        if (shared)
            std::atomic_ref(count).fetch_add(1, std::memory_order_relaxed);
        else
            ++count;
    }
    /// Whether this was the last handle.
    bool release() { return (shared ? std::atomic_ref(count).fetch_sub(1, std::memory_order_acq_rel) : count--) == 1; }
};

template <class T> TensorBody<T>* new_body(const Shape& shape);
template <class T> TensorBody<T>* new_alias(TensorBody<T>* base, const Shape& shape);
template <class T> void delete_body(TensorBody<T>* body) noexcept;

/// An intrusive handle to a TensorBody.
template <class T> class BodyRef {
public:
    BodyRef() = default;
    /// Takes over one count.
    explicit BodyRef(TensorBody<T>* body) : body_(body) {}
    BodyRef(const BodyRef& other) : body_(other.body_) { retain(); }
    BodyRef(BodyRef&& other) noexcept : body_(std::exchange(other.body_, nullptr)) {}
    BodyRef& operator=(BodyRef other) noexcept {
        std::swap(body_, other.body_);
        return *this;
    }
    ~BodyRef() { release(); }

    TensorBody<T>* get() const { return body_; }

private:
    void check_thread() const {
#ifndef NDEBUG
        if (!body_->shared && body_->thread != thread_mark()) wrong_thread();
#endif
    }
    void retain() const {
        if (body_ == nullptr) return;
        check_thread();
        body_->retain();
    }
    void release() const noexcept {
        if (body_ == nullptr) return;
        check_thread();
        if (body_->release()) delete_body(body_);
    }

    TensorBody<T>* body_ = nullptr;
};

}  // namespace detail

/// A handle to an immutable array; copying it costs a count. It belongs to the thread that made it, but a Parameter
/// may be read, copied to a handle and put under another shape by any.
/// A default-constructed handle holds nothing, and is false.
template <class T> class Tensor {
public:
    using Scalar = T;

    Tensor() = default;
    /// From the elements in row-major order. Throws ShapeError when their number does not fit.
    Tensor(const Shape& shape, std::span<const T> values);
    Tensor(const Shape& shape, std::initializer_list<T> values)
        : Tensor(shape, std::span(values.begin(), values.size())) {}
    Tensor(const Shape& shape, const std::vector<T>& values) : Tensor(shape, std::span<const T>(values)) {}
    /// A scalar.
    explicit Tensor(T value) : Tensor(Shape{}, std::span<const T>(&value, 1)) {}
    /// From any xtensor expression, evaluated now, its elements converted to T. Needs <xtape/engine/xtensor.hpp>.
    template <class E> explicit Tensor(const xt::xexpression<E>& expression);

    static Tensor full(const Shape& shape, T value);
    static Tensor zeros(const Shape& shape) { return full(shape, T(0)); }

    explicit operator bool() const { return ref_.get() != nullptr; }
    /// These throw ValueError for a handle that holds nothing.
    const Shape& shape() const { return held().shape; }
    Index size() const { return shape().size(); }
    const T* data() const { return held().data; }
    std::span<const T> values() const { return {data(), static_cast<std::size_t>(size())}; }
    /// The element of a tensor of size 1. Throws ShapeError for any other.
    T item() const;

    /// Read-only xtensor views of its own rank, and of rank 1 (the fast one). They do not outlive the tensor.
    /// Need <xtape/engine/xtensor.hpp>.
    auto array() const;
    auto flat() const;

    /// For the engine: the handle underneath, and a new tensor whose elements are to be written by who asked for it.
    explicit Tensor(detail::BodyRef<T> ref) : ref_(std::move(ref)) {}
    detail::TensorBody<T>* body() const { return ref_.get(); }
    static Tensor unwritten(const Shape& shape) { return Tensor(detail::BodyRef<T>(detail::new_body<T>(shape))); }
    /// Whether another tensor holds these elements too.
    bool shared() const {
        const detail::TensorBody<T>* base = body()->base;
        return body()->count > 1 || (base != nullptr && base->count > 1);
    }
    /// The same elements under another shape of the same size.
    Tensor alias(const Shape& shape) const { return Tensor(detail::BodyRef<T>(detail::new_alias(body(), shape))); }

protected:
    detail::BodyRef<T> ref_;

private:
    const detail::TensorBody<T>& held() const {
        if (ref_.get() == nullptr) detail::empty_tensor();
        return *ref_.get();
    }
};

/// For a look at it: the shape, and the elements as xtensor prints them, the middle of many left out.
template <class T> std::ostream& operator<<(std::ostream& out, const Tensor<T>& x);

/// Token ids, targets, offsets.
using Indices = Tensor<std::int32_t>;

/// A row of indices.
inline Indices indices(std::span<const std::int32_t> values) {
    return Indices(Shape{static_cast<Index>(values.size())}, values);
}
inline Indices indices(std::initializer_list<std::int32_t> values) {
    return indices(std::span<const std::int32_t>(values.begin(), values.size()));
}

}  // namespace xtape
