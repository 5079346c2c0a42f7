#include "llama.hpp"

#include "kernels.hpp"
#include "llama_kernels.hpp"
#include "model.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

/// Weights<T> and Activations<T> hold a model's values and, a second time, its gradients under the same names.
/// Llama<T> owns both pairs; read `forward` and `layer_forward`, then the backward passes from the last line up.

namespace xtape::reference {
namespace {

int kv_heads(const LlamaConfig& c) { return c.kv_heads == 0 ? c.heads : c.kv_heads; }
int head_width(const LlamaConfig& c) { return c.dim / c.heads; }

template <class T> using NormWeight = std::vector<T>;

template <class T> struct LayerWeights {
    NormWeight<T> attention_norm;
    Matrix<T> wq, wk, wv, wo;
    NormWeight<T> ffn_norm;
    Matrix<T> w1, w2, w3;
};

template <class T> struct Weights {
    Matrix<T> token_embedding;
    std::vector<LayerWeights<T>> layers;
    NormWeight<T> final_norm;
    Matrix<T> own_classifier;
    bool tied;

    explicit Weights(const LlamaConfig& c)
        : token_embedding(c.vocab, c.dim), layers(std::size_t(c.layers)), final_norm(std::size_t(c.dim)), tied(c.tied) {
        if (!tied) own_classifier = token_embedding;
        for (LayerWeights<T>& w : layers) {
            w.attention_norm = w.ffn_norm = final_norm;
            w.wq = w.wo = Matrix<T>(c.dim, c.dim);
            w.wk = w.wv = Matrix<T>(kv_heads(c) * head_width(c), c.dim);
            w.w1 = w.w3 = Matrix<T>(c.ffn, c.dim);
            w.w2 = Matrix<T>(c.dim, c.ffn);
        }
    }

    Matrix<T>& classifier() { return tied ? token_embedding : own_classifier; }

    /// See model.hpp: token_embedding is layer −1, final_norm and the classifier follow the last.
    void each(auto&& visit) {
        visit(-1, "token_embedding", token_embedding);
        int layer = 0;
        for (LayerWeights<T>& w : layers) {
            visit(layer, "attention_norm", w.attention_norm);
            visit(layer, "wq", w.wq);
            visit(layer, "wk", w.wk);
            visit(layer, "wv", w.wv);
            visit(layer, "wo", w.wo);
            visit(layer, "ffn_norm", w.ffn_norm);
            visit(layer, "w1", w.w1);
            visit(layer, "w2", w.w2);
            visit(layer, "w3", w.w3);
            ++layer;
        }
        visit(layer, "final_norm", final_norm);
        if (!tied) visit(layer, "classifier", own_classifier);
    }
};

template <class T> struct LayerActivations {
    Matrix<T> x;               // input of the layer
    Matrix<T> n;               // n = rms_norm(x, attention_norm)
    Matrix<T> q, k, v;         // q, k, v = n Wqᵀ, n Wkᵀ, n Wvᵀ
    Matrix<T> qr, kr, a, lse;  // qr, kr = rope(q), rope(k), a = attention(qr, kr, v)
    Matrix<T> o, mid;          // o = a Woᵀ, mid = x + o
    Matrix<T> m, g, u, f, down;  // m = rms_norm(mid, ffn_norm), g, u = m W1ᵀ, m W3ᵀ, f = silu(g) ⊙ u, down = f W2ᵀ
};                               // the layer's output is mid + down

template <class T> struct Activations {
    std::vector<LayerActivations<T>> layers;
    Matrix<T> x, y;  // x: output of the last layer, y = rms_norm(x, final_norm)
    Matrix<T> logits;

    Activations(const LlamaConfig& c, int rows)
        : layers(std::size_t(c.layers)), x(rows, c.dim), y(rows, c.dim), logits(rows, c.vocab) {
        for (LayerActivations<T>& z : layers) {
            z.x = z.n = z.q = z.qr = z.a = z.o = z.mid = z.m = z.down = x;
            z.k = z.v = z.kr = Matrix<T>(rows, kv_heads(c) * head_width(c));
            z.lse = Matrix<T>(rows, c.heads);
            z.g = z.u = z.f = Matrix<T>(rows, c.ffn);
        }
    }

    Matrix<T>& output(std::size_t layer) { return layer + 1 < layers.size() ? layers[layer + 1].x : x; }
};

constexpr std::string_view model_name = "llama";

void check(const LlamaConfig& c) {
    const auto say = [](const char* name, int value) { return std::string(name) + " is " + std::to_string(value); };
    require(model_name, std::min({c.vocab, c.dim, c.layers, c.heads, c.ffn, c.context}) > 0,
            "every size must be 1 or more");
    require(model_name, c.dim % (2 * c.heads) == 0,
            "dim must be an even multiple of heads: " + say("dim", c.dim) + ", " + say("heads", c.heads));
    require(model_name, kv_heads(c) > 0 && kv_heads(c) <= c.heads,
            "kv_heads must be 1 to heads: " + say("kv_heads", c.kv_heads) + ", " + say("heads", c.heads));
    require(model_name, c.rope_theta > 0 && c.norm_epsilon > 0, "rope_theta and norm_epsilon must be above 0");
}

/// `none`, then one for each row of `faults` in the same order.
enum class Fault {
    none,
    norm_factor,
    ffn_norm_input,
    norm_extra_weight,
    frozen_norms,
    rope_forward,
    rope_pairing,
    overwritten,
    mean_factor,
    transposed_weight,
    double_count,
    forward_no_norm,
};

constexpr std::array faults{
    FaultInfo{"llama-norm-factor", "the second term of every norm's derivative is divided by D r^2, not D r^3"},
    FaultInfo{"llama-ffn-norm-input", "every FFN norm's derivative is taken at its layer's input, without attention"},
    FaultInfo{"llama-norm-extra-weight", "the norm weight multiplies the second term of every norm's derivative too"},
    FaultInfo{"llama-frozen-norms", "norm weights get no gradient"},
    FaultInfo{"llama-rope-forward", "the gradient of rope is rotated forward instead of back"},
    FaultInfo{"llama-rope-pairing", "the gradient of rope pairs columns as the other form of rope does"},
    FaultInfo{"overwritten", "the gradient of the normed input is overwritten, not added to, by q, k and v in turn"},
    FaultInfo{"mean-factor", "the loss is the mean over S-1 targets, its gradient is divided by S"},
    FaultInfo{"transposed-weight", "the gradient of layers.0.wo is transposed"},
    FaultInfo{"double-count", "the gradient of the last layer's FFN residual is added twice"},
    FaultInfo{"forward-no-norm", "the norms before attention are left out of both passes"},
};

Fault to_fault(std::string_view id) { return Fault(fault_number(model_name, id, faults)); }

Pairs pairs_of(Rope rope, int width) { return rope == Rope::interleaved ? Pairs{2, 1} : Pairs{1, width / 2}; }

template <class T> struct Llama {
    const LlamaConfig& config;
    const Batch& batch;
    const Fault fault;
    const bool no_norm = fault == Fault::forward_no_norm;
    const std::vector<int> positions = positions_of(batch.offsets);
    const HeadGroups heads{config.heads, kv_heads(config)};
    Weights<T> weights{config}, dweights{config};
    Activations<T> values{config, static_cast<int>(positions.size())};
    Activations<T> dvalues = values;

    void norm_forward(Matrix<T>& y, const Matrix<T>& x, const NormWeight<T>& w) const {
        rms_norm_forward(y, x, w, config.norm_epsilon);
    }

    void norm_backward(Matrix<T>& dx, NormWeight<T>& dw, const Matrix<T>& dy, const Matrix<T>& x,
                       const NormWeight<T>& w) const {
        const SecondTerm second = fault == Fault::norm_factor         ? SecondTerm::missing_factor
                                  : fault == Fault::norm_extra_weight ? SecondTerm::extra_weight
                                                                      : SecondTerm::right;
        rms_norm_backward_input(dx, dy, x, w, config.norm_epsilon, second);
        if (fault != Fault::frozen_norms) rms_norm_backward_weight(dw, dy, x, config.norm_epsilon);
    }

    void turn_forward(Matrix<T>& y, const Matrix<T>& x) const {
        const int width = head_width(config);
        rope_forward(y, x, width, pairs_of(config.rope, width), config.rope_theta, positions.data());
    }

    void turn_backward(Matrix<T>& dx, const Matrix<T>& dy) const {
        const int width = head_width(config);
        const Rope other = config.rope == Rope::interleaved ? Rope::half_split : Rope::interleaved;
        const Pairs pairs = pairs_of(fault == Fault::rope_pairing ? other : config.rope, width);
        rope_backward(dx, dy, width, pairs, config.rope_theta, positions.data(),
                      fault == Fault::rope_forward ? Turn::forward : Turn::back);
    }

    T forward() {
        Activations<T>& z = values;
        embedding_forward(z.layers.front().x, weights.token_embedding, batch.inputs.data());
        for (std::size_t l = 0; l < z.layers.size(); ++l) layer_forward(z.output(l), z.layers[l], weights.layers[l]);
        norm_forward(z.y, z.x, weights.final_norm);
        projection_forward(z.logits, z.y, weights.classifier());
        return cross_entropy_forward(z.logits, batch.targets.data());
    }

    void layer_forward(Matrix<T>& output, LayerActivations<T>& z, const LayerWeights<T>& w) const {
        no_norm ? copy_forward(z.n, z.x) : norm_forward(z.n, z.x, w.attention_norm);
        projection_forward(z.q, z.n, w.wq);
        projection_forward(z.k, z.n, w.wk);
        projection_forward(z.v, z.n, w.wv);
        turn_forward(z.qr, z.q);
        turn_forward(z.kr, z.k);
        grouped_attention_forward(z.a, z.lse, z.qr, z.kr, z.v, heads, positions.data());
        projection_forward(z.o, z.a, w.wo);
        add_forward(z.mid, z.x, z.o);
        norm_forward(z.m, z.mid, w.ffn_norm);
        projection_forward(z.g, z.m, w.w1);
        projection_forward(z.u, z.m, w.w3);
        swiglu_forward(z.f, z.g, z.u);
        projection_forward(z.down, z.f, w.w2);
        add_forward(output, z.mid, z.down);
    }

    void backward() {
        const Activations<T>& z = values;
        Activations<T>& d = dvalues;
        const T count = T(count_targets(batch.targets.data(), z.logits.rows));  // S − 1 for S tokens of one sequence
        const T dloss = fault == Fault::mean_factor ? count / (count + 1) : T(1);
        // loss = mean(−log softmax(logits))
        cross_entropy_backward(d.logits, dloss, z.logits, batch.targets.data());
        // logits = y classifierᵀ
        projection_backward(d.y, dweights.classifier(), d.logits, z.y, weights.classifier());
        norm_backward(d.x, dweights.final_norm, d.y, z.x, weights.final_norm);  // y = rms_norm(x, final_norm)
        for (std::size_t l = z.layers.size(); l-- > 0;) layer_backward(l);      // x = layer(x)
        // x = token_embedding[inputs]
        embedding_backward(dweights.token_embedding, d.layers.front().x, batch.inputs.data());
        if (fault == Fault::transposed_weight) transpose(dweights.layers.front().wo);
    }

    void layer_backward(std::size_t l) {
        const LayerActivations<T>& z = values.layers[l];
        const LayerWeights<T>& w = weights.layers[l];
        LayerActivations<T>& d = dvalues.layers[l];
        LayerWeights<T>& dw = dweights.layers[l];
        const Matrix<T>& doutput = dvalues.output(l);
        const bool last = l + 1 == values.layers.size();
        add_backward(d.mid, d.down, doutput);  // output = mid + down
        if (fault == Fault::double_count && last) copy_backward(d.mid, doutput);
        projection_backward(d.f, dw.w2, d.down, z.f, w.w2);  // down = f W2ᵀ
        swiglu_backward(d.g, d.u, d.f, z.g, z.u);            // f = silu(g) ⊙ u
        projection_backward(d.m, dw.w3, d.u, z.m, w.w3);     // u = m W3ᵀ
        projection_backward(d.m, dw.w1, d.g, z.m, w.w1);     // g = m W1ᵀ
        const Matrix<T>& normed = fault == Fault::ffn_norm_input ? z.x : z.mid;
        norm_backward(d.mid, dw.ffn_norm, d.m, normed, w.ffn_norm);  // m = rms_norm(mid, ffn_norm)
        add_backward(d.x, d.o, d.mid);                               // mid = x + o
        projection_backward(d.a, dw.wo, d.o, z.a, w.wo);             // o = a Woᵀ
        grouped_attention_backward(d.qr, d.kr, d.v, d.a, z.lse, z.qr, z.kr, z.v, heads,
                                   positions.data());     // a = attention(qr, kr, v)
        turn_backward(d.k, d.kr);                         // kr = rope(k)
        turn_backward(d.q, d.qr);                         // qr = rope(q)
        projection_backward(d.n, dw.wq, d.q, z.n, w.wq);  // q = n Wqᵀ
        if (fault == Fault::overwritten) set_zero(d.n);
        projection_backward(d.n, dw.wk, d.k, z.n, w.wk);  // k = n Wkᵀ
        if (fault == Fault::overwritten) set_zero(d.n);
        projection_backward(d.n, dw.wv, d.v, z.n, w.wv);  // v = n Wvᵀ
        no_norm ? copy_backward(d.x, d.n)
                : norm_backward(d.x, dw.attention_norm, d.n, z.x, w.attention_norm);  // n = rms_norm(x, attention_norm)
    }
};

/// Derived from the order of the backward pass: what it writes before the fault keeps its bits, what hangs below is
/// wrong. `earlier` is what the gradient reaches after the last layer; the lists are of the last layer's parameters.
bool is_wrong(Fault fault, const LlamaConfig& config, int layer, std::string_view name) {
    const int last = config.layers - 1;
    const bool earlier = layer < last;
    const bool outside = layer > last;  // final_norm and the classifier
    const auto is_one_of = [&](auto... names) { return layer == last && ((name == names) || ...); };
    switch (fault) {
        case Fault::none:
            return false;
        case Fault::norm_factor:
        case Fault::norm_extra_weight:
            return !outside;
        case Fault::ffn_norm_input:
            return earlier || is_one_of("ffn_norm", "wo", "wq", "wk", "wv", "attention_norm");
        case Fault::frozen_norms:
            return name.ends_with("_norm");
        case Fault::rope_pairing:  // pairs of a head of width 2 are the same in both forms
        case Fault::rope_forward:
            return (fault == Fault::rope_forward || head_width(config) > 2) &&
                   (earlier || is_one_of("wq", "wk", "attention_norm"));
        case Fault::overwritten:
            return earlier || is_one_of("attention_norm");
        case Fault::mean_factor:
            return true;
        case Fault::transposed_weight:
            return layer == 0 && name == "wo";
        case Fault::double_count:
            return earlier || is_one_of("wo", "wq", "wk", "wv", "attention_norm");
        case Fault::forward_no_norm:
            return true;
    }
    return false;
}

}  // namespace

template <class T> Arrays<T> llama_parameters(const LlamaConfig& config) {
    check(config);
    Weights<T> zeros(config);
    return to_arrays<T>(config.layers, zeros);
}

template <class T>
Run<T> llama_run(const LlamaConfig& config, const Arrays<T>& parameters, const Batch& batch, std::string_view fault) {
    check(config);
    check_batch(model_name, batch, config.vocab, config.context, "context");
    Llama<T> model{.config = config, .batch = batch, .fault = to_fault(fault)};
    from_arrays(model_name, config.layers, model.weights, parameters);
    const T loss = model.forward();
    model.backward();
    return {loss, model.values.logits.values, to_arrays<T>(config.layers, model.dweights)};
}

std::span<const FaultInfo> llama_faults() { return faults; }

std::vector<std::string> llama_wrong_gradients(const LlamaConfig& config, std::string_view fault) {
    check(config);
    return names_where(config.layers, Weights<float>(config),
                       [&, committed = to_fault(fault)](int layer, std::string_view name) {
                           return is_wrong(committed, config, layer, name);
                       });
}

template Arrays<float> llama_parameters(const LlamaConfig&);
template Arrays<double> llama_parameters(const LlamaConfig&);
template Run<float> llama_run(const LlamaConfig&, const Arrays<float>&, const Batch&, std::string_view);
template Run<double> llama_run(const LlamaConfig&, const Arrays<double>&, const Batch&, std::string_view);

}  // namespace xtape::reference
