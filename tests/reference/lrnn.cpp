#include "lrnn.hpp"

#include "layer_norm.hpp"
#include "lrnn_kernels.hpp"
#include "model.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <initializer_list>
#include <stdexcept>

/// Weights<T> and Activations<T> hold a model's values and, a second time, its gradients under the same names.
/// Lrnn<T> owns both pairs; read `forward`, `time_mix` and `channel_mix`, then the backward passes from the last line
/// up.

namespace xtape::reference {
namespace {

constexpr double epsilon = 1e-6;

template <class T> struct LayerWeights {
    LayerNorm<T> ln1, ln2;
    TokenShift<T> time_shift;
    std::vector<T> mix_r, mix_k, mix_v;
    Matrix<T> lora_a, lora_b;
    std::vector<T> decay_base, time_first;
    Matrix<T> wr, wk, wv, wo;
    std::vector<T> channel_mix;
    Matrix<T> ffn_gate, ffn_up, ffn_down;
    Matrix<T> gate_write, gate_read;
};

template <class T> struct Weights {
    Matrix<T> emb;
    LayerNorm<T> ln0;
    std::vector<LayerWeights<T>> layers;
    LayerNorm<T> ln_out;
    Matrix<T> head;

    explicit Weights(const LrnnConfig& c)
        : emb(c.vocab, c.dim), layers(static_cast<std::size_t>(c.layers)), head(c.dim, c.vocab) {
        const std::vector<T> channels(static_cast<std::size_t>(c.dim));
        ln0 = ln_out = zero_layer_norm<T>(c.dim);
        for (LayerWeights<T>& w : layers) {
            w.ln1 = w.ln2 = zero_layer_norm<T>(c.dim);
            w.time_shift = {{channels, channels, channels}};
            w.mix_r = w.mix_k = w.mix_v = w.decay_base = w.time_first = w.channel_mix = channels;
            w.lora_a = Matrix<T>(c.dim, c.decay_rank);
            w.lora_b = Matrix<T>(c.decay_rank, c.dim);
            w.wr = w.wk = w.wv = w.wo = Matrix<T>(c.dim, c.dim);
            w.ffn_gate = w.ffn_up = Matrix<T>(c.dim, c.ffn);
            w.ffn_down = Matrix<T>(c.ffn, c.dim);
            w.gate_write = w.gate_read = Matrix<T>(c.dim, c.slots);
        }
    }

    void each(auto&& visit) {
        visit(-1, "emb", emb);
        visit(-1, "ln0.weight", ln0.weight);
        visit(-1, "ln0.bias", ln0.bias);
        for (int layer = 0; layer < static_cast<int>(layers.size()); ++layer) each_of_layer(layer, visit);
        const int after = static_cast<int>(layers.size());
        visit(after, "ln_out.weight", ln_out.weight);
        visit(after, "ln_out.bias", ln_out.bias);
        visit(after, "head", head);
    }

    void each_of_layer(int layer, auto& visit) {
        LayerWeights<T>& w = layers[static_cast<std::size_t>(layer)];
        visit(layer, "ln1.weight", w.ln1.weight);
        visit(layer, "ln1.bias", w.ln1.bias);
        visit(layer, "ln2.weight", w.ln2.weight);
        visit(layer, "ln2.bias", w.ln2.bias);
        visit(layer, "time_shift_w1", w.time_shift.w[0]);
        visit(layer, "time_shift_w2", w.time_shift.w[1]);
        visit(layer, "time_shift_w4", w.time_shift.w[2]);
        visit(layer, "time_mix_r", w.mix_r);
        visit(layer, "time_mix_k", w.mix_k);
        visit(layer, "time_mix_v", w.mix_v);
        visit(layer, "decay_lora_a", w.lora_a);
        visit(layer, "decay_lora_b", w.lora_b);
        visit(layer, "decay_base", w.decay_base);
        visit(layer, "time_first", w.time_first);
        visit(layer, "Wr", w.wr);
        visit(layer, "Wk", w.wk);
        visit(layer, "Wv", w.wv);
        visit(layer, "Wo", w.wo);
        visit(layer, "channel_mix", w.channel_mix);
        visit(layer, "ffn_gate", w.ffn_gate);
        visit(layer, "ffn_up", w.ffn_up);
        visit(layer, "ffn_down", w.ffn_down);
        visit(layer, "mem_gate_write", w.gate_write);
        visit(layer, "mem_gate_read", w.gate_read);
    }
};

template <class T> struct LayerActivations {
    Matrix<T> x;                                       // input of the layer
    Matrix<T> n, s;                                    // n = layer_norm(x, ln1), s its token shift
    Matrix<T> xr, xk, xv;                              // mixes of n and s
    Matrix<T> r_logits, r, k_logits, k, v, kv;         // r = σ(xr Wr), k = exp(clamp(xk Wk)), kv = k ⊙ v
    Matrix<T> low, decay_logits, decay, a;             // low = n A, decay = σ(low B + base), a = decay ⊙ alibi
    std::vector<T> f;                                  // f = exp(clamp(time_first))
    Matrix<T> write_logits, write, read_logits, read;  // gates of the slots
    Matrix<T> num, num_starts, den, den_starts;        // Σ_m read N, Σ_m read E, their states at chunk starts
    Matrix<T> wkv, g, o, mid;                          // g = r ⊙ wkv, o = g Wo, mid = x + o
    Matrix<T> m, previous, y, gate, up, h, down;       // m = layer_norm(mid, ln2), y = mix(m, previous m), …
};                                                     // … down = swiglu(gate, up) Wdown; output = mid + down

template <class T> struct Activations {
    Matrix<T> e;  // emb[tokens]
    std::vector<LayerActivations<T>> layers;
    Matrix<T> x;  // output of the last layer
    Matrix<T> z;  // layer_norm(x, ln_out)
    Matrix<T> logits;

    Activations(const LrnnConfig& c, int rows, int chunks)
        : e(rows, c.dim), layers(static_cast<std::size_t>(c.layers)), x(e), z(e), logits(rows, c.vocab) {
        for (LayerActivations<T>& l : layers) {
            l.x = l.n = l.s = l.xr = l.xk = l.xv = e;
            l.r_logits = l.r = l.k_logits = l.k = l.v = l.kv = l.decay_logits = l.decay = l.a = e;
            l.num = l.den = l.wkv = l.g = l.o = l.mid = l.m = l.previous = l.y = l.down = e;
            l.low = Matrix<T>(rows, c.decay_rank);
            l.f.resize(static_cast<std::size_t>(c.dim));
            l.write_logits = l.write = l.read_logits = l.read = Matrix<T>(rows, c.slots);
            l.num_starts = l.den_starts = Matrix<T>(chunks, c.slots * c.dim);
            l.gate = l.up = l.h = Matrix<T>(rows, c.ffn);
        }
    }

    Matrix<T>& output(std::size_t layer) { return layer + 1 < layers.size() ? layers[layer + 1].x : x; }
};

constexpr std::string_view model_name = "lrnn";

void check(const LrnnConfig& c) {
    require(model_name, std::min({c.vocab, c.layers, c.dim, c.heads, c.decay_rank, c.ffn, c.slots, c.chunk}) > 0,
            "every size must be 1 or more");
    require(
        model_name, c.dim % c.heads == 0,
        "dim must be a multiple of heads: dim is " + std::to_string(c.dim) + ", heads is " + std::to_string(c.heads));
}

void check(const LrnnConfig& c, const Batch& batch) {
    const auto& [inputs, targets, offsets] = batch;
    const int rows = static_cast<int>(inputs.size());
    require(model_name, rows > 0, "a batch needs one position or more");
    require(model_name, inputs.size() == targets.size(),
            std::to_string(rows) + " inputs but " + std::to_string(targets.size()) + " targets");
    for (const auto* tokens : {&inputs, &targets})
        for (const int id : *tokens)
            require(model_name, id >= 0 && id < c.vocab,
                    "token " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(c.vocab));
    require(model_name,
            !offsets.empty() && offsets.front() == 0 && offsets.back() == rows && std::ranges::is_sorted(offsets),
            "offsets must rise from 0 to the number of inputs, " + std::to_string(rows));
}

/// exp(−2^(−8(k+1)/H)) for the channels of head k.
template <class T> std::vector<T> alibi_decay(const LrnnConfig& c) {
    std::vector<T> alibi;
    for (int j = 0; j < c.dim; ++j) {
        const int head = j / (c.dim / c.heads);
        alibi.push_back(T(std::exp(-std::exp2(-8.0 * (head + 1) / c.heads))));
    }
    return alibi;
}

/// `none`, then one for each row of `faults` in the same order.
enum class Fault {
    none,
    gate_path,
    smoothed_loss,
    clamped_scan,
    eps_softmax,
    no_carry,
    overwritten,
    mean_factor,
    transposed_weight,
    double_count,
    forward_no_norm,
};

constexpr std::array faults{
    FaultInfo{"lrnn-gate-path", "what the memory gates' logits send to the normed input is overwritten by zero"},
    FaultInfo{"lrnn-smoothed-loss", "the gradient is that of a label-smoothed loss (0.1), the loss is not"},
    FaultInfo{"lrnn-clamped-scan", "dL/dk, dL/dv, dL/ddecay and dL/df are clamped to 50 either way"},
    FaultInfo{"lrnn-eps-softmax", "the memory gates' softmax divides by its sum + 1e-6, in the forward"},
    FaultInfo{"scan-no-carry", "the carry between chunks of the scan's reverse pass is lost"},
    FaultInfo{"overwritten", "the gradient of the normed input is overwritten by that of the mix for r"},
    FaultInfo{"mean-factor", "the loss is the mean over S-1 targets, its gradient is divided by S"},
    FaultInfo{"transposed-weight", "the gradient of layers.0.Wo is transposed"},
    FaultInfo{"double-count", "the gradient of the last layer's channel-mix residual is added twice"},
    FaultInfo{"forward-no-norm", "the norms before the time mix are left out of both passes"},
};

constexpr double smoothing_of_fault = 0.1;

Fault to_fault(std::string_view id) { return Fault(fault_number("lrnn", id, faults)); }

template <class T> void clamp_all(std::vector<T>& values) {
    for (T& value : values) value = std::clamp(value, T(-50), T(50));
}

template <class T> struct Lrnn {
    const LrnnConfig& config;
    const Batch& batch;
    const Fault fault;
    const bool no_norm = fault == Fault::forward_no_norm;
    const std::vector<int> positions = positions_of(batch.offsets);
    const std::vector<Chunk> chunks = chunks_of(batch.offsets, config.chunk);
    const std::vector<T> alibi = alibi_decay<T>(config);
    Weights<T> weights{config}, dweights{config};
    Activations<T> values{config, static_cast<int>(positions.size()), static_cast<int>(chunks.size())};
    Activations<T> dvalues = values;

    T forward() {
        Activations<T>& z = values;
        embedding_forward(z.e, weights.emb, batch.inputs.data());
        layer_norm_forward(z.layers.front().x, z.e, weights.ln0, T(epsilon));
        for (std::size_t l = 0; l < z.layers.size(); ++l) {
            time_mix(z.layers[l], weights.layers[l]);
            channel_mix(z.output(l), z.layers[l], weights.layers[l]);
        }
        layer_norm_forward(z.z, z.x, weights.ln_out, T(epsilon));
        linear_forward(z.logits, z.z, weights.head);
        return smoothed_cross_entropy_forward(z.logits, batch.targets.data(), T(config.label_smoothing));
    }

    void time_mix(LayerActivations<T>& z, const LayerWeights<T>& w) const {
        no_norm ? copy_forward(z.n, z.x) : layer_norm_forward(z.n, z.x, w.ln1, T(epsilon));
        token_shift_forward(z.s, z.n, w.time_shift, positions.data());
        mix_forward(z.xr, z.n, z.s, w.mix_r);
        mix_forward(z.xk, z.n, z.s, w.mix_k);
        mix_forward(z.xv, z.n, z.s, w.mix_v);
        linear_forward(z.r_logits, z.xr, w.wr);
        sigmoid_forward(z.r.values, z.r_logits.values);
        linear_forward(z.k_logits, z.xk, w.wk);
        clamped_exp_forward(z.k.values, z.k_logits.values);
        linear_forward(z.v, z.xv, w.wv);
        linear_forward(z.low, z.n, w.lora_a);
        linear_forward(z.decay_logits, z.low, w.lora_b);
        biased_sigmoid_forward(z.decay, z.decay_logits, w.decay_base);
        scale_columns_forward(z.a, z.decay, alibi);
        clamped_exp_forward(z.f, w.time_first);
        const T extra = fault == Fault::eps_softmax ? T(epsilon) : T(0);
        linear_forward(z.write_logits, z.n, w.gate_write);
        row_softmax_forward(z.write, z.write_logits, extra);
        linear_forward(z.read_logits, z.n, w.gate_read);
        row_softmax_forward(z.read, z.read_logits, extra);
        multiply_forward(z.kv, z.k, z.v);
        slot_scan_forward(z.num, z.num_starts, {z.a, z.kv, z.write, z.read}, chunks);
        slot_scan_forward(z.den, z.den_starts, {z.a, z.k, z.write, z.read}, chunks);
        wkv_forward(z.wkv, z.num, z.den, z.kv, z.k, z.f);
        multiply_forward(z.g, z.r, z.wkv);
        linear_forward(z.o, z.g, w.wo);
        add_forward(z.mid, z.x, z.o);
    }

    void channel_mix(Matrix<T>& output, LayerActivations<T>& z, const LayerWeights<T>& w) const {
        layer_norm_forward(z.m, z.mid, w.ln2, T(epsilon));
        previous_forward(z.previous, z.m, positions.data());
        mix_forward(z.y, z.m, z.previous, w.channel_mix);
        linear_forward(z.gate, z.y, w.ffn_gate);
        linear_forward(z.up, z.y, w.ffn_up);
        swiglu_forward(z.h, z.gate, z.up);
        linear_forward(z.down, z.h, w.ffn_down);
        add_forward(output, z.mid, z.down);
    }

    void backward() {
        const Activations<T>& z = values;
        Activations<T>& d = dvalues;
        const T rows = T(z.logits.rows);  // S − 1 for the S tokens of one sequence
        const T dloss = fault == Fault::mean_factor ? rows / (rows + 1) : T(1);
        const double smoothing = fault == Fault::smoothed_loss ? smoothing_of_fault : config.label_smoothing;
        smoothed_cross_entropy_backward(d.logits, dloss, z.logits, batch.targets.data(),
                                        T(smoothing));                                    // loss = mean(−Σ q log p)
        linear_backward(d.z, dweights.head, d.logits, z.z, weights.head);                 // logits = z head
        layer_norm_backward(d.x, dweights.ln_out, d.z, z.x, weights.ln_out, T(epsilon));  // z = layer_norm(x, ln_out)
        for (std::size_t l = z.layers.size(); l-- > 0;) {
            channel_mix_backward(d.layers[l], dweights.layers[l], d.output(l), z.layers[l], weights.layers[l]);
            if (fault == Fault::double_count && l + 1 == z.layers.size()) copy_backward(d.layers[l].mid, d.x);
            time_mix_backward(d.layers[l], dweights.layers[l], z.layers[l], weights.layers[l]);
        }
        layer_norm_backward(d.e, dweights.ln0, d.layers.front().x, z.e, weights.ln0,
                            T(epsilon));                             // x = layer_norm(e, ln0)
        embedding_backward(dweights.emb, d.e, batch.inputs.data());  // e = emb[inputs]
        if (fault == Fault::transposed_weight) transpose(dweights.layers.front().wo);
    }

    void channel_mix_backward(LayerActivations<T>& d, LayerWeights<T>& dw, const Matrix<T>& doutput,
                              const LayerActivations<T>& z, const LayerWeights<T>& w) const {
        add_backward(d.mid, d.down, doutput);                                                // output = mid + down
        linear_backward(d.h, dw.ffn_down, d.down, z.h, w.ffn_down);                          // down = h Wdown
        swiglu_backward(d.gate, d.up, d.h, z.gate, z.up);                                    // h = silu(gate) ⊙ up
        linear_backward(d.y, dw.ffn_up, d.up, z.y, w.ffn_up);                                // up = y Wup
        linear_backward(d.y, dw.ffn_gate, d.gate, z.y, w.ffn_gate);                          // gate = y Wgate
        mix_backward(d.m, d.previous, dw.channel_mix, d.y, z.m, z.previous, w.channel_mix);  // y = mix(m, previous)
        previous_backward(d.m, d.previous, positions.data());                                // previous_t = m_{t−1}
        layer_norm_backward(d.mid, dw.ln2, d.m, z.mid, w.ln2, T(epsilon));                   // m = layer_norm(mid, ln2)
    }

    void time_mix_backward(LayerActivations<T>& d, LayerWeights<T>& dw, const LayerActivations<T>& z,
                           const LayerWeights<T>& w) const {
        add_backward(d.x, d.o, d.mid);                   // mid = x + o
        linear_backward(d.g, dw.wo, d.o, z.g, w.wo);     // o = g Wo
        multiply_backward(d.r, d.wkv, d.g, z.r, z.wkv);  // g = r ⊙ wkv
        memory_backward(d, z);                           // wkv = memory(k, v, decay, f, write, read)
        gates_backward(d, dw, z, w);                     // write, read = softmax(n Wwrite), softmax(n Wread)
        clamped_exp_backward(dw.time_first, d.f, w.time_first, z.f);               // f = exp(clamp(time_first))
        biased_sigmoid_backward(d.decay_logits, dw.decay_base, d.decay, z.decay);  // decay = σ(logits + decay_base)
        linear_backward(d.low, dw.lora_b, d.decay_logits, z.low, w.lora_b);        // logits = low B
        linear_backward(d.n, dw.lora_a, d.low, z.n, w.lora_a);                     // low = n A
        linear_backward(d.xv, dw.wv, d.v, z.xv, w.wv);                             // v = xv Wv
        clamped_exp_backward(d.k_logits.values, d.k.values, z.k_logits.values, z.k.values);  // k = exp(clamp(logits))
        linear_backward(d.xk, dw.wk, d.k_logits, z.xk, w.wk);                                // logits = xk Wk
        sigmoid_backward(d.r_logits.values, d.r.values, z.r.values);                         // r = σ(logits)
        linear_backward(d.xr, dw.wr, d.r_logits, z.xr, w.wr);                                // logits = xr Wr
        mix_backward(d.n, d.s, dw.mix_v, d.xv, z.n, z.s, w.mix_v);                           // xv = mix(n, s)
        mix_backward(d.n, d.s, dw.mix_k, d.xk, z.n, z.s, w.mix_k);                           // xk = mix(n, s)
        if (fault == Fault::overwritten) set_zero(d.n);
        mix_backward(d.n, d.s, dw.mix_r, d.xr, z.n, z.s, w.mix_r);                                // xr = mix(n, s)
        token_shift_backward(d.n, dw.time_shift, d.s, z.s, z.n, w.time_shift, positions.data());  // s = shift(n)
        no_norm ? copy_backward(d.x, d.n)
                : layer_norm_backward(d.x, dw.ln1, d.n, z.x, w.ln1, T(epsilon));  // n = layer_norm(x, ln1)
    }

    void memory_backward(LayerActivations<T>& d, const LayerActivations<T>& z) const {
        const Carry carry = fault == Fault::no_carry ? Carry::lost : Carry::kept;
        wkv_backward(d.num, d.den, d.kv, d.k, d.f, d.wkv, z.wkv, z.den, z.kv, z.k, z.f);  // wkv = (num + f kv) / …
        slot_scan_backward<T>({d.a, d.k, d.write, d.read}, d.den, z.den_starts, {z.a, z.k, z.write, z.read}, chunks,
                              carry);  // den_t = Σ_m read E_t, E_{t+1} = a ⊙ E_t + write k
        slot_scan_backward<T>({d.a, d.kv, d.write, d.read}, d.num, z.num_starts, {z.a, z.kv, z.write, z.read}, chunks,
                              carry);                 // num_t = Σ_m read N_t, N_{t+1} = a ⊙ N_t + write kv
        multiply_backward(d.k, d.v, d.kv, z.k, z.v);  // kv = k ⊙ v
        scale_columns_backward(d.decay, d.a, alibi);  // a = decay ⊙ alibi
        if (fault != Fault::clamped_scan) return;
        for (std::vector<T>* gradient : {&d.k.values, &d.v.values, &d.decay.values, &d.f}) clamp_all(*gradient);
    }

    /// The first to write d.n, of which lrnn-gate-path keeps nothing.
    void gates_backward(LayerActivations<T>& d, LayerWeights<T>& dw, const LayerActivations<T>& z,
                        const LayerWeights<T>& w) const {
        row_softmax_backward(d.write_logits, d.write, z.write);                  // write = softmax(logits)
        linear_backward(d.n, dw.gate_write, d.write_logits, z.n, w.gate_write);  // logits = n Wwrite
        row_softmax_backward(d.read_logits, d.read, z.read);                     // read = softmax(logits)
        linear_backward(d.n, dw.gate_read, d.read_logits, z.n, w.gate_read);     // logits = n Wread
        if (fault == Fault::gate_path) set_zero(d.n);
    }
};

/// Derived from the order of the backward pass: what it writes before the fault keeps its bits, what hangs below is
/// wrong, in the last layer as named and in all of the layers before it, ln0 and emb. The softmax of one slot is 1,
/// whose gradient is zero; with an epsilon below it, it is not.
bool is_wrong(Fault fault, const LrnnConfig& config, int layer, std::string_view name) {
    const int last = config.layers - 1;
    const bool earlier = layer < last;  // also emb and ln0, at layer −1
    const auto one_of = [&](std::initializer_list<std::string_view> starts) {
        return layer == last && std::ranges::any_of(starts, [&](auto start) { return name.starts_with(start); });
    };
    if (config.slots == 1 && name.starts_with("mem_gate") && fault != Fault::eps_softmax) return false;
    switch (fault) {
        case Fault::none:
            return false;
        case Fault::gate_path:
            return config.slots > 1 && (earlier || one_of({"ln1"}));
        case Fault::smoothed_loss:
            return config.label_smoothing != smoothing_of_fault;
        case Fault::clamped_scan:
            return earlier || one_of({"ln1", "time_shift", "time_mix_k", "Wk"});
        case Fault::eps_softmax:
            return true;
        case Fault::no_carry:
            return earlier ||
                   one_of({"ln1", "time_shift", "time_mix_k", "time_mix_v", "decay", "Wk", "Wv", "mem_gate_write"});
        case Fault::overwritten:
            return earlier || one_of({"ln1"});
        case Fault::mean_factor:
            return true;
        case Fault::transposed_weight:
            return layer == 0 && name == "Wo";
        case Fault::double_count:
            return earlier || one_of({"ln1", "time_", "decay", "W", "mem_gate"});
        case Fault::forward_no_norm:
            return true;
    }
    return false;
}

}  // namespace

template <class T> Arrays<T> lrnn_parameters(const LrnnConfig& config) {
    check(config);
    Weights<T> zeros(config);
    return to_arrays<T>(config.layers, zeros);
}

template <class T>
Run<T> lrnn_run(const LrnnConfig& config, const Arrays<T>& parameters, const Batch& batch, std::string_view fault) {
    check(config);
    check(config, batch);
    Lrnn<T> model{.config = config, .batch = batch, .fault = to_fault(fault)};
    from_arrays(model_name, config.layers, model.weights, parameters);
    const T loss = model.forward();
    model.backward();
    return {loss, model.values.logits.values, to_arrays<T>(config.layers, model.dweights)};
}

std::span<const FaultInfo> lrnn_faults() { return faults; }

std::vector<std::string> lrnn_wrong_gradients(const LrnnConfig& config, std::string_view fault) {
    check(config);
    return names_where(config.layers, Weights<float>(config),
                       [&, committed = to_fault(fault)](int layer, std::string_view name) {
                           return is_wrong(committed, config, layer, name);
                       });
}

template Arrays<float> lrnn_parameters(const LrnnConfig&);
template Arrays<double> lrnn_parameters(const LrnnConfig&);
template Run<float> lrnn_run(const LrnnConfig&, const Arrays<float>&, const Batch&, std::string_view);
template Run<double> lrnn_run(const LrnnConfig&, const Arrays<double>&, const Batch&, std::string_view);

}  // namespace xtape::reference
