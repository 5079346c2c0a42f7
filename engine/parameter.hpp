#pragma once
// Parameter<T>: the trainable leaf. A value that owns its elements and its gradient, and carries no tape state.

#include <xtape/engine/tensor.hpp>

#include <memory>

namespace xtape {

namespace detail {

/// What the tape and every tensor of a Parameter's values point at; it stays where it is when the Parameter moves.
template <class T> struct ParameterState {
    TensorBody<T>* body = nullptr;  ///< the current values
    Tensor<T> grad;                 ///< empty until a backward reaches it

    static void* operator new(std::size_t bytes) { return pool_allocate(bytes); }
    static void operator delete(void* block, std::size_t bytes) { pool_release(block, bytes); }
};

/// The Parameters that this thread has constructed and not destroyed while the log was open.
struct ConstructionLog {
    ConstructionLog();
    ~ConstructionLog();
    ConstructionLog(const ConstructionLog&) = delete;
    ConstructionLog& operator=(const ConstructionLog&) = delete;

    std::vector<const void*> states;
    ConstructionLog* outer;
};

}  // namespace detail

/// A tensor that training changes. Copying it copies its elements (not its gradient): a copied model is another model.
/// Ops take it as the Tensor that it is. Models may be read from many threads at once; one at a time may write.
template <class T> class Parameter : public Tensor<T> {
public:
    explicit Parameter(Tensor<T> values);
    explicit Parameter(const Shape& shape) : Parameter(Tensor<T>::zeros(shape)) {}
    Parameter(const Parameter& other);
    Parameter(Parameter&& other) noexcept = default;
    Parameter& operator=(const Parameter& other);
    Parameter& operator=(Parameter&& other) noexcept;
    ~Parameter();

    /// The gradient that backward passes have added up; empty (false) when there was none since `zero_grad`.
    const Tensor<T>& grad() const { return state_->grad; }
    void zero_grad() { state_->grad = {}; }

    /// The elements, to be written by an optimizer or a load. A tensor that still holds the old ones keeps them.
    /// Throws ValueError while an unreplayed record of this thread reads them.
    std::span<T> write();
    /// The gradient, to be scaled or replaced by an optimizer; zeros where there was none.
    std::span<T> write_grad();

    /// For the engine.
    detail::ParameterState<T>* state() const { return state_.get(); }

private:
    void release_body();

    std::unique_ptr<detail::ParameterState<T>> state_;
};

}  // namespace xtape
