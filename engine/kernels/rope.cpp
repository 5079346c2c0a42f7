#include <xtape/engine/kernels/rope.hpp>
#include <xtape/engine/kernels/rows.hpp>

#include <cmath>

namespace xtape::kernels {
namespace {

/// Pairs that are rotated at a time.
constexpr Index most_pairs = 128;

/// The rotations of some pairs at one position: for each channel where interleaved (the sine with the sign that its
/// partner in the pair takes), else for each pair.
template <class T> struct Rotations { Local<T, 2 * most_pairs> cos, sin; };

template <class T>
void rotations(Index pairs, double position, const double* frequencies, bool interleaved, Rotations<T>& to) {
    Local<double, most_pairs> cosines, sines;
    for_batches<double>(pairs, [&](Index i, auto count) {
        const auto [sine, cosine] = sincos(get(frequencies + i, count) * position);
        put(cosines.data() + i, cosine, count);
        put(sines.data() + i, sine, count);
    });
    for (Index i = 0; i < pairs; ++i) {
        const T cosine = static_cast<T>(cosines[i]), sine = static_cast<T>(sines[i]);
        if (interleaved) {
            to.cos[2 * i] = to.cos[2 * i + 1] = cosine;
            to.sin[2 * i] = -sine;
            to.sin[2 * i + 1] = sine;
        } else {
            to.cos[i] = cosine;
            to.sin[i] = sine;
        }
    }
}

/// Pairs of neighbours.
template <class T, class Add> void rotate_neighbours(Index pairs, const Rotations<T>& by, const T* x, T* y, Add add) {
    for_batches<T>(2 * pairs, [&](Index i, auto count) {
        const Batch<T> v = get(x + i, count);
        const Batch<T> partner = shuffle(v, v, [](int lane) { return lane ^ 1; });
        put(y + i, v * get(by.cos.data() + i, count) + partner * get(by.sin.data() + i, count), count, add);
    });
}

/// Pairs whose second channels lie `half` behind the first.
template <class T, class Add>
void rotate_halves(Index pairs, Index half, const Rotations<T>& by, const T* x, T* y, Add add) {
    for_batches<T>(pairs, [&](Index i, auto count) {
        const Batch<T> a = get(x + i, count), b = get(x + half + i, count);
        const Batch<T> cosine = get(by.cos.data() + i, count), sine = get(by.sin.data() + i, count);
        put(y + i, a * cosine - b * sine, count, add);
        put(y + half + i, a * sine + b * cosine, count, add);
    });
}

}  // namespace

void rope_frequencies(Index pairs, double theta, double* y) {
    for (Index i = 0; i < pairs; ++i) y[i] = std::pow(theta, -static_cast<double>(i) / static_cast<double>(pairs));
}

template <class T> void rope(const Rope& shape, bool back, const T* x, T* y, bool accumulate) {
    const Index width = 2 * shape.pairs, columns = shape.heads * width;
    const auto rotate_row = [=](Index row, auto add) {
        const double position = back ? -shape.positions[row] : shape.positions[row];
        for (Index first = 0; first < shape.pairs; first += most_pairs) {
            const Index pairs = std::min(most_pairs, shape.pairs - first);
            Rotations<T> by;
            rotations(pairs, position, shape.frequencies + first, shape.interleaved, by);
            for (Index head = row * shape.heads; head < (row + 1) * shape.heads; ++head) {
                if (shape.interleaved)
                    rotate_neighbours(pairs, by, x + head * width + 2 * first, y + head * width + 2 * first, add);
                else
                    rotate_halves(pairs, shape.pairs, by, x + head * width + first, y + head * width + first, add);
            }
        }
    };
    with_constant(accumulate,
                  [=](auto add) { each_row<T>(shape.rows, columns, [=](Index row) { rotate_row(row, add); }); });
}

template void rope(const Rope&, bool, const float*, float*, bool);
template void rope(const Rope&, bool, const double*, double*, bool);

}  // namespace xtape::kernels
