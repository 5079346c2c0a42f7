// The slot memory of a linear recurrent layer: two scans a slot and their weighted sums, fused.

#include <xtape/engine/kernels/slot_memory.hpp>
#include <xtape/engine/op.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/ops/offsets.hpp>

#include <fmt/format.h>

namespace xtape {
namespace {

template <class T> struct SlotMemory {
    static constexpr std::string_view name = "slot_memory";
    static constexpr std::array optional{5};  // offsets

    Shape shape(const Shape& decay, const Shape& write, const Shape& read, const Shape& k, const Shape& v,
                const Indices& offsets) const {
        if (decay.rank() != 2 || k != decay || v != decay)
            throw ShapeError(
                fmt::format("slot_memory: decay, k and v must be matrices of one shape: decay is {}, k is "
                            "{}, v is {}",
                            to_string(decay), to_string(k), to_string(v)));
        if (write.rank() != 2 || write[0] != decay[0] || read != write)
            throw ShapeError(
                fmt::format("slot_memory: write and read must have a row for each of the {} steps: write "
                            "is {}, read is {}",
                            decay[0], to_string(write), to_string(read)));
        if (offsets) check_offsets(name, "decay", offsets, decay[0]);
        return {2, decay[0], decay[1]};
    }
    std::array<Shape, 1> saved(const Shape& decay, const Shape& write, const Shape&, const Shape&, const Shape&,
                               const Indices&) const {
        return {Shape{kernels::checkpoints(decay[0]), 2, write[1], decay[1]}};
    }

    void forward(View<T> decay, View<T> write, View<T> read, View<T> k, View<T> v, View<std::int32_t> offsets, Out<T> y,
                 Out<T> states) const {
        const kernels::SlotMemory memory = memory_of(decay.shape, write.shape, offsets);
        const auto state = Tensor<T>::unwritten(Shape{memory.state()});
        kernels::slot_memory<T>(memory, {decay.data, write.data, read.data, k.data, v.data},
                                {y.data, y.data + decay.size()}, states.data, state.body()->data);
    }
    /// With g_m the gradient of the state behind a step: dwrite_m = Σ g_m·k (v), dread_m = dy·state_m, ddecay = Σ_m
    /// g_m ⊙ state_m, d(k v) = Σ_m write_m g_m, and g_m ← decay ⊙ g_m + read_m dy.
    void vjp(Grad<0, T> ddecay, Grad<1, T> dwrite, Grad<2, T> dread, Grad<3, T> dk, Grad<4, T> dv, Input<0, T> decay,
             Input<1, T> write, Input<2, T> read, Input<3, T> k, Input<4, T> v, Input<5, std::int32_t> offsets,
             Saved<0, T> states, Cotangent<T> dy) const {
        const kernels::SlotMemory memory = memory_of(decay.shape, write.shape, offsets);
        const auto carry = Tensor<T>::unwritten(Shape{memory.state()});
        const auto again = Tensor<T>::unwritten(Shape{kernels::checkpoint_interval(memory.steps), memory.state()});
        const auto sums =
            Tensor<T>::unwritten(Shape{kernels::slot_memory_tiles<T>(memory.columns), memory.steps, 2 * memory.slots});
        kernels::slot_memory_backward<T>(memory, {decay.data, write.data, read.data, k.data, v.data}, states.data,
                                         {dy.data, dy.data + decay.size()},
                                         {ddecay.data, dwrite.data, dread.data, dk.data, dv.data, ddecay.accumulate,
                                          dwrite.accumulate, dread.accumulate, dk.accumulate, dv.accumulate},
                                         {carry.body()->data, again.body()->data, sums.body()->data});
    }

private:
    static kernels::SlotMemory memory_of(const Shape& decay, const Shape& write, const View<std::int32_t>& offsets) {
        return {.steps = decay[0],
                .slots = write[1],
                .columns = decay[1],
                .sequences = {offsets.data, offsets ? offsets.size() - 1 : 1}};
    }
};

}  // namespace

template <Real T>
Tensor<T> slot_memory(const Tensor<T>& decay, const Tensor<T>& write, const Tensor<T>& read, const Tensor<T>& k,
                      const Tensor<T>& v, const Indices& offsets, Where where) {
    return apply<T>(SlotMemory<T>{}, where, decay, write, read, k, v, offsets);
}

template Tensor<float> slot_memory(const Tensor<float>&, const Tensor<float>&, const Tensor<float>&,
                                   const Tensor<float>&, const Tensor<float>&, const Indices&, Where);
template Tensor<double> slot_memory(const Tensor<double>&, const Tensor<double>&, const Tensor<double>&,
                                    const Tensor<double>&, const Tensor<double>&, const Indices&, Where);

}  // namespace xtape
