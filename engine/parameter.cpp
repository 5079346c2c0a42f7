#include <xtape/engine/parameter.hpp>
#include <xtape/engine/tape.hpp>

#include <algorithm>

#include <fmt/format.h>

namespace xtape {
namespace detail {

namespace {
thread_local ConstructionLog* open_log = nullptr;
}

ConstructionLog::ConstructionLog() : outer(open_log) { open_log = this; }
ConstructionLog::~ConstructionLog() { open_log = outer; }

}  // namespace detail

template <class T> Parameter<T>::Parameter(Tensor<T> values) : state_(new detail::ParameterState<T>) {
    const bool sole_owner = values.body()->count == 1 && values.body()->base == nullptr && values.body()->tape == 0 &&
                            values.body()->parameter == nullptr;
    Tensor<T>::operator=(sole_owner ? std::move(values) : Tensor<T>(values.shape(), values.values()));
    this->body()->parameter = state_.get();
    this->body()->shared = true;
    state_->body = this->body();
    if (detail::open_log != nullptr) detail::open_log->states.push_back(state_.get());
}

template <class T>
Parameter<T>::Parameter(const Parameter& other) : Parameter(Tensor<T>(other.shape(), other.values())) {}

template <class T> Parameter<T>& Parameter<T>::operator=(const Parameter& other) {
    if (this != &other) *this = Parameter(other);
    return *this;
}

template <class T> Parameter<T>& Parameter<T>::operator=(Parameter&& other) noexcept {
    std::swap(this->ref_, other.ref_);
    std::swap(state_, other.state_);
    return *this;
}

template <class T> Parameter<T>::~Parameter() {
    if (state_ == nullptr) return;  // moved from
    release_body();
    Tape<T>::forget(state_.get());
    if (detail::open_log != nullptr) std::erase(detail::open_log->states, state_.get());
}

/// The present values become a plain tensor, of this thread: the one that may write the Parameter.
template <class T> void Parameter<T>::release_body() {
    this->body()->parameter = nullptr;
    this->body()->thread = detail::thread_mark();
}

template <class T> std::span<T> Parameter<T>::write() {
    if (Tape<T>::reads(state_.get()))
        throw ValueError(
            fmt::format("write: a record that is not replayed reads this parameter: parameter is {}; "
                        "call backward, or end the tape, before a step or a load",
                        to_string(this->shape())));
    if (this->shared()) {
        Tensor<T> fresh(this->shape(), this->values());
        release_body();
        fresh.body()->parameter = state_.get();
        fresh.body()->shared = true;
        state_->body = fresh.body();
        Tensor<T>::operator=(std::move(fresh));
    }
    return {this->body()->data, static_cast<std::size_t>(this->size())};
}

template <class T> std::span<T> Parameter<T>::write_grad() {
    Tensor<T>& grad = state_->grad;
    if (!grad) grad = Tensor<T>::zeros(this->shape());
    if (grad.shared()) grad = Tensor<T>(grad.shape(), grad.values());
    return {grad.body()->data, static_cast<std::size_t>(grad.size())};
}

template class Parameter<float>;
template class Parameter<double>;

}  // namespace xtape
