#include <xtape/tests/reference/layer_norm.hpp>
#include <xtape/tests/reference/lrnn_kernels.hpp>
#include <xtape/tests/reference/model.hpp>

#include "../catch.hpp"
#include "directional.hpp"

#include <limits>

namespace test_lrnn_kernels {

using namespace xtape::reference;
using namespace xtape::test;

namespace {

using M = Matrix<double>;

/// Three sequences, of 7, 1 and 4 rows.
const std::vector<int> offsets{0, 7, 8, 12};
const std::vector<int> positions = positions_of(offsets);
constexpr int rows = 12, width = 3, slots = 2;

M rows_of(const Values& values) { return matrix(rows, static_cast<int>(values.size()) / rows, values); }

Values random_rows(std::uint64_t seed, int columns = width) {
    return normals(static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns), seed);
}

Values random_channels(std::uint64_t seed) { return normals(width, seed); }

TokenShift<double> token_shift(const Inputs& x) { return {{x[1], x[2], x[3]}}; }

Values positive(Values values) {
    for (double& value : values) value = std::exp(value);
    return values;
}

/// Inputs a, x, write and read of the scan; as gradients where the values are.
struct ScanMatrices {
    M a, x, write, read;

    explicit ScanMatrices(const Inputs& in)
        : a(rows_of(in[0])), x(rows_of(in[1])), write(rows_of(in[2])), read(rows_of(in[3])) {}
    SlotScan<const M> values() const { return {a, x, write, read}; }
    SlotScan<M> gradients() { return {a, x, write, read}; }
    Inputs all() const { return {a.values, x.values, write.values, read.values}; }
};

Inputs scan_inputs() {
    Values decays = random_rows(1);
    for (double& a : decays) a = sigmoid(a + 2);
    return {decays, random_rows(2), random_rows(3, slots), random_rows(4, slots)};
}

struct Scanned {
    M y, starts;
};

Scanned scan(const Inputs& in, const std::vector<Chunk>& chunks) {
    Scanned out{M(rows, width), M(static_cast<int>(chunks.size()), slots * width)};
    slot_scan_forward(out.y, out.starts, ScanMatrices(in).values(), chunks);
    return out;
}

Inputs scan_gradients(const Inputs& in, const Values& dy, int chunk, Carry carry) {
    const std::vector<Chunk> chunks = chunks_of(offsets, chunk);
    ScanMatrices gradients(in);
    for (M* each : {&gradients.a, &gradients.x, &gradients.write, &gradients.read}) set_zero(*each);
    slot_scan_backward(gradients.gradients(), rows_of(dy), scan(in, chunks).starts, ScanMatrices(in).values(), chunks,
                       carry);
    return gradients.all();
}

}  // namespace

TEST_CASE("reference layer_norm: rows have mean 0 and variance 1, gradients are those of the forward") {
    M y(rows, width);
    layer_norm_forward(y, rows_of(random_rows(1)), {Values(width, 1.0), Values(width, 0.0)}, 0.0);
    for (int t = 0; t < rows; ++t) {
        CHECK(std::abs(y[t][0] + y[t][1] + y[t][2]) < 1e-12);
        CHECK(xtape::reference::dot(y[t], y[t], width) == Approx(width));
    }
    for (const double epsilon : {1e-6, 1e-5})
        check_kernel(
            {random_rows(1, 5), normals(5, 2), normals(5, 3)},
            [&](const Inputs& in) {
                M out(rows, 5);
                layer_norm_forward(out, rows_of(in[0]), {in[1], in[2]}, epsilon);
                return out.values;
            },
            [&](Inputs& d, const Values& dy) {
                const Values x = random_rows(1, 5);
                M dx = rows_of(d[0]);
                LayerNorm<double> dnorm{d[1], d[2]};
                layer_norm_backward(dx, dnorm, rows_of(dy), rows_of(x), {normals(5, 2), normals(5, 3)}, epsilon);
                d = {dx.values, dnorm.weight, dnorm.bias};
            });
}

TEST_CASE("reference lrnn kernels: elementwise gradients are those of the forward") {
    const Values x = random_rows(1), other = random_rows(2), channels = random_channels(3);
    SECTION("sigmoid") {
        const auto forward = [](const Inputs& in) {
            Values y(in[0].size());
            sigmoid_forward(y, in[0]);
            return y;
        };
        check_kernel({x}, forward,
                     [&](Inputs& d, const Values& dy) { sigmoid_backward(d[0], dy, forward(Inputs{x})); });
    }
    SECTION("clamped exponential") {
        const auto forward = [](const Inputs& in) {
            Values y(in[0].size());
            clamped_exp_forward(y, in[0]);
            return y;
        };
        check_kernel({x}, forward,
                     [&](Inputs& d, const Values& dy) { clamped_exp_backward(d[0], dy, x, forward(Inputs{x})); });
    }
    SECTION("product") {
        check_kernel(
            {x, other},
            [](const Inputs& in) {
                M y(rows, width);
                multiply_forward(y, rows_of(in[0]), rows_of(in[1]));
                return y.values;
            },
            [&](Inputs& d, const Values& dy) {
                M da = rows_of(d[0]), db = rows_of(d[1]);
                multiply_backward(da, db, rows_of(dy), rows_of(x), rows_of(other));
                d = {da.values, db.values};
            });
    }
    SECTION("column factors") {
        check_kernel(
            {x},
            [&](const Inputs& in) {
                M y(rows, width);
                scale_columns_forward(y, rows_of(in[0]), channels);
                return y.values;
            },
            [&](Inputs& d, const Values& dy) {
                M dx = rows_of(d[0]);
                scale_columns_backward(dx, rows_of(dy), channels);
                d = {dx.values};
            });
    }
    SECTION("biased sigmoid") {
        const auto forward = [](const Inputs& in) {
            M y(rows, width);
            biased_sigmoid_forward(y, rows_of(in[0]), in[1]);
            return y.values;
        };
        check_kernel({x, channels}, forward, [&](Inputs& d, const Values& dy) {
            M dx = rows_of(d[0]);
            biased_sigmoid_backward(dx, d[1], rows_of(dy), rows_of(forward(Inputs{x, channels})));
            d[0] = dx.values;
        });
    }
    SECTION("swiglu") {
        check_kernel(
            {x, other},
            [](const Inputs& in) {
                M y(rows, width);
                swiglu_forward(y, rows_of(in[0]), rows_of(in[1]));
                return y.values;
            },
            [&](Inputs& d, const Values& dy) {
                M dgate = rows_of(d[0]), dup = rows_of(d[1]);
                swiglu_backward(dgate, dup, rows_of(dy), rows_of(x), rows_of(other));
                d = {dgate.values, dup.values};
            });
    }
}

TEST_CASE("reference clamped_exp: gradient passes at the bounds, not beyond, and a NaN passes") {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const Values x{-11, -10, 10, 11, nan};
    Values y(5), dx(5);
    clamped_exp_forward(y, x);
    clamped_exp_backward(dx, Values(5, 1.0), x, y);
    CHECK(y[0] == std::exp(-10.0));
    CHECK(y[3] == std::exp(10.0));
    CHECK(dx[0] == 0);
    CHECK(dx[1] == y[1]);
    CHECK(dx[2] == y[2]);
    CHECK(dx[3] == 0);
    CHECK(std::isnan(y[4]));
    CHECK(std::isnan(dx[4]));
}

TEST_CASE("reference row_softmax: rows sum to one, gradient is that of the forward") {
    const Values x = random_rows(1);
    const auto forward = [](const Inputs& in) {
        M y(rows, width);
        row_softmax_forward(y, rows_of(in[0]));
        return y.values;
    };
    M y = rows_of(forward(Inputs{x}));
    for (int t = 0; t < rows; ++t) CHECK(y[t][0] + y[t][1] + y[t][2] == Approx(1));
    check_kernel({x}, forward, [&](Inputs& d, const Values& dy) {
        M dx = rows_of(d[0]);
        row_softmax_backward(dx, rows_of(dy), y);
        d = {dx.values};
    });
}

TEST_CASE("reference previous, mix and token shift: gradients are those of the forward on ragged sequences") {
    const Values x = random_rows(1), other = random_rows(2);
    SECTION("previous") {
        check_kernel(
            {x},
            [](const Inputs& in) {
                M y(rows, width);
                previous_forward(y, rows_of(in[0]), positions.data());
                return y.values;
            },
            [](Inputs& d, const Values& dy) {
                M dx = rows_of(d[0]);
                previous_backward(dx, rows_of(dy), positions.data());
                d = {dx.values};
            });
    }
    SECTION("mix") {
        const Values w = random_channels(3);
        check_kernel(
            {x, other, w},
            [](const Inputs& in) {
                M y(rows, width);
                mix_forward(y, rows_of(in[0]), rows_of(in[1]), in[2]);
                return y.values;
            },
            [&](Inputs& d, const Values& dy) {
                M da = rows_of(d[0]), db = rows_of(d[1]);
                mix_backward(da, db, d[2], rows_of(dy), rows_of(x), rows_of(other), w);
                d = {da.values, db.values, d[2]};
            });
    }
    SECTION("token shift") {
        const Inputs inputs{x, random_channels(3), random_channels(4), random_channels(5)};
        const auto forward = [](const Inputs& in) {
            M s(rows, width);
            token_shift_forward(s, rows_of(in[0]), token_shift(in), positions.data());
            return s.values;
        };
        check_kernel(inputs, forward, [&](Inputs& d, const Values& dy) {
            M dn = rows_of(d[0]);
            TokenShift<double> dshift = token_shift(d);
            token_shift_backward(dn, dshift, rows_of(dy), rows_of(forward(inputs)), rows_of(x), token_shift(inputs),
                                 positions.data());
            d = {dn.values, dshift.w[0], dshift.w[1], dshift.w[2]};
        });
    }
}

TEST_CASE("reference slot scan: gradients are those of the forward, whatever the chunk") {
    const Inputs inputs = scan_inputs();
    for (const int chunk : {1, 3, 16}) {
        INFO("chunks of " << chunk);
        const std::vector<Chunk> chunks = chunks_of(offsets, chunk);
        check_kernel(
            inputs, [&](const Inputs& in) { return scan(in, chunks).y.values; },
            [&](Inputs& d, const Values& dy) {
                ScanMatrices gradients(d);
                slot_scan_backward(gradients.gradients(), rows_of(dy), scan(inputs, chunks).starts,
                                   ScanMatrices(inputs).values(), chunks);
                d = gradients.all();
            });
    }
}

TEST_CASE("reference slot scan: the carry matters only between chunks of one sequence, and not for the reads") {
    const Inputs inputs = scan_inputs();
    const Values dy = random_rows(9);
    CHECK(scan_gradients(inputs, dy, 7, Carry::lost) == scan_gradients(inputs, dy, 7, Carry::kept));
    const auto lost = scan_gradients(inputs, dy, 3, Carry::lost), kept = scan_gradients(inputs, dy, 3, Carry::kept);
    for (const std::size_t i : {0u, 1u, 2u}) CHECK(relative_error(lost[i], kept[i]) > 1e-3);
    CHECK(lost[3] == kept[3]);
}

TEST_CASE("reference wkv: gradients are those of the forward") {
    const Inputs inputs{random_rows(1), positive(random_rows(2)), random_rows(3), positive(random_rows(4)),
                        positive(random_channels(5))};
    const auto forward = [](const Inputs& in) {
        M y(rows, width);
        wkv_forward(y, rows_of(in[0]), rows_of(in[1]), rows_of(in[2]), rows_of(in[3]), in[4]);
        return y.values;
    };
    check_kernel(inputs, forward, [&](Inputs& d, const Values& dy) {
        M dnum = rows_of(d[0]), dden = rows_of(d[1]), dkv = rows_of(d[2]), dk = rows_of(d[3]);
        wkv_backward(dnum, dden, dkv, dk, d[4], rows_of(dy), rows_of(forward(inputs)), rows_of(inputs[1]),
                     rows_of(inputs[2]), rows_of(inputs[3]), inputs[4]);
        d = {dnum.values, dden.values, dkv.values, dk.values, d[4]};
    });
}

TEST_CASE(
    "reference smoothed cross entropy: gradient is that of the forward, without smoothing that of the plain loss") {
    std::vector<int> targets;
    for (int t = 0; t < rows; ++t) targets.push_back(t % 3);
    const Values z = random_rows(1);
    CHECK(smoothed_cross_entropy_forward(rows_of(z), targets.data(), 0.0) ==
          Approx(cross_entropy_forward(rows_of(z), targets.data())).epsilon(1e-14));
    for (const double smoothing : {0.0, 0.1})
        check_directions(
            z,
            [&] {
                M dz(rows, width);
                smoothed_cross_entropy_backward(dz, 1.0, rows_of(z), targets.data(), smoothing);
                return dz.values;
            }(),
            [&](const Values& moved) {
                return smoothed_cross_entropy_forward(rows_of(moved), targets.data(), smoothing);
            });
}

}  // namespace test_lrnn_kernels
