// The linear recurrence h_t = a_t ⊙ h_{t−1} + b_t.

#include <xtape/engine/kernels/scan.hpp>
#include <xtape/engine/op.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/ops/located.hpp>
#include <xtape/engine/ops/offsets.hpp>

#include <fmt/format.h>

namespace xtape {
namespace {

/// Whether a [S, 1, ..., D] serves all slots of b [S, ..., D].
bool serves_slots(const Shape& a, const Shape& b) {
    return a.rank() == b.rank() && b.rank() > 2 && a[0] == b[0] && a[-1] == b[-1] && a.size() == a[0] * a[-1];
}

/// The scan of b, whose a is of b's shape or serves its slots.
kernels::Scan scan_of(const Shape& a, const Shape& b, const View<std::int32_t>& offsets, ScanOptions options) {
    const Index row = b.without(0).size();
    const Index columns = a == b ? row : b[-1];
    return {.steps = b[0],
            .slots = columns == 0 ? 0 : row / columns,
            .columns = columns,
            .exclusive = options.exclusive,
            .sequences = {offsets.data, offsets ? offsets.size() - 1 : 1}};
}

/// h_t = a_t h_{t−1} + b_t. With g_t = dh_t + a_{t+1} g_{t+1}: db_t = g_t, da_t = Σ over slots of g_t h_{t−1}.
template <class T> struct CausalScan {
    static constexpr std::string_view name = "causal_scan";
    static constexpr std::array optional{2};  // offsets
    ScanOptions options;

    Shape shape(const Shape&, const Shape& b, const Indices& offsets) const {
        if (offsets) check_offsets(name, "b", offsets, b[0]);
        return b;
    }

    void forward(View<T> a, View<T> b, View<std::int32_t> offsets, Out<T> y) const {
        const auto state = Tensor<T>::unwritten(b.shape.without(0));
        kernels::scan<T>(scan_of(a.shape, b.shape, offsets, options), a.data, b.data, y.data, state.body()->data,
                         nullptr);
    }
    void vjp(Grad<0, T> da, Grad<1, T> db, Input<0, T> a, Input<2, std::int32_t> offsets, Output<T> y,
             Cotangent<T> dy) const {
        const auto carry = Tensor<T>::unwritten(dy.shape.without(0));
        kernels::scan_backward<T>(scan_of(a.shape, dy.shape, offsets, options),
                                  {a.data, dy.data, da.data, db.data, da.accumulate, db.accumulate, carry.body()->data},
                                  y.data);
    }
};

/// The same; the backward computes h again from every √S-th state.
template <class T> struct CheckpointedScan {
    static constexpr std::string_view name = "causal_scan";
    static constexpr std::array optional{2};  // offsets
    ScanOptions options;

    Shape shape(const Shape& a, const Shape& b, const Indices& offsets) const {
        return CausalScan<T>{options}.shape(a, b, offsets);
    }
    std::array<Shape, 1> saved(const Shape&, const Shape& b, const Indices&) const {
        return {b.with(0, kernels::checkpoints(b[0]))};
    }

    void forward(View<T> a, View<T> b, View<std::int32_t> offsets, Out<T> y, Out<T> states) const {
        const auto state = Tensor<T>::unwritten(b.shape.without(0));
        kernels::scan<T>(scan_of(a.shape, b.shape, offsets, options), a.data, b.data, y.data, state.body()->data,
                         states.data);
    }
    void vjp(Grad<0, T> da, Grad<1, T> db, Input<0, T> a, Input<1, T> b, Input<2, std::int32_t> offsets,
             Saved<0, T> states, Cotangent<T> dy) const {
        const Shape row = dy.shape.without(0);
        const auto carry = Tensor<T>::unwritten(row), state = Tensor<T>::unwritten(row);
        const auto again = Tensor<T>::unwritten(dy.shape.with(0, kernels::checkpoint_interval(dy.shape[0])));
        kernels::scan_backward<T>(scan_of(a.shape, dy.shape, offsets, options),
                                  {a.data, dy.data, da.data, db.data, da.accumulate, db.accumulate, carry.body()->data},
                                  b.data, states.data, state.body()->data, again.body()->data);
    }
};

/// Throws unless a broadcasts to b and b has steps.
void check_steps(const Shape& a, const Shape& b) {
    const auto fail = [&](std::string_view wrong) {
        throw ShapeError(fmt::format("causal_scan: {}: a is {}, b is {}", wrong, to_string(a), to_string(b)));
    };
    if (b.rank() == 0) fail("a scalar has no steps");
    if (broadcast("causal_scan", a, b) != b) fail("a does not broadcast to b");
}

}  // namespace

template <Real T>
Tensor<T> causal_scan(const Tensor<T>& a, const Tensor<T>& b, const Indices& offsets, ScanOptions options,
                      Where where) {
    located(where, [&] { check_steps(a.shape(), b.shape()); });
    const bool fits = a.shape() == b.shape() || serves_slots(a.shape(), b.shape());
    const Tensor<T> gate = fits ? a : broadcast_to(a, b.shape(), where);
    if (options.checkpointed) return apply<T>(CheckpointedScan<T>{options}, where, gate, b, offsets);
    return apply<T>(CausalScan<T>{options}, where, gate, b, offsets);
}

template Tensor<float> causal_scan(const Tensor<float>&, const Tensor<float>&, const Indices&, ScanOptions, Where);
template Tensor<double> causal_scan(const Tensor<double>&, const Tensor<double>&, const Indices&, ScanOptions, Where);

}  // namespace xtape
