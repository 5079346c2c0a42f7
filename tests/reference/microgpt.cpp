#include "microgpt.hpp"

#include "kernels.hpp"
#include "model.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

/// Weights<T> and Activations<T> hold a model's values and, a second time, its gradients under the same names.
/// Microgpt<T> owns both pairs; read `forward` and `layer_forward`, then the backward passes from the last line up.

namespace xtape::reference {
namespace {

template <class T> struct LayerWeights { Matrix<T> wq, wk, wv, wo, w1, w2; };

template <class T> struct Weights {
    Matrix<T> wte, wpe;
    std::vector<LayerWeights<T>> layers;
    Matrix<T> wout;

    explicit Weights(const MicrogptConfig& c)
        : wte(c.vocab, c.dim), wpe(c.block, c.dim), layers(static_cast<std::size_t>(c.layers)), wout(c.dim, c.vocab) {
        for (LayerWeights<T>& w : layers) {
            w.wq = w.wk = w.wv = w.wo = Matrix<T>(c.dim, c.dim);
            w.w1 = Matrix<T>(c.dim, c.ffn);
            w.w2 = Matrix<T>(c.ffn, c.dim);
        }
    }

    /// Calls `visit(layer, name, matrix)` in the specified order; the embeddings are layer −1, wout follows the last.
    void each(auto&& visit) {
        visit(-1, "wte", wte);
        visit(-1, "wpe", wpe);
        int layer = 0;
        for (LayerWeights<T>& w : layers) {
            visit(layer, "wq", w.wq);
            visit(layer, "wk", w.wk);
            visit(layer, "wv", w.wv);
            visit(layer, "wo", w.wo);
            visit(layer, "w1", w.w1);
            visit(layer, "w2", w.w2);
            ++layer;
        }
        visit(layer, "wout", wout);
    }
};

template <class T> struct LayerActivations {
    Matrix<T> x;              // input of the layer
    Matrix<T> n;              // n = norm₁(x)
    Matrix<T> q, k, v, p, a;  // a = attention(q, k, v), p its probabilities
    Matrix<T> o, mid;         // o = a Wo, mid = x + o
    Matrix<T> m, h, f, u;     // m = norm₂(mid), h = m W1, f = act(h), u = f W2; the layer's output is mid + u
};

template <class T> struct Activations {
    Matrix<T> token, position, e;  // e = wte[token] + wpe[position]
    std::vector<LayerActivations<T>> layers;
    Matrix<T> x;  // output of the last layer
    Matrix<T> logits;

    Activations(const MicrogptConfig& c, int rows, int longest) : layers(static_cast<std::size_t>(c.layers)) {
        token = position = e = x = Matrix<T>(rows, c.dim);
        for (LayerActivations<T>& z : layers) {
            z.x = z.n = z.q = z.k = z.v = z.a = z.o = z.mid = z.m = z.u = Matrix<T>(rows, c.dim);
            z.p = Matrix<T>(rows * c.heads, longest);
            z.h = z.f = Matrix<T>(rows, c.ffn);
        }
        logits = Matrix<T>(rows, c.vocab);
    }

    Matrix<T>& output(std::size_t layer) { return layer + 1 < layers.size() ? layers[layer + 1].x : x; }
};

constexpr std::string_view model_name = "microgpt";

void check(const MicrogptConfig& c) {
    require(model_name, std::min({c.vocab, c.dim, c.heads, c.ffn, c.block, c.layers}) > 0,
            "every size must be 1 or more");
    require(
        model_name, c.dim % c.heads == 0,
        "dim must be a multiple of heads: dim is " + std::to_string(c.dim) + ", heads is " + std::to_string(c.heads));
}

/// `none`, then one for each row of `faults` in the same order.
enum class Fault {
    none,
    no_norm,
    past_kv,
    past_activations,
    overwritten,
    mean_factor,
    transposed_weight,
    double_count,
    forward_no_norm,
};

constexpr std::array faults{
    FaultInfo{"microgpt-no-norm", "the norms of the forward pass are left out of the backward pass"},
    FaultInfo{"microgpt-past-kv", "a query's gradient reaches the key and value of its own position only"},
    FaultInfo{"microgpt-past-activations", "past keys and values feed their weights but send nothing to their inputs"},
    FaultInfo{"overwritten", "the gradient of the normed input is overwritten, not added to, by q, k and v in turn"},
    FaultInfo{"mean-factor", "the loss is the mean over S-1 targets, its gradient is divided by S"},
    FaultInfo{"transposed-weight", "the gradient of layers.0.wo is transposed"},
    FaultInfo{"double-count", "the gradient of the last layer's FFN residual is added twice"},
    FaultInfo{"forward-no-norm", "the norms before attention are left out of both passes"},
};

Fault to_fault(std::string_view id) { return Fault(fault_number(model_name, id, faults)); }

template <class T> struct Microgpt {
    const MicrogptConfig& config;
    const Batch& batch;
    const Fault fault;
    const std::vector<int> positions = positions_of(batch.offsets);
    Weights<T> weights, dweights{config};
    Activations<T> values{config, static_cast<int>(positions.size()), 1 + std::ranges::max(positions)};
    Activations<T> dvalues = values;

    void norm_forward(bool present, Matrix<T>& y, const Matrix<T>& x) const {
        present ? rms_norm_forward(y, x) : copy_forward(y, x);
    }

    void norm_backward(bool present, Matrix<T>& dx, const Matrix<T>& dy, const Matrix<T>& x) const {
        if (fault == Fault::no_norm) present = false;
        present ? rms_norm_backward(dx, dy, x) : copy_backward(dx, dy);
    }

    bool has_norm1() const { return config.norm != Norm::none && fault != Fault::forward_no_norm; }

    void act_forward(Matrix<T>& y, const Matrix<T>& x) const {
        config.act == Act::relu ? relu_forward(y, x) : relu_squared_forward(y, x);
    }

    void act_backward(Matrix<T>& dx, const Matrix<T>& dy, const Matrix<T>& x) const {
        config.act == Act::relu ? relu_backward(dx, dy, x) : relu_squared_backward(dx, dy, x);
    }

    T forward() {
        Activations<T>& z = values;
        embedding_forward(z.token, weights.wte, batch.inputs.data());
        embedding_forward(z.position, weights.wpe, positions.data());
        add_forward(z.e, z.token, z.position);
        norm_forward(config.norm == Norm::full, z.layers.front().x, z.e);
        for (std::size_t l = 0; l < z.layers.size(); ++l) layer_forward(z.output(l), z.layers[l], weights.layers[l]);
        linear_forward(z.logits, z.x, weights.wout);
        return cross_entropy_forward(z.logits, batch.targets.data());
    }

    void layer_forward(Matrix<T>& output, LayerActivations<T>& z, const LayerWeights<T>& w) const {
        norm_forward(has_norm1(), z.n, z.x);
        linear_forward(z.q, z.n, w.wq);
        linear_forward(z.k, z.n, w.wk);
        linear_forward(z.v, z.n, w.wv);
        attention_forward(z.a, z.p, z.q, z.k, z.v, config.heads, positions.data());
        linear_forward(z.o, z.a, w.wo);
        add_forward(z.mid, z.x, z.o);
        norm_forward(config.norm == Norm::full, z.m, z.mid);
        linear_forward(z.h, z.m, w.w1);
        act_forward(z.f, z.h);
        linear_forward(z.u, z.f, w.w2);
        add_forward(output, z.mid, z.u);
    }

    void backward() {
        const Activations<T>& z = values;
        Activations<T>& d = dvalues;
        const T count = T(count_targets(batch.targets.data(), z.logits.rows));  // S − 1 for S tokens of one sequence
        const T dloss = fault == Fault::mean_factor ? count / (count + 1) : T(1);
        cross_entropy_backward(d.logits, dloss, z.logits, batch.targets.data());  // loss = mean(−log softmax(logits))
        linear_backward(d.x, dweights.wout, d.logits, z.x, weights.wout);         // logits = x Wout
        for (std::size_t l = z.layers.size(); l-- > 0;) layer_backward(l);        // x = layer(x)
        norm_backward(config.norm == Norm::full, d.e, d.layers.front().x, z.e);   // x = norm₀(e)
        add_backward(d.token, d.position, d.e);                                   // e = token + position
        embedding_backward(dweights.wpe, d.position, positions.data());           // position = wpe[positions]
        embedding_backward(dweights.wte, d.token, batch.inputs.data());           // token = wte[inputs]
        if (fault == Fault::transposed_weight) transpose(dweights.layers.front().wo);
    }

    void layer_backward(std::size_t l) {
        const LayerActivations<T>& z = values.layers[l];
        const LayerWeights<T>& w = weights.layers[l];
        LayerActivations<T>& d = dvalues.layers[l];
        LayerWeights<T>& dw = dweights.layers[l];
        const Matrix<T>& doutput = dvalues.output(l);
        const bool last = l + 1 == values.layers.size();
        add_backward(d.mid, d.u, doutput);  // output = mid + u
        if (fault == Fault::double_count && last) copy_backward(d.mid, doutput);
        linear_backward(d.f, dw.w2, d.u, z.f, w.w2);                  // u = f W2
        act_backward(d.h, d.f, z.h);                                  // f = act(h)
        linear_backward(d.m, dw.w1, d.h, z.m, w.w1);                  // h = m W1
        norm_backward(config.norm == Norm::full, d.mid, d.m, z.mid);  // m = norm₂(mid)
        add_backward(d.x, d.o, d.mid);                                // mid = x + o
        linear_backward(d.a, dw.wo, d.o, z.a, w.wo);                  // o = a Wo
        attention_backward(d.q, d.k, d.v, d.a, z.p, z.q, z.k, z.v, config.heads, positions.data(),
                           fault == Fault::past_kv ? Reach::own : Reach::all);  // a = attention(q, k, v)
        linear_backward_weight(dw.wq, d.q, z.n);                                // q = n Wq
        linear_backward_weight(dw.wk, d.k, z.n);                                // k = n Wk
        linear_backward_weight(dw.wv, d.v, z.n);                                // v = n Wv
        if (fault == Fault::past_activations) keep_own_positions(d, z);
        linear_backward_input(d.n, d.q, w.wq);  // q = n Wq
        if (fault == Fault::overwritten) set_zero(d.n);
        linear_backward_input(d.n, d.k, w.wk);  // k = n Wk
        if (fault == Fault::overwritten) set_zero(d.n);
        linear_backward_input(d.n, d.v, w.wv);      // v = n Wv
        norm_backward(has_norm1(), d.x, d.n, z.x);  // n = norm₁(x)
    }

    /// Leaves in d.k and d.v only what each position's own query sends.
    void keep_own_positions(LayerActivations<T>& d, const LayerActivations<T>& z) const {
        Matrix<T> dq = d.q;
        set_zero(d.k);
        set_zero(d.v);
        attention_backward(dq, d.k, d.v, d.a, z.p, z.q, z.k, z.v, config.heads, positions.data(), Reach::own);
    }
};

/// Derived from the order of the backward pass: what it writes before the fault keeps its bits, what hangs below is
/// wrong. So each fault of a residual or of an input's gradient reaches, beyond the sets found by experiment on one
/// layer, every weight of the layers before the last ("wte wpe only" of past_activations holds for one layer), and for
/// overwritten and double_count, as norms have no weights here, no weight of a norm.
bool is_wrong(Fault fault, const MicrogptConfig& config, int layer, std::string_view name) {
    const int last = config.layers - 1;
    const bool earlier = layer < last;  // wte and wpe, at layer −1, and the layers before the last
    const bool key_or_value = layer == last && (name == "wk" || name == "wv");
    const bool attention = key_or_value || (layer == last && (name == "wq" || name == "wo"));
    switch (fault) {
        case Fault::none:
            return false;
        case Fault::no_norm:
            return config.norm != Norm::none && (earlier || (config.norm == Norm::full && attention));
        case Fault::past_kv:
            return earlier || key_or_value;
        case Fault::past_activations:
        case Fault::overwritten:
            return earlier;
        case Fault::mean_factor:
            return true;
        case Fault::transposed_weight:
            return layer == 0 && name == "wo";
        case Fault::double_count:
            return earlier || attention;
        case Fault::forward_no_norm:
            return config.norm != Norm::none;
    }
    return false;
}

}  // namespace

template <class T> Arrays<T> microgpt_parameters(const MicrogptConfig& config) {
    check(config);
    Weights<T> zeros(config);
    return to_arrays<T>(config.layers, zeros);
}

template <class T>
Run<T> microgpt_run(const MicrogptConfig& config, const Arrays<T>& parameters, const Batch& batch,
                    std::string_view fault) {
    check(config);
    check_batch(model_name, batch, config.vocab, config.block, "block");
    Microgpt<T> model{.config = config, .batch = batch, .fault = to_fault(fault), .weights = Weights<T>(config)};
    from_arrays(model_name, config.layers, model.weights, parameters);
    const T loss = model.forward();
    model.backward();
    return {loss, model.values.logits.values, to_arrays<T>(config.layers, model.dweights)};
}

std::span<const FaultInfo> microgpt_faults() { return faults; }

std::vector<std::string> microgpt_wrong_gradients(const MicrogptConfig& config, std::string_view fault) {
    check(config);
    return names_where(config.layers, Weights<float>(config),
                       [&, committed = to_fault(fault)](int layer, std::string_view name) {
                           return is_wrong(committed, config, layer, name);
                       });
}

template Arrays<float> microgpt_parameters(const MicrogptConfig&);
template Arrays<double> microgpt_parameters(const MicrogptConfig&);
template Run<float> microgpt_run(const MicrogptConfig&, const Arrays<float>&, const Batch&, std::string_view);
template Run<double> microgpt_run(const MicrogptConfig&, const Arrays<double>&, const Batch&, std::string_view);

}  // namespace xtape::reference
