#pragma once
// remat: keep a function's inputs instead of its intermediates, and compute it again in the backward.

#include <xtape/engine/op.hpp>

#include <algorithm>

namespace xtape {
namespace detail {

/// Lets the ops of a function be recorded although a reverse sweep is under way.
class Resume {
public:
    Resume() : paused_(std::exchange(paused, 0)) {}
    ~Resume() { paused = paused_; }
    Resume(const Resume&) = delete;
    Resume& operator=(const Resume&) = delete;

private:
    int paused_;
};

template <class T, class F, std::size_t N> class RematRecord final : public Record<T> {
public:
    RematRecord(F f, std::array<ValueId, N> inputs) : f_(std::move(f)), inputs_(inputs) {
        this->reads_parameters = true;
    }

    std::string_view name() const override { return "remat"; }
    std::span<const ValueId> inputs() const override { return inputs_; }
    std::size_t saved_bytes() const override { return 0; }

    void vjp(Tape<T>& tape) override {
        const Resume resume;
        Tape<T> inner({.recompute = tape.options().recompute});
        inner.guard(tape);
        std::array<Tensor<T>, N> x;
        for (std::size_t i = 0; i < N; ++i) {
            x[i] = tape.tensor(inputs_[i]);
            if (tape.at(inputs_[i]).wants_grad) x[i] = inner.leaf(x[i]);
        }
        const Tensor<T> y = std::apply(f_, x);
        if (!inner.wants_grad(y)) return;
        inner.choose_like(tape);
        inner.backward(y, tape.at(this->output).grad);
        for (std::size_t i = 0; i < N; ++i) {
            if (!tape.at(inputs_[i]).wants_grad) continue;
            if (const Tensor<T>& dx = inner.at(x[i].body()->value).grad) tape.pass(dx, inputs_[i]);
        }
    }

    void forward(Tape<T>& tape) override {
        std::array<Tensor<T>, N> x;
        std::ranges::transform(inputs_, x.begin(), [&](ValueId id) { return tape.tensor(id); });
        tape.replace(this->output, std::apply(f_, x));
    }

private:
    F f_;
    std::array<ValueId, N> inputs_;
};

}  // namespace detail

/// f(x...), of which the tape keeps only x: the backward runs f again, to the same bits. f may read Parameters; a
/// tensor of this tape that it reads must be an argument, else the backward throws ValueError.
template <class F, Real T, class... Rest> Tensor<T> remat(F f, const Tensor<T>& first, const Rest&... rest) {
    Tape<T>* tape = Tape<T>::recording();
    if (tape == nullptr) return f(first, rest...);
    Tensor<T> y = [&] {
        const Pause pause;
        const Tensor<T> result = f(first, rest...);
        return result.alias(result.shape());  // f may have handed back an argument, which has a mark of its own
    }();
    const auto enter = [&](const Tensor<T>& x) {
        const detail::ValueId id = tape->value_of(x);
        tape->keep(id, x);
        return id;
    };
    const std::array<detail::ValueId, 1 + sizeof...(Rest)> inputs{enter(first), enter(rest)...};
    using Recorded = detail::RematRecord<T, F, 1 + sizeof...(Rest)>;
    const detail::Keep keep = tape->options().keep_records ? detail::Keep::always : detail::Keep::on_demand;
    tape->push(std::make_unique<Recorded>(std::move(f), inputs), y, keep, true);
    return y;
}

}  // namespace xtape
