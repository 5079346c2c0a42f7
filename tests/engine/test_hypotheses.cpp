#include <xtape/engine/check/hypotheses.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/tests/catch.hpp>
#include <xtape/tests/engine/laws.hpp>

#include <fmt/format.h>

namespace test_hypotheses {

namespace {

using namespace xtape;
using laws::uniform;
using D = Tensor<double>;

/// The values of one tensor with the slope of another: a wrong vjp, made without the machinery that finds it.
D as_if(const D& value, const D& slope) { return detach(value - slope) + slope; }

constexpr Index S = 6, width = 8, vocab = 5;
constexpr int layers = 2, heads = 2;
const Indices tokens = indices({0, 3, 1, 3, 4, 2}), targets = indices({3, 1, 3, 4, 2, 0});
const Indices positions = indices({0, 1, 2, 3, 4, 5}), back = indices({0, -1, -2, -3, -4, -5});
const RopeOptions pairs{.heads = heads}, halves{.heads = heads, .form = RopeForm::half_split};

/// One thing done wrong in the backward pass of `loss_of`.
enum class Wrong {
    none,
    query_dropped,  // sent nothing to the normed input
    query_negated,
    query_scaled,
    only_values,  // left of what queries, keys and values send there
    residual_twice,
    residual_twice_in_last,
    weights_frozen,
    norm_skipped,
    norm_second_missing,
    norm_factor,
    norm_extra_weight,
    norm_before_residual,
    rope_forward,
    rope_pairs,
    past_dropped,
    past_inputs,
    smoothed,
    transposed,
    not_transposed,
    formed_with_norm,
    overwritten_rows,
    last_row_left_out,
};

struct Model {
    Parameter<double> table{uniform({vocab, width}, -1, 1, 1)};
    struct Layer {
        Parameter<double> norm, wq, wk, wv, wo, mlp_norm, up;
    };
    std::vector<Layer> all;
    Parameter<double> head{uniform({width, vocab}, -1, 1, 2)};

    Model() {
        for (std::uint64_t l = 0; l < layers; ++l) {
            const auto square = [&](std::uint64_t seed) { return uniform({width, width}, -1, 1, 10 * l + seed); };
            const auto around_one = [&](std::uint64_t seed) { return uniform({width}, 0.5, 1.5, 10 * l + seed); };
            all.push_back({Parameter(around_one(11)), Parameter(square(12)), Parameter(square(13)),
                           Parameter(square(14)), Parameter(square(15)), Parameter(around_one(16)),
                           Parameter(square(17))});
        }
    }

    std::vector<std::string> names() const {
        std::vector<std::string> names{"table"};
        for (std::size_t l = 0; l < all.size(); ++l)
            for (const char* name : {"norm", "wq", "wk", "wv", "wo", "mlp_norm", "up"})
                names.push_back(fmt::format("layers.{}.{}", l, name));
        names.emplace_back("head");
        return names;
    }
    std::vector<const D*> parameters() const {
        std::vector<const D*> of{&table};
        for (const Layer& l : all) of.insert(of.end(), {&l.norm, &l.wq, &l.wk, &l.wv, &l.wo, &l.mlp_norm, &l.up});
        of.push_back(&head);
        return of;
    }
};

/// rms_norm; what is wrong with it is the part −x̂ rstd mean(g x̂) of its vjp.
D norm(const D& x, const D& w, Wrong wrong) {
    const D right = rms_norm(x, w, 0);
    const D rstd = detach(rsqrt(mean(x * x, {-1}, true)));
    const D first = x * rstd * w;
    const auto second = [&](const D& z, const D& weight) { return rms_norm(z, weight, 0) - z * rstd * weight; };
    switch (wrong) {
        case Wrong::weights_frozen:
            return rms_norm(x, detach(w), 0);
        case Wrong::norm_skipped:
            return as_if(right, x + detach(x) * rstd * w);
        case Wrong::norm_second_missing:
            return as_if(right, first);
        case Wrong::norm_factor:
            return as_if(right, first + second(x, detach(w)) / rstd);
        case Wrong::norm_extra_weight:
            return as_if(right, first + second(as_if(x, x * detach(w)), detach(w)));
        default:
            return right;
    }
}

/// The part of attention's vjp that keys and values of the same position get, all positions being queries in turn.
D present_attention(const D& q, const D& k, const D& v) {
    std::vector<D> rows;
    for (Index t = 0; t < S; ++t) {
        const auto seen = [&](const D& x) {
            const D own = slice(x, 0, t, t + 1);
            return t == 0 ? own : concat({detach(slice(x, 0, 0, t)), own}, 0);
        };
        rows.push_back(causal_attention(slice(q, 0, t, t + 1), seen(k), seen(v), {}, {.heads = heads}));
    }
    return concat(std::span<const D>(rows), 0);
}

D attend(const D& q, const D& k, const D& v, Wrong wrong) {
    const D right = causal_attention(q, k, v, {}, {.heads = heads});
    return wrong == Wrong::past_dropped ? as_if(right, present_attention(q, k, v)) : right;
}

D turn(const D& x, Wrong wrong) {
    const D right = rope(x, positions, pairs);
    if (wrong == Wrong::rope_forward) return as_if(right, rope(x, back, pairs));
    return wrong == Wrong::rope_pairs ? as_if(right, rope(x, positions, halves)) : right;
}

D attention_block(const D& n, const Model::Layer& l, Wrong wrong) {
    const bool lone = wrong == Wrong::only_values;
    const D q_sends = wrong == Wrong::query_dropped || lone ? detach(n)
                      : wrong == Wrong::query_negated       ? as_if(n, -n)
                      : wrong == Wrong::query_scaled        ? as_if(n, 0.3 * n)
                                                            : n;
    const D query = matmul(q_sends, l.wq);
    const D key = matmul(lone ? detach(n) : n, l.wk), value = matmul(n, l.wv);
    if (wrong != Wrong::past_inputs) return attend(turn(query, wrong), turn(key, wrong), value, wrong);
    // Weights see everything; what the positions get is that of the present.
    const D all = attend(turn(query, wrong), turn(matmul(detach(n), l.wk), wrong), matmul(detach(n), l.wv), wrong);
    const D present =
        present_attention(detach(turn(query, wrong)), turn(matmul(n, detach(l.wk)), wrong), matmul(n, detach(l.wv)));
    return as_if(all, all + present);
}

D loss_of(const Model& model, Wrong wrong) {
    D x = embedding(model.table, tokens);
    if (wrong == Wrong::overwritten_rows) {  // token 3 stands at 1 and 3
        const D keep({S, 1}, {1., 0., 1., 1., 1., 1.});
        x = as_if(x, x * keep);
    }
    for (int i = 0; i < layers; ++i) {
        const Scope scope("layers", i);
        const Model::Layer& l = model.all[static_cast<std::size_t>(i)];
        const D n = norm(x, l.norm, wrong), a = attention_block(n, l, wrong);
        const D wo = wrong == Wrong::transposed ? as_if(l.wo, transpose(as_if(transpose(l.wo), l.wo))) : D(l.wo);
        const bool part = wrong == Wrong::last_row_left_out;
        const D rows({S, 1}, {1., 1., 1., 1., 1., part ? 0. : 1.});
        const D o = wrong == Wrong::not_transposed
                        ? as_if(matmul(a, wo), matmul(a, detach(transpose(wo))) + matmul(detach(a), wo))
                    : wrong == Wrong::formed_with_norm
                        ? as_if(matmul(a, wo), matmul(a, detach(wo)) + matmul(detach(n), wo))
                        : matmul(a, wo);
        const D mid = x + (part ? as_if(o, o * rows) : o);
        const D normed = wrong == Wrong::norm_before_residual
                             ? as_if(norm(mid, l.mlp_norm, wrong), rms_norm(as_if(x, mid), l.mlp_norm, 0))
                             : norm(mid, l.mlp_norm, wrong);
        const bool twice =
            wrong == Wrong::residual_twice || (wrong == Wrong::residual_twice_in_last && i + 1 == layers);
        x = (twice ? as_if(mid, 2 * mid) : mid) + tanh(matmul(normed, l.up));
    }
    const D logits = matmul(x, model.head);
    const D loss = cross_entropy(logits, targets);
    return wrong == Wrong::smoothed ? as_if(loss, cross_entropy(logits, targets, {.label_smoothing = 0.1})) : loss;
}

std::vector<std::vector<double>> gradients_of(const Model& model, Wrong wrong) {
    Tape<double> tape;
    const D loss = loss_of(model, wrong);
    std::vector<std::vector<double>> gradients;
    for (const D& g : tape.gradient(loss, D(1.0), model.parameters()))
        gradients.emplace_back(g.values().begin(), g.values().end());
    return gradients;
}

GradReport explained(Wrong wrong) {
    const Model model;
    const auto truth = gradients_of(model, Wrong::none), candidates = gradients_of(model, wrong);
    const auto names = model.names();
    const auto of = model.parameters();
    std::vector<Evidence> evidence;
    for (std::size_t i = 0; i < of.size(); ++i)
        evidence.push_back({names[i], of[i]->shape(), truth[i], candidates[i], 0, {}});
    GradReport report = judge(evidence, {.precision = "f64"});
    Tape<double> tape({.keep_records = true});
    const D loss = loss_of(model, Wrong::none);
    check::explain(report, tape, loss, D(1.0), of, candidates);
    return report;
}

}  // namespace

TEST_CASE("explain: one fault is found in the tape, with its kind and its place") {
    struct Expected {
        Wrong wrong;
        std::string text;
    };
    for (const auto& [wrong, text] : {
             Expected{Wrong::query_dropped,
                      "term missing: the gradient of the output of rms_norm with layers.*.norm "
                      "through matmul with layers.*.wq is dropped (in every layer)"},
             Expected{Wrong::query_negated,
                      "sign: the gradient of the output of rms_norm with layers.*.norm through "
                      "matmul with layers.*.wq is negated (in every layer)"},
             Expected{Wrong::query_scaled,
                      "constant factor 0.3: the gradient of the output of rms_norm with "
                      "layers.*.norm through matmul with layers.*.wq (in every layer)"},
             Expected{Wrong::only_values,
                      "overwritten instead of accumulated: of the 3 gradients of the output of "
                      "rms_norm with layers.*.norm only that through matmul with layers.*.wv is "
                      "left (in every layer)"},
             Expected{Wrong::residual_twice,
                      "accumulated twice: the gradient of the output of 1st add at layers.* "
                      "through 2nd add at layers.* (in every layer)"},
             Expected{Wrong::residual_twice_in_last,
                      "accumulated twice: the gradient of the output of 1st add at "
                      "layers.1 through 2nd add at layers.1 (in one place)"},
             Expected{Wrong::weights_frozen,
                      "term missing: the gradient of input 1 through rms_norm is dropped (every "
                      "rms_norm)"},
             Expected{Wrong::norm_skipped,
                      "the gradient is passed on unchanged, as if the op were not there (every "
                      "rms_norm)"},
             Expected{Wrong::norm_second_missing, "the second term of the norm's vjp is missing (every rms_norm)"},
             Expected{Wrong::norm_factor,
                      "the second term of the norm's vjp lacks a factor 1/r: divided by D r², not D "
                      "r³ (every rms_norm)"},
             Expected{Wrong::norm_extra_weight,
                      "the norm's weight multiplies the second term of its vjp too: an extra "
                      "factor (every rms_norm)"},
             Expected{Wrong::norm_before_residual,
                      "the vjp is evaluated at another value: the first operand of what "
                      "made its input (rms_norm with layers.*.mlp_norm, in every layer)"},
             Expected{Wrong::formed_with_norm,
                      "the weight's gradient is formed with the output of rms_norm with "
                      "layers.*.norm in place of the input (matmul with layers.*.wo, in every "
                      "layer)"},
             Expected{Wrong::rope_forward, "the gradient is rotated forward instead of back (every rope)"},
             Expected{Wrong::rope_pairs,
                      "the gradient is rotated in the wrong pairs: interleaved for half-split, or "
                      "the reverse (every rope)"},
             Expected{Wrong::past_dropped,
                      "the gradient to past keys and values is dropped (causal_attention at "
                      "layers.*, in every layer)"},
             Expected{Wrong::past_inputs,
                      "past keys and values give gradients to their weights but send nothing to the "
                      "activations that they are made of (every causal_attention)"},
             Expected{Wrong::smoothed, "the gradient is that of a loss with 0.1 more label smoothing (cross_entropy)"},
             Expected{Wrong::transposed,
                      "the weight's gradient is transposed (matmul with layers.*.wo, in every "
                      "layer)"},
             Expected{Wrong::not_transposed,
                      "the weight is not transposed in the gradient of the input (matmul with "
                      "layers.*.wo, in every layer)"},
             Expected{Wrong::last_row_left_out,
                      "the last row of the cotangent is left out (matmul with layers.*.wo, in "
                      "every layer)"},
             Expected{Wrong::overwritten_rows,
                      "rows are overwritten instead of accumulated: the last position of an id "
                      "counts alone (embedding with table)"},
         }) {
        const GradReport report = explained(wrong);
        INFO(text << "\n" << report);
        CHECK(report.explanation);
        if (!report.explanation) continue;
        CHECK(to_string(*report.explanation) == text);
        for (const GradRow& row : report.rows)
            CHECK((row.verdict != Verdict::agree) ==
                  (std::ranges::count(report.explanation->parameters, row.name) == 1));
    }
}

namespace {

using Function = check::TensorFunction<double>;
using In = std::span<const D>;

std::string explanation_of(const Function& right, const Function& wrong, const std::vector<D>& inputs) {
    D cotangent;
    const auto random = [&](const D& y) { return cotangent = uniform(y.shape(), -1, 1, 7); };
    const auto truth = check::tape_gradients<double>(right, inputs, random);
    const auto candidate = check::tape_gradients<double>(wrong, inputs, random);
    const auto values = [](const D& x) {
        return x ? std::vector<double>(x.values().begin(), x.values().end()) : std::vector<double>();
    };
    std::vector<Evidence> evidence;
    for (std::size_t i = 0; i < inputs.size(); ++i)
        evidence.push_back(
            {fmt::format("x{}", i), inputs[i].shape(), values(truth.dx[i]), values(candidate.dx[i]), 0, {}});
    GradReport report = judge(evidence, {.precision = "f64"});
    check::explain(report, right, inputs, cotangent, evidence);
    INFO(report);
    return report.explanation ? report.explanation->diagnosis : "";
}

/// Chunks of 8 steps, to which the state before them is a constant.
D scan_in_chunks(const D& a, const D& b) {
    const D whole = causal_scan(a, b);
    std::vector<D> chunks;
    for (Index begin = 0; begin < b.shape()[0]; begin += 8) {
        const Index end = std::min(begin + 8, b.shape()[0]);
        const auto with_start = [&](const D& x, const D& start) { return concat({start, slice(x, 0, begin, end)}, 0); };
        const D start = begin == 0 ? D::zeros({1, b.shape()[1]}) : detach(slice(whole, 0, begin - 1, begin));
        chunks.push_back(slice(causal_scan(with_start(a, start), with_start(b, start)), 0, 1, end - begin + 1));
    }
    return concat(std::span<const D>(chunks), 0);
}

}  // namespace

TEST_CASE("explain: what goes wrong inside an op") {
    const D x = uniform({5, 6}, -1, 1, 1), y = uniform({5, 6}, -1, 1, 2), w = uniform({6}, 0.5, 1.5, 3);
    const auto rows = [](const D& z) { return mean(z, {-1}, true); };
    CHECK(explanation_of([](In in) { return softmax(in[0]); },
                         [](In in) { return as_if(softmax(in[0]), in[0] * detach(softmax(in[0]))); },
                         {x}) == "the sum over the row is missing from softmax's vjp");
    CHECK(explanation_of([](In in) { return layer_norm(in[0], in[1], in[2], 0); },
                         [&](In in) {
                             const D centred = in[0] - detach(rows(in[0]));
                             return as_if(layer_norm(in[0], in[1], in[2], 0),
                                          centred * rsqrt(rows(centred * centred)) * in[1] + in[2]);
                         },
                         {x, w, w}) == "the mean of the cotangent is not subtracted in the norm's vjp");
    CHECK(explanation_of([](In in) { return in[0] * in[1]; },
                         [](In in) { return as_if(in[0] * in[1], in[0] * detach(in[0]) + in[1] * detach(in[1])); },
                         {x, y}) == "the gradients of its first two inputs are exchanged");
    CHECK(explanation_of(
              [](In in) { return matmul(in[0], in[1], {.relu = true}); },
              [](In in) {
                  const D right = matmul(in[0], in[1], {.relu = true}), one = D::full(right.shape(), 1);
                  const D open = where(detach(right), one, D::zeros(right.shape()));
                  return as_if(right, open * (matmul(in[0], detach(transpose(in[1]))) + matmul(detach(in[0]), in[1])));
              },
              {x, uniform({6, 6}, -1, 1, 4)}) == "the weight is not transposed in the gradient of the input");
    CHECK(explanation_of([](In in) { return silu(in[0]); },
                         [](In in) { return as_if(silu(in[0]), in[0] * detach(sigmoid(in[0]))); },
                         {x}) == "the second term of the product rule is missing from silu's vjp: only σ(x) dy");
    CHECK(explanation_of([](In in) { return silu(2 * in[0]); },
                         [](In in) {
                             const D right = silu(2 * in[0]);
                             return as_if(right, silu(as_if(right, 2 * in[0])));
                         },
                         {x}) == "the vjp is evaluated at the op's output instead of its input");
    CHECK(explanation_of([](In in) { return causal_scan(in[0], in[1]); },
                         [](In in) { return as_if(causal_scan(in[0], in[1]), scan_in_chunks(in[0], in[1])); },
                         {uniform({20, 3}, 0.5, 1, 1), uniform({20, 3}, -1, 1, 2)}) ==
          "the carry between chunks of 8 steps is lost in the reverse scan");
    CHECK(explanation_of([](In in) { return linear(in[0], in[1], in[2]); },
                         [](In in) {
                             const D keep({5, 1}, {0., 0., 0., 0., 1.});
                             const D right = linear(in[0], in[1], in[2]);
                             return as_if(right, matmul(in[0], in[1]) + keep * in[2]);
                         },
                         {x, uniform({6, 4}, -1, 1, 4), uniform({4}, -1, 1, 5)}) ==
          "only the last row of the cotangent is read in the gradient of input 2: overwritten instead of accumulated?");
}

TEST_CASE("explain: a fault of attention's softmax") {
    const auto qkv = [](std::uint64_t seed) { return uniform({5, 4}, -1, 1, seed); };
    const Function right = [](In in) { return causal_attention(in[0], in[1], in[2], {}, {}); };
    // Scores and weights by hand, one head of width 4.
    const auto by_hand = [](In in, bool row_sum, double scale) {
        std::vector<double> seen;
        for (int t = 0; t < 5; ++t)
            for (int s = 0; s < 5; ++s) seen.push_back(s <= t ? 0 : -1e9);
        const D scores = matmul(in[0], in[1], {.transpose_b = true});
        const D p = softmax(as_if(0.5 * scores, scale * scores) + D({5, 5}, seen));
        return matmul(row_sum ? p : as_if(p, detach(p) * (scale * scores)), in[2]);
    };
    CHECK(explanation_of(right, [&](In in) { return by_hand(in, true, 0.5); }, {qkv(1), qkv(2), qkv(3)}).empty());
    CHECK(explanation_of(right, [&](In in) { return by_hand(in, false, 0.5); }, {qkv(1), qkv(2), qkv(3)}) ==
          "the sum over the row is missing from the vjp of attention's softmax");
    CHECK(explanation_of(right, [&](In in) { return by_hand(in, true, 1); }, {qkv(1), qkv(2), qkv(3)}) ==
          "attention's scale is left out of the gradients of queries and keys");
    const auto not_weighed = [&](In in) {  // dS = dP
        const D right = causal_attention(in[0], in[1], in[2], {}, {});
        const D scores = 0.5 * matmul(in[0], in[1], {.transpose_b = true});
        return as_if(right, matmul(scores, detach(in[2])) +
                                by_hand(std::vector{detach(in[0]), detach(in[1]), in[2]}, true, 0.5));
    };
    CHECK(explanation_of(right, not_weighed, {qkv(1), qkv(2), qkv(3)}) ==
          "not a known mistake, but all that differs hangs on the gradients of one op");
}

TEST_CASE("explain: an unknown mistake is placed where all that differs hangs on it") {
    const D x = uniform({5, 6}, -1, 1, 1), w = uniform({6, 6}, -1, 1, 2), u = uniform({6, 6}, -1, 1, 3);
    // d tanh taken for 1 − y³ in the first of two products.
    const auto right = [](In in) { return tanh(matmul(in[0], in[1])) * matmul(in[0], in[2]); };
    const auto wrong = [](In in) {
        const D y = tanh(matmul(in[0], in[1]));
        return as_if(y, matmul(in[0], in[1]) * detach(1 - y * y * y)) * matmul(in[0], in[2]);
    };
    CHECK(explanation_of(right, wrong, {x, w, u}) == "not a known mistake, but all that differs hangs on one gradient");
    CHECK(explanation_of(right, right, {x, w, u}).empty());
}

TEST_CASE("explain: two mistakes that have nothing in common are no one fault") {
    const auto right = [](In in) { return tanh(in[0]) + matmul(in[1], in[1]) + mean(rms_norm(in[2])); };
    const auto wrong = [](In in) {
        return tanh(as_if(in[0], 0.3 * in[0])) + matmul(in[1], in[1]) + mean(as_if(rms_norm(in[2]), exp(in[2])));
    };
    const auto square = [](std::uint64_t seed) { return uniform({4, 4}, -1, 1, seed); };
    CHECK(explanation_of(right, wrong, {square(1), square(2), square(3)}).empty());
}

TEST_CASE("explain: nothing is recorded meanwhile, and the tape is as it was") {
    Tape<double> tape({.keep_records = true});
    const D x = tape.leaf(uniform({4, 4}, -1, 1, 1));
    const D loss = mean(rms_norm(x) * x);
    const std::size_t before = tape.size();
    const std::vector<double> zero(16);
    const D* const of[] = {&x};
    GradReport report;
    const std::vector<double> truth = [&] {
        const D g = tape.gradient(loss, {x})[0];
        return std::vector<double>(g.values().begin(), g.values().end());
    }();
    const std::vector<Evidence> evidence{{"x", x.shape(), truth, zero, 0, {}}};
    report = judge(evidence, {.precision = "f64"});
    check::explain(report, tape, loss, D(1.0), of, std::span(&zero, 1));
    CHECK(tape.size() == before);
    const D again = tape.gradient(loss, {x})[0];
    CHECK(std::equal(truth.begin(), truth.end(), again.data()));
    tape.replay();
    const D replayed = tape.gradient(loss, {x})[0];
    CHECK(std::equal(truth.begin(), truth.end(), replayed.data()));
}

TEST_CASE("compare: a term that the hand-written backward forgot is named, and where it belongs") {
    const auto forward = [](const auto& a, const auto& b) { return sum(a * b + a); };
    const auto backward = [](const auto& in, auto& grads) {
        auto loss = in[0][0] * 0;
        for (std::size_t i = 0; i < in[0].size(); ++i) {
            loss += in[0][i] * in[1][i] + in[0][i];
            grads[0][i] = in[1][i];
            grads[1][i] = in[0][i];
        }
        return loss;
    };
    const GradReport report =
        compare(forward, backward, {uniform({3, 4}, -1, 1, 1), uniform({3, 4}, -1, 1, 2)}, {.names = {"a", "b"}});
    INFO(report);
    REQUIRE(report.explanation);
    CHECK(report.explanation->diagnosis == "term missing: the gradient of a through add with a is dropped");
    CHECK(report.explanation->parameters == std::vector<std::string>{"a"});
    CHECK(report.rows[0].diagnosis == to_string(*report.explanation));
    CHECK(report.rows[1].diagnosis.empty());
    CHECK_THAT(report.text(), Catch::Matchers::Contains("one fault behind 1 of them: term missing"));
}

TEST_CASE("compare: a norm whose input is broadcast in a sum is not taken for a residual's") {
    const auto forward = [](const auto& x, const auto& b) { return sum(exp(x + b * rms_norm(x))); };
    const auto backward = [](const auto& in, auto& grads) {
        for (std::size_t k = 0; k < in.size(); ++k)
            for (std::size_t i = 0; i < in[k].size(); ++i) grads[k][i] = in[k][i] * in[k][i];
    };
    CHECK_FALSE(compare(forward, backward, {uniform({1, 4}, -1, 1, 1), uniform({3, 4}, -1, 1, 2)}));
}

}  // namespace test_hypotheses
