#pragma once
// How an op is written, and how it is applied. An op is a struct of attributes with
//
//     static constexpr std::string_view name = "rms_norm";
//     Shape shape(const Shape& x) const;                       // throws ShapeError; an Indices input comes as itself
//     std::array<Shape, 1> saved(const Shape& x) const;        // optional: what the forward keeps for the vjp
//     void forward(View<T> x, Out<T> y, Out<T> rstd) const;    // inputs, output, saved
//     void vjp(Grad<0, T> dx, Input<0, T> x, Saved<0, T> rstd, Cotangent<T> dy) const;
//
// The parameters of a vjp say what it reads, and nothing else is kept for it. A vjp is named by its first parameter,
// Grad<i, T>: there is an overload for each differentiated input, or one that takes several Grads because they share
// work (each may be false: not wanted). An overload that returns Identity is not called: the cotangent itself is
// passed. An op with `static constexpr bool alias = true` has no forward: its output is input 0 under another shape.
// An op that ends in a function of its own result, y = f(z), may take the cotangent back through that first, once for
// all its vjps, whose Cotangent is dz then: `void vjp_epilogue(Out<T> dz, Output<T> y, Cotangent<T> dy) const`. dz may
// be dy's own array. `static constexpr int writes_over = i` says that Grad<i, T> may be the same array as Input<i, T>,
// element by element: it will be, where nobody else needs the input. `static constexpr std::array optional{i, ...}`
// says which inputs may be left out, and `static constexpr bool recomputable = true` that running the forward again
// costs less than to keep its output (see TapeOptions::recompute).

#include <xtape/engine/tape.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <tuple>
#include <type_traits>

namespace xtape {

/// Elements to read, with their shape; false for an input that was left out (an empty Tensor).
template <class T> struct View {
    const T* data;
    const Shape& shape;

    Index size() const { return shape.size(); }
    explicit operator bool() const { return data != nullptr; }
};

/// Elements to write, all of them: they come uninitialised.
template <class T> struct Out {
    T* data;
    const Shape& shape;

    Index size() const { return shape.size(); }
};

/// What a vjp may ask for. Input<i, std::int32_t> is an Indices input.
template <int I, class T> struct Input : View<T> {};
template <class T> struct Output : View<T> {};
template <int K, class T> struct Saved : View<T> {};
template <class T> struct Cotangent : View<T> {};
template <int I> struct ShapeOf { const Shape& shape; };
/// The gradient of input i: where it goes, and whether it is added to what is there.
template <int I, class T> struct Grad : detail::Destination<T> {};
/// Stands in a signature for what this instance of an op does not read.
struct Unread {};
/// The result of a vjp whose gradient is the cotangent itself.
struct Identity {};

namespace detail {

template <class R, class... P> struct Signature {};

/// The vjp overload that begins with Grad<I, T>; not viable when there is none.
template <int I, class T, class Op, class R, class... P>
Signature<R, Grad<I, T>, P...> vjp_signature(R (Op::*)(Grad<I, T>, P...) const);

template <class Op, int I, class T>
concept HasVjp = requires {
    vjp_signature<I, T, Op>(&Op::vjp);
};

/// Bits of inputs, output and saved tensors: what a vjp reads and writes.
struct Reads {
    std::uint32_t grads = 0, inputs = 0, saved = 0;
    bool output = false;
};

template <class P> inline constexpr Reads reads_of{};
template <int I, class T> inline constexpr Reads reads_of<Grad<I, T>>{.grads = 1u << I};
template <int I, class T> inline constexpr Reads reads_of<Input<I, T>>{.inputs = 1u << I};
template <int K, class T> inline constexpr Reads reads_of<Saved<K, T>>{.saved = 1u << K};
template <class T> inline constexpr Reads reads_of<Output<T>>{.output = true};

constexpr Reads operator|(Reads a, Reads b) {
    return {a.grads | b.grads, a.inputs | b.inputs, a.saved | b.saved, a.output || b.output};
}

template <class R, class... P> constexpr Reads reads_of_signature(Signature<R, P...>) {
    return (Reads{} | ... | reads_of<P>);
}

template <class Op, int I, class T>
inline constexpr Reads vjp_reads = reads_of_signature(decltype(vjp_signature<I, T, Op>(&Op::vjp)){});

template <class Op>
concept Alias = requires {
    requires Op::alias;
};

template <class Op, int I>
concept WritesOver = requires {
    requires Op::writes_over == I;
};

template <class Op, class T>
concept Epilogue = requires(const Op& op, Out<T> dz, Output<T> y, Cotangent<T> dy) {
    op.vjp_epilogue(dz, y, dy);
};

template <class Op>
concept Recomputable = requires {
    requires Op::recomputable;
};

/// Bytes: what is smaller is in the cache, and is kept.
inline constexpr std::size_t recomputes_from = 1 << 16;

template <class In> inline constexpr bool is_index = std::same_as<In, Indices>;

inline const Shape no_shape{};

/// Whether an op lets its input I be left out.
template <class Op, int I> consteval bool may_be_empty() {
    if constexpr (requires { Op::optional; })
        return std::ranges::find(Op::optional, I) != Op::optional.end();
    else
        return false;
}

/// Throws ValueError for an input that holds nothing, unless the op says that it may.
template <class Op, class... In, std::size_t... I> void check_given(std::index_sequence<I...>, const In&... in) {
    const auto check = [](bool given, std::size_t position) {
        if (!given) empty_input(Op::name, position);
    };
    (check(may_be_empty<Op, static_cast<int>(I)>() || in, I), ...);
}

template <class T> const Shape& shape_argument(const Tensor<T>& x) { return x ? x.body()->shape : no_shape; }
inline const Indices& shape_argument(const Indices& x) { return x; }

template <class T> View<T> view(const Tensor<T>& x) {
    return x ? View<T>{x.data(), x.shape()} : View<T>{nullptr, no_shape};
}

template <class T> Out<T> out(const Tensor<T>& y) { return {y.body()->data, y.shape()}; }

template <class T> bool finite(const Tensor<T>& x) { return Tape<T>::finite(x); }
inline bool finite(const Indices&) { return true; }

/// The number of tensors that an op's forward saves.
template <class Op, class... In> constexpr std::size_t saved_count() {
    if constexpr (requires(const Op& op, const In&... in) { op.saved(shape_argument(in)...); })
        return std::tuple_size_v<decltype(std::declval<const Op&>().saved(
            shape_argument(std::declval<const In&>())...))>;
    else
        return 0;
}

/// The record of an Op applied to inputs of types In (Tensor<T> or Indices).
template <class T, class Op, class... In> class RecordOf final : public Record<T> {
public:
    static constexpr int arity = sizeof...(In);
    static constexpr std::size_t saves = saved_count<Op, In...>();
    static constexpr std::array<bool, arity> indexed{is_index<In>...};
    /// Bits of the inputs that are no Indices.
    static constexpr std::uint32_t tensor_inputs = [] {
        std::uint32_t bits = 0;
        for (std::size_t i = 0; i < arity; ++i) bits |= indexed[i] ? 0u : 1u << i;
        return bits;
    }();

    RecordOf(const Op& op, std::array<ValueId, arity> inputs, std::array<Tensor<T>, saves> saved)
        : op_(op), inputs_(inputs), saved_(std::move(saved)) {
        for (std::size_t i = 0; i < arity; ++i) differentiable_[i] = indexed[i] ? no_value : inputs_[i];
    }

    /// The union over the inputs that want a gradient of what their vjp reads.
    static Reads reads(std::uint32_t wanted) {
        Reads all = reads_from<0, 0>(wanted);
        all.output = all.output || (Epilogue<Op, T> && wanted != 0);
        return all;
    }

    std::string_view name() const override { return Op::name; }
    std::span<const ValueId> inputs() const override { return differentiable_; }
    void vjp(Tape<T>& tape) override {
        static_assert(
            Epilogue<Op, T> || !requires { &Op::vjp_epilogue; },
            "write `void vjp_epilogue(Out<T> dz, Output<T> y, Cotangent<T> dy) const`");
        if constexpr (Epilogue<Op, T>) vjp_epilogue(tape);
        propagate<0, 0>(tape);
    }

    void forward(Tape<T>& tape) override {
        if constexpr (Alias<Op>) {
            tape.replace(this->output, tape.tensor(inputs_[0]).alias(tape.at(this->output).shape));
        } else {
            const Tensor<T> y = tape.rewrite(this->output);
            forward_into(tape, y, std::make_index_sequence<arity>(), std::make_index_sequence<saves>());
        }
    }

    std::size_t saved_bytes() const override {
        std::size_t bytes = 0;
        for (const Tensor<T>& tensor : saved_) bytes += tensor ? tensor.body()->bytes : 0;
        return bytes;
    }

    ValueId index_input(int place) const override {
        const auto i = static_cast<std::size_t>(place);
        return i < arity && indexed[i] ? inputs_[i] : no_value;
    }
    const void* options([[maybe_unused]] const std::type_info& type) const override {
        if constexpr (requires(const Op& op) { op.options; })
            return type == typeid(op_.options) ? &op_.options : nullptr;
        return nullptr;
    }

private:
    template <std::uint32_t Covered, int I> static constexpr Reads reads_from(std::uint32_t wanted) {
        if constexpr (I == arity) {
            return {};
        } else if constexpr (indexed[I] || ((Covered >> I) & 1u) != 0) {
            return reads_from<Covered, I + 1>(wanted);
        } else {
            static_assert(HasVjp<Op, I, T>,
                          "this op has no vjp for one of its inputs: write "
                          "`void vjp(Grad<i, T>, ...) const`, or name Grad<i, T> in another one");
            constexpr Reads own = vjp_reads<Op, I, T>;
            const Reads rest = reads_from<Covered | own.grads, I + 1>(wanted);
            return (wanted & own.grads) != 0 ? own | rest : rest;
        }
    }

    /// In place where nobody else holds the cotangent. The output is read here for the last time.
    void vjp_epilogue(Tape<T>& tape) {
        static_assert(!reads_from<0, 0>(~0u).output, "the vjps of an op with an epilogue may not read its output");
        Value<T>& output = tape.at(this->output);
        Tensor<T> dz = output.grad.shared() ? Tensor<T>::unwritten(output.shape) : output.grad;
        op_.vjp_epilogue(out(dz), {view(output.data)}, {view(output.grad)});
        output.grad = std::move(dz);
        if (!tape.options().keep_records) output.data = {};
    }

    bool wanted(Tape<T>& tape, std::uint32_t grads) const {
        for (std::size_t i = 0; i < arity; ++i) {
            if (((grads >> i) & 1u) != 0 && inputs_[i] != no_value && tape.at(inputs_[i]).wants_grad) return true;
        }
        return false;
    }

    template <std::uint32_t Covered, int I> void propagate(Tape<T>& tape) {
        if constexpr (I < arity) {
            if constexpr (indexed[I] || ((Covered >> I) & 1u) != 0) {
                propagate<Covered, I + 1>(tape);
            } else {
                constexpr std::uint32_t grads = vjp_reads<Op, I, T>.grads;
                if (wanted(tape, grads)) call<I>(tape, decltype(vjp_signature<I, T, Op>(&Op::vjp)){});
                propagate<Covered | grads, I + 1>(tape);
            }
        }
    }

    template <int I, class... P> void call(Tape<T>& tape, Signature<Identity, P...>) {
        tape.pass(tape.at(this->output).grad, inputs_[I]);
    }

    template <int I, class... P> void call(Tape<T>& tape, Signature<void, P...>) {
        // An input that occurs twice gets its second gradient aside, since one vjp writes both at once.
        std::array<Tensor<T>, arity> aside;
        if constexpr (requires { Op::writes_over; })
            if (inputs_[Op::writes_over] != no_value) tape.remake(inputs_[Op::writes_over]);
        op_.vjp(fetch(static_cast<P*>(nullptr), tape, aside)...);
        for (std::size_t i = 0; i < arity; ++i) {
            if (aside[i]) tape.pass(aside[i], inputs_[i]);
        }
    }

    template <int I> Grad<I, T> fetch(Grad<I, T>*, Tape<T>& tape, std::array<Tensor<T>, arity>& aside) {
        for (std::size_t other = 0; other < I; ++other) {
            if (indexed[other] || inputs_[other] != inputs_[I] || !wanted(tape, 1u << I)) continue;
            if constexpr (jointly<I>()) {
                aside[I] = Tensor<T>::unwritten(tape.at(inputs_[I]).shape);
                return {{aside[I].body()->data, tape.at(inputs_[I]).shape, false}};
            }
        }
        if constexpr (WritesOver<Op, I>) return {tape.destination_over(inputs_[I])};
        return {tape.destination(inputs_[I])};
    }
    template <int I> Input<I, T> fetch(Input<I, T>*, Tape<T>& tape, std::array<Tensor<T>, arity>&) {
        return {input<I>(tape)};
    }
    template <int I>
    Input<I, std::int32_t> fetch(Input<I, std::int32_t>*, Tape<T>& tape, std::array<Tensor<T>, arity>&) {
        return {input<I>(tape)};
    }
    template <int K> Saved<K, T> fetch(Saved<K, T>*, Tape<T>&, std::array<Tensor<T>, arity>&) {
        return {view(saved_[K])};
    }
    Output<T> fetch(Output<T>*, Tape<T>& tape, std::array<Tensor<T>, arity>&) {
        return {view(tape.at(this->output).data)};
    }
    Cotangent<T> fetch(Cotangent<T>*, Tape<T>& tape, std::array<Tensor<T>, arity>&) {
        return {view(tape.at(this->output).grad)};
    }
    template <int I> ShapeOf<I> fetch(ShapeOf<I>*, Tape<T>& tape, std::array<Tensor<T>, arity>&) {
        return {inputs_[I] == no_value ? no_shape : tape.at(inputs_[I]).shape};
    }
    Unread fetch(Unread*, Tape<T>&, std::array<Tensor<T>, arity>&) { return {}; }

    /// Whether one vjp writes the gradient of input I together with that of an earlier one.
    template <int I> static constexpr bool jointly() { return !HasVjp<Op, I, T>; }

    template <int I> auto input(Tape<T>& tape) const {
        if constexpr (indexed[I]) {
            return view(inputs_[I] == no_value ? Indices() : tape.index_at(inputs_[I]).current);
        } else {
            if (inputs_[I] == no_value) return View<T>{nullptr, no_shape};
            const Value<T>& value = tape.at(inputs_[I]);
            if constexpr (WritesOver<Op, I>)
                if (!value.data && value.parameter == nullptr) return View<T>{value.grad.data(), value.shape};
            tape.remake(inputs_[I]);
            return View<T>{value.elements(), value.shape};
        }
    }

    /// What the shape rule takes for an input.
    template <int I> auto shape_input(Tape<T>& tape) const {
        if constexpr (indexed[I])
            return inputs_[I] == no_value ? Indices() : tape.index_at(inputs_[I]).current;
        else
            return inputs_[I] == no_value ? Shape(no_shape) : Shape(tape.at(inputs_[I]).shape);
    }

    template <std::size_t... I, std::size_t... K>
    void forward_into(Tape<T>& tape, const Tensor<T>& y, std::index_sequence<I...>, std::index_sequence<K...>) {
        // Indices may have been set anew: the shape rule is what looks at their values.
        if constexpr ((indexed[I] || ...)) static_cast<void>(op_.shape(shape_input<static_cast<int>(I)>(tape)...));
        op_.forward(input<static_cast<int>(I)>(tape)..., out(y), out(saved_[K])...);
    }

    [[no_unique_address]] Op op_;
    std::array<ValueId, arity> inputs_;
    std::array<ValueId, arity> differentiable_;  ///< the same, without Indices
    std::array<Tensor<T>, saves> saved_;
};

/// Runs an op's forward and gives its output; `saved` receives what it keeps for the vjp.
template <class T, class Op, class... In, std::size_t... K>
Tensor<T> run(const Op& op, const Shape& shape, std::array<Tensor<T>, sizeof...(K)>& saved, std::index_sequence<K...>,
              const In&... in) {
    if constexpr (Alias<Op>) {
        return std::get<0>(std::tie(in...)).alias(shape);
    } else {
        Tensor<T> y = Tensor<T>::unwritten(shape);
        if constexpr (sizeof...(K) > 0) {
            const std::array<Shape, sizeof...(K)> shapes = op.saved(shape_argument(in)...);
            ((saved[K] = Tensor<T>::unwritten(shapes[K])), ...);
        }
        op.forward(view(in)..., out(y), out(saved[K])...);
        return y;
    }
}

template <class T, class Op, class... In>
void record(Tape<T>& tape, const Op& op, const Tensor<T>& y, std::array<Tensor<T>, saved_count<Op, In...>()> saved,
            double seconds, const In&... in) {
    using Recorded = RecordOf<T, Op, In...>;
    std::uint32_t wanted = 0;
    int position = 0;
    const auto mark = [&](const auto& x) {
        if constexpr (!is_index<std::remove_cvref_t<decltype(x)>>) wanted |= tape.wants_grad(x) ? 1u << position : 0u;
        ++position;
    };
    (mark(in), ...);
    const bool keep_all = tape.options().keep_records;
    const Reads reads = Recorded::reads(wanted);
    if (wanted == 0 && !keep_all) return;
    position = 0;
    const auto enter = [&](const auto& x) -> ValueId {
        const int i = position++;
        if constexpr (is_index<std::remove_cvref_t<decltype(x)>>) {
            return tape.index_of(x);
        } else {
            const ValueId id = tape.value_of(x);
            if (id != no_value && (keep_all || ((reads.inputs >> i) & 1u) != 0)) tape.keep(id, x);
            return id;
        }
    };
    const std::array<ValueId, sizeof...(In)> inputs{enter(in)...};
    bool as_recipe = Recomputable<Op> && !keep_all && tape.options().recompute && !reads.output &&
                     reads.inputs == Recorded::tensor_inputs &&
                     static_cast<std::size_t>(y.size()) * sizeof(T) >= recomputes_from;
    // What is made again is made from what is kept: a chain of such would not end, or save much.
    for (std::size_t i = 0; i < inputs.size(); ++i)
        as_recipe = as_recipe && (Recorded::indexed[i] || tape.at(inputs[i]).recipe == no_record);
    for (std::size_t k = 0; k < saved.size(); ++k) {
        if (!keep_all && !as_recipe && ((reads.saved >> k) & 1u) == 0) saved[k] = {};
    }
    auto made = std::make_unique<Recorded>(op, inputs, std::move(saved));
    made->forward_seconds = seconds;
    const Keep keep = as_recipe ? Keep::as_recipe : keep_all || reads.output ? Keep::always : Keep::on_demand;
    tape.push(std::move(made), y, keep, wanted != 0);
}

}  // namespace detail

/// Applies an op struct to Tensors and Indices, and records it on the innermost tape where an input wants a gradient.
/// An error of its shape rule is thrown with the name scope and the call site added.
template <class T, class Op, class... In> Tensor<T> apply(const Op& op, Where where, const In&... in) {
    using Clock = std::chrono::steady_clock;
    Shape shape;
    try {
        detail::check_given<Op>(std::index_sequence_for<In...>(), in...);
        shape = op.shape(detail::shape_argument(in)...);
    } catch (const Error& error) {
        detail::rethrow_located(error, where);
    }
    Tape<T>* tape = Tape<T>::recording();
    const bool timed = tape != nullptr && tape->options().profile;
    const Clock::time_point start = timed ? Clock::now() : Clock::time_point();
    constexpr std::size_t saves = detail::saved_count<Op, In...>();
    std::array<Tensor<T>, saves> saved;
    Tensor<T> y = detail::run<T>(op, shape, saved, std::make_index_sequence<saves>(), in...);
    if (tape == nullptr) return y;
    const double seconds = timed ? std::chrono::duration<double>(Clock::now() - start).count() : 0;
    if (tape->options().check_finite)
        tape->check_finite(Op::name, detail::current_scope(), y, (... && detail::finite(in)));
    detail::record(*tape, op, y, std::move(saved), seconds, in...);
    return y;
}

}  // namespace xtape
