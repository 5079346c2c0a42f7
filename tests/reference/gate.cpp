#include "gate.hpp"

#include "gate_kernels.hpp"
#include "layer_norm.hpp"
#include "model.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <initializer_list>
#include <stdexcept>

/// Weights<T> and Activations<T> hold a model's values and, a second time, its gradients under the same names;
/// Targets<T> sorts the batch's examples by kind. Gate<T> owns them; read `forward` and `layer_forward`, then
/// the backward passes from the last line up.

namespace xtape::reference {
namespace {

template <class T> struct LayerWeights {
    LayerNorm<T> ln1;
    Affine<T> q, k, v, o;
    LayerNorm<T> ln2;
    Affine<T> w1, w2;

    explicit LayerWeights(const GateConfig& c)
        : ln1(zero_layer_norm<T>(c.dim)),
          q(c.dim, c.dim),
          k(q),
          v(q),
          o(q),
          ln2(ln1),
          w1(c.ffn, c.dim),
          w2(c.dim, c.ffn) {}
};

template <class T> struct Weights {
    Matrix<T> token_embedding, position_embedding;
    std::vector<LayerWeights<T>> layers;
    LayerNorm<T> final_ln;
    Affine<T> output, gate;

    explicit Weights(const GateConfig& c)
        : token_embedding(c.vocab, c.dim),
          position_embedding(c.context, c.dim),
          layers(static_cast<std::size_t>(c.layers), LayerWeights<T>(c)),
          final_ln(zero_layer_norm<T>(c.dim)),
          output(c.vocab, c.dim),
          gate(1, c.dim) {}

    void each(auto&& visit) {
        visit(-1, "token_embedding", token_embedding);
        visit(-1, "position_embedding", position_embedding);
        for (int layer = 0; layer < static_cast<int>(layers.size()); ++layer) each_of_layer(layer, visit);
        const int after = static_cast<int>(layers.size());
        visit(after, "final_ln.weight", final_ln.weight);
        visit(after, "final_ln.bias", final_ln.bias);
        visit(after, "output.weight", output.weight);
        visit(after, "output.bias", output.bias);
        visit(after, "gate.weight", gate.weight);
        visit(after, "gate.bias", gate.bias);
    }

    void each_of_layer(int layer, auto& visit) {
        LayerWeights<T>& w = layers[static_cast<std::size_t>(layer)];
        visit(layer, "ln1.weight", w.ln1.weight);
        visit(layer, "ln1.bias", w.ln1.bias);
        visit(layer, "attention.wq", w.q.weight);
        visit(layer, "attention.bq", w.q.bias);
        visit(layer, "attention.wk", w.k.weight);
        visit(layer, "attention.bk", w.k.bias);
        visit(layer, "attention.wv", w.v.weight);
        visit(layer, "attention.bv", w.v.bias);
        visit(layer, "attention.wo", w.o.weight);
        visit(layer, "attention.bo", w.o.bias);
        visit(layer, "ln2.weight", w.ln2.weight);
        visit(layer, "ln2.bias", w.ln2.bias);
        visit(layer, "ffn.w1", w.w1.weight);
        visit(layer, "ffn.b1", w.w1.bias);
        visit(layer, "ffn.w2", w.w2.weight);
        visit(layer, "ffn.b2", w.w2.bias);
    }
};

/// The examples of a batch by kind, each in the order of the batch.
template <class T> struct Targets {
    std::vector<int> last_rows, next;  // of next-token examples
    std::vector<T> next_shares;
    std::vector<Span> spans;  // of decisions
    std::vector<T> labels, decision_shares;

    explicit Targets(const GateBatch& batch) {
        for (std::size_t i = 0; i < batch.examples.size(); ++i) {
            const GateExample& example = batch.examples[i];
            const T share = T(example.weight / double(batch.examples.size()));  // loss = (1/B) Σ w ℓ, B of both kinds
            if (example.kind == GateKind::next_token) {
                last_rows.push_back(batch.offsets[i + 1] - 1);
                next.push_back(example.next);
                next_shares.push_back(share);
            } else {
                spans.push_back({batch.offsets[i], batch.offsets[i + 1]});
                labels.push_back(T(std::clamp(example.label, 0.0, 1.0)));
                decision_shares.push_back(share);
            }
        }
    }
};

template <class T> struct LayerActivations {
    Matrix<T> x;              // input of the layer
    Matrix<T> n;              // n = layer_norm(x, ln1)
    Matrix<T> q, k, v, p, a;  // a = attention(q, k, v), p its probabilities
    Matrix<T> o, mid;         // o = a Woᵀ + bo, mid = x + o
    Matrix<T> m, h, f, u;     // m = layer_norm(mid, ln2), h = m W1ᵀ + b1, f = gelu(h), u = f W2ᵀ + b2
};                            // the layer's output is mid + u

template <class T> struct Activations {
    Matrix<T> token, position;  // token_embedding[tokens], position_embedding[positions]
    std::vector<LayerActivations<T>> layers;
    Matrix<T> x, z;                // output of the last layer, z = layer_norm(x, final_ln)
    Matrix<T> last, logits;        // z of the last positions, logits = last outputᵀ + bias
    Matrix<T> pooled, allow;       // mean of z over positions, allow = pooled gateᵀ + bias, one column
    std::vector<T> probabilities;  // σ(allow), for gate-clamped-bce

    Activations(const GateConfig& c, const Targets<T>& targets, int rows, int longest)
        : token(rows, c.dim),
          position(token),
          layers(static_cast<std::size_t>(c.layers)),
          x(token),
          z(token),
          last(static_cast<int>(targets.next.size()), c.dim),
          logits(last.rows, c.vocab),
          pooled(static_cast<int>(targets.spans.size()), c.dim),
          allow(pooled.rows, 1),
          probabilities(allow.values) {
        for (LayerActivations<T>& l : layers) {
            l.x = l.n = l.q = l.k = l.v = l.a = l.o = l.mid = l.m = l.u = token;
            l.p = Matrix<T>(rows * c.heads, longest);
            l.h = l.f = Matrix<T>(rows, c.ffn);
        }
    }

    Matrix<T>& output(std::size_t layer) { return layer + 1 < layers.size() ? layers[layer + 1].x : x; }
};

constexpr std::string_view model_name = "gate";

void check(const GateConfig& c) {
    require(model_name, std::min({c.vocab, c.dim, c.layers, c.heads, c.ffn, c.context}) > 0,
            "every size must be 1 or more");
    require(
        model_name, c.dim % c.heads == 0,
        "dim must be a multiple of heads: dim is " + std::to_string(c.dim) + ", heads is " + std::to_string(c.heads));
}

void check(const GateConfig& c, const GateBatch& batch) {
    const auto& [tokens, offsets, examples] = batch;
    const auto check_token = [&](int id) {
        require(model_name, id >= 0 && id < c.vocab,
                "token " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(c.vocab));
    };
    require(model_name, !examples.empty(), "a batch needs one example or more");
    require(model_name,
            offsets.size() == examples.size() + 1 && offsets.front() == 0 &&
                offsets.back() == static_cast<int>(tokens.size()),
            "offsets must rise from 0 to the number of tokens, " + std::to_string(tokens.size()) +
                ", one for each of " + std::to_string(examples.size()) + " examples and one more");
    for (std::size_t i = 0; i < examples.size(); ++i) {
        const int length = offsets[i + 1] - offsets[i];
        require(model_name, length >= 1 && length <= c.context,
                "example " + std::to_string(i) + " has " + std::to_string(length) + " tokens, not 1 to " +
                    std::to_string(c.context));
        if (examples[i].kind == GateKind::next_token) check_token(examples[i].next);
    }
    std::ranges::for_each(tokens, check_token);
}

/// `none`, then one for each row of `faults` in the same order.
enum class Fault {
    none,
    final_ln_input,
    ln_order,
    skip_wo,
    wo_from_dq,
    dropped_qkv_input,
    clamped_bce,
    overwritten,
    mean_factor,
    transposed_weight,
    double_count,
    forward_no_norm,
};

constexpr std::array faults{
    FaultInfo{"gate-final-ln-input", "the final layer norm's VJP is evaluated at its output instead of its input"},
    FaultInfo{"gate-ln-order", "a layer norm's VJP comes before its sub-layer's, as if post-LN"},
    FaultInfo{"gate-skip-wo", "attention's VJP is fed with the gradient before Wo"},
    FaultInfo{"gate-wo-from-dq", "the gradient of wo is formed with dQ in place of the concatenated heads"},
    FaultInfo{"gate-dropped-qkv-input", "the input gradients of the Q, K and V projections are dropped"},
    FaultInfo{"gate-clamped-bce", "the sigmoid is clamped to [1e-7, 1 - 1e-7] before the BCE, its gradient too"},
    FaultInfo{"overwritten", "the gradient of the normed input is overwritten, not added to, by q, k and v in turn"},
    FaultInfo{"mean-factor", "the loss is divided by the number B of examples, its gradient by B + 1"},
    FaultInfo{"transposed-weight", "the gradient of layers.0.attention.wo is transposed"},
    FaultInfo{"double-count", "the gradient of the last layer's FFN residual is added twice"},
    FaultInfo{"forward-no-norm", "the norms before attention are left out of both passes"},
};

Fault to_fault(std::string_view id) { return Fault(fault_number("gate", id, faults)); }

template <class T> struct Gate {
    const GateConfig& config;
    const GateBatch& batch;
    const Fault fault;
    const bool no_norm = fault == Fault::forward_no_norm;
    const std::vector<int> positions = positions_of(batch.offsets);
    const Targets<T> targets{batch};
    const T epsilon = T(config.ln_eps);
    Weights<T> weights{config}, dweights{config};
    Activations<T> values{config, targets, static_cast<int>(positions.size()), 1 + std::ranges::max(positions)};
    Activations<T> dvalues = values;

    T forward() {
        Activations<T>& z = values;
        embedding_forward(z.token, weights.token_embedding, batch.tokens.data());
        embedding_forward(z.position, weights.position_embedding, positions.data());
        add_forward(z.layers.front().x, z.token, z.position);
        for (std::size_t l = 0; l < z.layers.size(); ++l) layer_forward(z.output(l), z.layers[l], weights.layers[l]);
        layer_norm_forward(z.z, z.x, weights.final_ln, epsilon);
        embedding_forward(z.last, z.z, targets.last_rows.data());
        affine_forward(z.logits, z.last, weights.output);
        mean_pool_forward(z.pooled, z.z, targets.spans);
        affine_forward(z.allow, z.pooled, weights.gate);
        return weighted_cross_entropy_forward(z.logits, targets.next, targets.next_shares) + decision_loss();
    }

    T decision_loss() {
        const std::vector<T>&labels = targets.labels, &shares = targets.decision_shares;
        if (fault != Fault::clamped_bce) return bce_logits_forward(values.allow.values, labels, shares);
        sigmoid_forward(values.probabilities, values.allow.values);
        return bce_probabilities_forward(values.probabilities, labels, shares);
    }

    void layer_forward(Matrix<T>& output, LayerActivations<T>& z, const LayerWeights<T>& w) const {
        no_norm ? copy_forward(z.n, z.x) : layer_norm_forward(z.n, z.x, w.ln1, epsilon);
        affine_forward(z.q, z.n, w.q);
        affine_forward(z.k, z.n, w.k);
        affine_forward(z.v, z.n, w.v);
        attention_forward(z.a, z.p, z.q, z.k, z.v, config.heads, positions.data());
        affine_forward(z.o, z.a, w.o);
        add_forward(z.mid, z.x, z.o);
        layer_norm_forward(z.m, z.mid, w.ln2, epsilon);
        affine_forward(z.h, z.m, w.w1);
        gelu_forward(z.f, z.h);
        affine_forward(z.u, z.f, w.w2);
        add_forward(output, z.mid, z.u);
    }

    void backward() {
        const Activations<T>& z = values;
        Activations<T>& d = dvalues;
        const T examples = T(batch.examples.size());
        const T dloss = fault == Fault::mean_factor ? examples / (examples + 1) : T(1);
        decision_backward(dloss);                                                   // loss = … + Σ share bce(allow)
        affine_backward(d.pooled, dweights.gate, d.allow, z.pooled, weights.gate);  // allow = pooled gateᵀ + bias
        mean_pool_backward(d.z, d.pooled, targets.spans);                           // pooled = mean(z)
        weighted_cross_entropy_backward(d.logits, dloss, z.logits, targets.next,
                                        targets.next_shares);                        // loss = Σ share ce + …
        affine_backward(d.last, dweights.output, d.logits, z.last, weights.output);  // logits = last outputᵀ + bias
        embedding_backward(d.z, d.last, targets.last_rows.data());                   // last = z[last_rows]
        const Matrix<T>& input = fault == Fault::final_ln_input ? z.z : z.x;
        layer_norm_backward(d.x, dweights.final_ln, d.z, input, weights.final_ln,
                            epsilon);  // z = layer_norm(x, final_ln)
        for (std::size_t l = z.layers.size(); l-- > 0;) {
            ffn_backward(d.layers[l], dweights.layers[l], d.output(l), z.layers[l], weights.layers[l]);
            if (fault == Fault::double_count && l + 1 == z.layers.size()) copy_backward(d.layers[l].mid, d.x);
            self_attention_backward(d.layers[l], dweights.layers[l], z.layers[l], weights.layers[l]);
        }
        add_backward(d.token, d.position, d.layers.front().x);                          // x = token + position
        embedding_backward(dweights.position_embedding, d.position, positions.data());  // position = table[positions]
        embedding_backward(dweights.token_embedding, d.token, batch.tokens.data());     // token = table[tokens]
        if (fault == Fault::transposed_weight) transpose(dweights.layers.front().o.weight);
    }

    void decision_backward(T dloss) {
        const std::vector<T>&labels = targets.labels, &shares = targets.decision_shares;
        std::vector<T>& dallow = dvalues.allow.values;
        if (fault != Fault::clamped_bce) return bce_logits_backward(dallow, dloss, values.allow.values, labels, shares);
        bce_probabilities_backward(dvalues.probabilities, dloss, values.probabilities, labels, shares);
        sigmoid_backward(dallow, dvalues.probabilities, values.probabilities);
    }

    void ffn_backward(LayerActivations<T>& d, LayerWeights<T>& dw, const Matrix<T>& doutput,
                      const LayerActivations<T>& z, const LayerWeights<T>& w) const {
        residual_backward(d.mid, d.u, dw.ln2, doutput, z.mid, w.ln2);  // output = mid + u
        affine_backward(d.f, dw.w2, d.u, z.f, w.w2);                   // u = f W2ᵀ + b2
        gelu_backward(d.h, d.f, z.h);                                  // f = gelu(h)
        affine_backward(d.m, dw.w1, d.h, z.m, w.w1);                   // h = m W1ᵀ + b1
        norm_backward(d.mid, dw.ln2, d.m, z.mid, w.ln2);               // m = layer_norm(mid, ln2)
    }

    void self_attention_backward(LayerActivations<T>& d, LayerWeights<T>& dw, const LayerActivations<T>& z,
                                 const LayerWeights<T>& w) const {
        residual_backward(d.x, d.o, dw.ln1, d.mid, z.x, w.ln1);                                    // mid = x + o
        fault == Fault::skip_wo ? copy_backward(d.a, d.o) : affine_backward_input(d.a, d.o, w.o);  // o = a Woᵀ + bo
        attention_backward(d.q, d.k, d.v, d.a, z.p, z.q, z.k, z.v, config.heads,
                           positions.data());                                        // a = attention(q, k, v)
        affine_backward_weights(dw.o, d.o, fault == Fault::wo_from_dq ? d.q : z.a);  // o = a Woᵀ + bo
        affine_backward_weights(dw.q, d.q, z.n);                                     // q = n Wqᵀ + bq
        affine_backward_weights(dw.k, d.k, z.n);                                     // k = n Wkᵀ + bk
        affine_backward_weights(dw.v, d.v, z.n);                                     // v = n Wvᵀ + bv
        if (fault != Fault::dropped_qkv_input) qkv_backward_input(d, w);
        no_norm ? copy_backward(d.x, d.n) : norm_backward(d.x, dw.ln1, d.n, z.x, w.ln1);  // n = layer_norm(x, ln1)
    }

    void qkv_backward_input(LayerActivations<T>& d, const LayerWeights<T>& w) const {
        affine_backward_input(d.n, d.q, w.q);  // q = n Wqᵀ + bq
        if (fault == Fault::overwritten) set_zero(d.n);
        affine_backward_input(d.n, d.k, w.k);  // k = n Wkᵀ + bk
        if (fault == Fault::overwritten) set_zero(d.n);
        affine_backward_input(d.n, d.v, w.v);  // v = n Wvᵀ + bv
    }

    /// y = x + sublayer; gate-ln-order takes it for y = layer_norm(x + sublayer).
    void residual_backward(Matrix<T>& dx, Matrix<T>& dsublayer, LayerNorm<T>& dnorm, const Matrix<T>& dy,
                           const Matrix<T>& x, const LayerNorm<T>& norm) const {
        if (fault != Fault::ln_order) return add_backward(dx, dsublayer, dy);  // y = x + sublayer
        Matrix<T> dsum(x.rows, x.columns);
        layer_norm_backward(dsum, dnorm, dy, x, norm, epsilon);
        add_backward(dx, dsublayer, dsum);
    }

    /// n = layer_norm(x); gate-ln-order, which had it at the residual, takes it for n = x.
    void norm_backward(Matrix<T>& dx, LayerNorm<T>& dnorm, const Matrix<T>& dn, const Matrix<T>& x,
                       const LayerNorm<T>& norm) const {
        if (fault == Fault::ln_order) return copy_backward(dx, dn);
        layer_norm_backward(dx, dnorm, dn, x, norm, epsilon);  // n = layer_norm(x)
    }
};

/// Derived from the order of the backward pass: what it writes before the fault keeps its bits, what hangs below is
/// wrong. So gate-clamped-bce, which the catalogue says reaches all, leaves the head of the next token exact: decisions
/// send nothing there.
bool is_wrong(Fault fault, const GateConfig& config, int layer, std::string_view name) {
    const int last = config.layers - 1;
    const bool earlier = layer < last, trunk = layer <= last;  // with the embeddings, at layer −1
    const auto one_of = [&](std::initializer_list<std::string_view> names) {
        return layer == last && std::ranges::count(names, name) == 1;
    };
    if (name == "attention.bk") return false;
    switch (fault) {
        case Fault::none:
            return false;
        case Fault::final_ln_input:
            return trunk || name == "final_ln.weight";
        case Fault::ln_order:
            return trunk;
        case Fault::skip_wo:
            return earlier || one_of({"ln1.weight", "ln1.bias", "attention.wq", "attention.bq", "attention.wk",
                                      "attention.wv", "attention.bv"});
        case Fault::wo_from_dq:
            return name == "attention.wo";
        case Fault::dropped_qkv_input:
            return earlier || one_of({"ln1.weight", "ln1.bias"});
        case Fault::clamped_bce:
            return !name.starts_with("output.");
        case Fault::overwritten:
            return earlier || one_of({"ln1.weight", "ln1.bias"});
        case Fault::mean_factor:
            return true;
        case Fault::transposed_weight:
            return layer == 0 && name == "attention.wo";
        case Fault::double_count:
            return earlier || (layer == last && (name.starts_with("ln1.") || name.starts_with("attention.")));
        case Fault::forward_no_norm:
            return true;
    }
    return false;
}

bool is_unwritten(Fault fault, std::string_view name) {
    return (fault == Fault::dropped_qkv_input || fault == Fault::forward_no_norm) && name.starts_with("ln1.");
}

}  // namespace

template <class T> Arrays<T> gate_parameters(const GateConfig& config) {
    check(config);
    Weights<T> zeros(config);
    return to_arrays<T>(config.layers, zeros);
}

template <class T>
GateRun<T> gate_run(const GateConfig& config, const Arrays<T>& parameters, const GateBatch& batch,
                    std::string_view fault) {
    check(config);
    check(config, batch);
    Gate<T> model{.config = config, .batch = batch, .fault = to_fault(fault)};
    from_arrays(model_name, config.layers, model.weights, parameters);
    const T loss = model.forward();
    model.backward();
    return {loss, model.values.logits.values, model.values.allow.values, to_arrays<T>(config.layers, model.dweights)};
}

std::span<const FaultInfo> gate_faults() { return faults; }

std::vector<std::string> gate_wrong_gradients(const GateConfig& config, std::string_view fault) {
    check(config);
    return names_where(config.layers, Weights<float>(config),
                       [&, committed = to_fault(fault)](int layer, std::string_view name) {
                           return is_wrong(committed, config, layer, name);
                       });
}

std::vector<std::string> gate_unwritten_gradients(const GateConfig& config, std::string_view fault) {
    check(config);
    return names_where(
        config.layers, Weights<float>(config),
        [committed = to_fault(fault)](int, std::string_view name) { return is_unwritten(committed, name); });
}

template Arrays<float> gate_parameters(const GateConfig&);
template Arrays<double> gate_parameters(const GateConfig&);
template GateRun<float> gate_run(const GateConfig&, const Arrays<float>&, const GateBatch&, std::string_view);
template GateRun<double> gate_run(const GateConfig&, const Arrays<double>&, const GateBatch&, std::string_view);

}  // namespace xtape::reference
