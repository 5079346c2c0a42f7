#include <xtape/engine/ops.hpp>
#include <xtape/tools/op_table.hpp>

namespace xtape::tools {
namespace {

Shape last_extent(const Shapes& shapes) { return {shapes[0].columns()}; }
Shape first_shape(const Shapes& shapes) { return shapes[0]; }

Indices draw_ids(Index count, Index below, nn::Rng& rng) {
    std::vector<std::int32_t> ids;
    for (Index i = 0; i < count; ++i) ids.push_back(static_cast<std::int32_t>(rng.below(below)));
    return indices(ids);
}

std::vector<SubjectInput> draw_targets(const Shapes& shapes, nn::Rng& rng) {
    return {{"targets", "the right column of each row", draw_ids(shapes[0].rows(), shapes[0].columns(), rng)}};
}

std::vector<SubjectInput> draw_classes(const Shapes& shapes, nn::Rng& rng) {
    return {{"targets", "the right row of w for each row of x", draw_ids(shapes[0].rows(), shapes[1][0], rng)}};
}

std::vector<SubjectInput> draw_rows(const Shapes& shapes, nn::Rng& rng) {
    return {{"ids", "rows of the table", draw_ids(2 * shapes[0][0] + 1, shapes[0][0], rng)}};
}

std::vector<SubjectInput> draw_positions(const Shapes& shapes, nn::Rng&) {
    std::vector<std::int32_t> positions;
    for (Index t = 0; t < shapes[0].rows(); ++t) positions.push_back(static_cast<std::int32_t>(t));
    return {{"positions", "t of each row", indices(positions)}};
}

/// An elementwise op, or one of rows, of one tensor.
OpEntry of_one(std::string name, std::string formula, auto f) {
    return {std::move(name), {"x"}, 1, std::move(formula), [f](auto x, const OpExtras&) { return f(x[0]); }};
}

}  // namespace

const std::vector<OpEntry>& op_table() {
    static const std::vector<OpEntry> all{
        of_one("exp", "e^x", [](const auto& x) { return exp(x); }),
        of_one("tanh", "tanh(x)", [](const auto& x) { return tanh(x); }),
        of_one("sigmoid", "1 / (1 + e^−x)", [](const auto& x) { return sigmoid(x); }),
        of_one("silu", "x / (1 + e^−x)", [](const auto& x) { return silu(x); }),
        of_one("gelu", "x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))", [](const auto& x) { return gelu(x); }),
        of_one("relu", "max(x, 0)", [](const auto& x) { return relu(x); }),
        of_one("relu_squared", "max(x, 0)²", [](const auto& x) { return relu_squared(x); }),
        of_one("softmax", "e^x / Σ e^x, over the last axis", [](const auto& x) { return softmax(x); }),
        of_one("log_softmax", "x − log Σ e^x, over the last axis", [](const auto& x) { return log_softmax(x); }),
        of_one("logsumexp", "log Σ e^x; the last axis is dropped", [](const auto& x) { return logsumexp(x); }),
        {"add", {"a", "b"}, 2, "a + b, broadcast as in NumPy", [](auto x, const OpExtras&) { return x[0] + x[1]; }},
        {"mul", {"a", "b"}, 2, "a b, broadcast as in NumPy", [](auto x, const OpExtras&) { return x[0] * x[1]; }},
        {"matmul",
         {"a", "b"},
         2,
         "a b, for a [m, k] and b [k, n]",
         [](auto x, const OpExtras&) { return matmul(x[0], x[1], {}, Where{}); }},
        {"linear",
         {"x", "weight", "bias"},
         2,
         "x weight + bias, for x [m, k] and weight [k, n]",
         [](auto x, const OpExtras&) { return linear(x[0], x[1], x[2], {}, Where{}); },
         [](const Shapes& s) { return Shape{s[1].columns()}; }},
        {"linear_relu",
         {"x", "weight", "bias"},
         2,
         "max(x weight + bias, 0), for x [m, k] and weight [k, n]",
         [](auto x, const OpExtras&) { return linear(x[0], x[1], x[2], {.relu = true}, Where{}); },
         [](const Shapes& s) { return Shape{s[1].columns()}; }},
        {"rms_norm",
         {"x", "weight"},
         1,
         "weight x / sqrt(mean(x²) + 1e-5), over the last axis",
         [](auto x, const OpExtras&) { return rms_norm(x[0], x[1]); },
         last_extent},
        {"layer_norm",
         {"x", "weight", "bias"},
         1,
         "weight (x − mean(x)) / sqrt(var(x) + 1e-5) + bias, over the last axis; var is the mean of the squared "
         "differences",
         [](auto x, const OpExtras&) { return layer_norm(x[0], x[1], x[2]); },
         last_extent},
        {"rope",
         {"x"},
         1,
         "pair (a, b) = channels 2i, 2i + 1 of each head of width h becomes (a cos φ − b sin φ, a sin φ + b cos φ), φ "
         "= t "
         "10000^(−2i/h)",
         [](auto x, const OpExtras& e) { return rope(x[0], e[0], {.heads = e.heads}, Where{}); },
         {},
         draw_positions,
         true},
        {"attention",
         {"q", "k", "v"},
         1,
         "o_t = Σ_(s ≤ t) softmax_s(q_t·k_s / √h) v_s, head by head, for q [N, heads h] and k, v of the same shape",
         [](auto x, const OpExtras& e) { return causal_attention(x[0], x[1], x[2], {}, {.heads = e.heads}, Where{}); },
         first_shape,
         {},
         true},
        {"causal_scan",
         {"a", "b"},
         1,
         "h_t = a_t h_(t−1) + b_t along the first axis, from h = 0",
         [](auto x, const OpExtras&) { return causal_scan(x[0], x[1]); },
         first_shape},
        {"embedding",
         {"table"},
         1,
         "the rows ids of the table",
         [](auto x, const OpExtras& e) { return embedding(x[0], e[0]); },
         {},
         draw_rows},
        {"cross_entropy",
         {"logits"},
         1,
         "the mean over rows of −log softmax(logits)[target]",
         [](auto x, const OpExtras& e) { return cross_entropy(x[0], e[0]); },
         {},
         draw_targets},
        {"linear_cross_entropy",
         {"x", "w"},
         2,
         "the cross_entropy of logits x wᵀ, for x [..., D] and w [V, D]",
         [](auto x, const OpExtras& e) { return linear_cross_entropy(x[0], x[1], e[0]); },
         {},
         draw_classes},
        {"mean_squared_error",
         {"a", "b"},
         1,
         "the mean of (a − b)²",
         [](auto x, const OpExtras&) { return mean_squared_error(x[0], x[1]); },
         first_shape},
    };
    return all;
}

}  // namespace xtape::tools
