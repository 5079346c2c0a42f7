"""usage: hugging_face.py FOLDER
Writes a Llama of random weights into FOLDER as Hugging Face names it (config.json, model.safetensors), and beside it
check.safetensors: tokens, and the logits that PyTorch computes for them. Exits with 77 where there is no PyTorch."""

import json
import struct
import sys
from pathlib import Path

try:
    import torch
except ImportError:
    sys.exit(77)

VOCAB, DIM, LAYERS, HEADS, KV_HEADS, FFN, LENGTH = 40, 32, 3, 4, 2, 56, 24
EPS, THETA = 1e-6, 10000.0
WIDTH = DIM // HEADS


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, tensor in tensors.items():
        raw = tensor.to(torch.float32).contiguous().numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def norm(x, weight):
    return weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS)


def rotate(x):
    """x [heads, length, width]; pair i is channels i and i + width / 2."""
    frequency = THETA ** (-torch.arange(0, WIDTH, 2, dtype=torch.float64) / WIDTH)
    angle = torch.arange(LENGTH, dtype=torch.float64)[:, None] * frequency[None]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., : WIDTH // 2], x[..., WIDTH // 2 :]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def logits(w, tokens):
    x = w["model.embed_tokens.weight"][tokens]
    mask = torch.full((LENGTH, LENGTH), float("-inf")).triu(1)
    for i in range(LAYERS):
        p = lambda name: w[f"model.layers.{i}.{name}.weight"]
        heads = lambda y, n: y.view(LENGTH, n, WIDTH).transpose(0, 1)
        n = norm(x, p("input_layernorm"))
        q = rotate(heads(n @ p("self_attn.q_proj").T, HEADS))
        k = rotate(heads(n @ p("self_attn.k_proj").T, KV_HEADS)).repeat_interleave(HEADS // KV_HEADS, 0)
        v = heads(n @ p("self_attn.v_proj").T, KV_HEADS).repeat_interleave(HEADS // KV_HEADS, 0)
        a = torch.softmax(q @ k.transpose(1, 2) / WIDTH**0.5 + mask, -1) @ v
        x = x + a.transpose(0, 1).reshape(LENGTH, DIM) @ p("self_attn.o_proj").T
        n = norm(x, p("post_attention_layernorm"))
        x = x + (torch.nn.functional.silu(n @ p("mlp.gate_proj").T) * (n @ p("mlp.up_proj").T)) @ p("mlp.down_proj").T
    return norm(x, w["model.norm.weight"]) @ w["lm_head.weight"].T


def main(folder):
    torch.manual_seed(1)
    torch.set_num_threads(1)
    matrix = lambda rows, columns: torch.randn(rows, columns) / columns**0.5
    scale = lambda: 1 + 0.3 * torch.randn(DIM)
    w = {"model.embed_tokens.weight": torch.randn(VOCAB, DIM)}
    for i in range(LAYERS):
        p = f"model.layers.{i}."
        w[p + "input_layernorm.weight"] = scale()
        w[p + "self_attn.q_proj.weight"] = matrix(DIM, DIM)
        w[p + "self_attn.k_proj.weight"] = matrix(KV_HEADS * WIDTH, DIM)
        w[p + "self_attn.v_proj.weight"] = matrix(KV_HEADS * WIDTH, DIM)
        w[p + "self_attn.o_proj.weight"] = matrix(DIM, DIM)
        w[p + "post_attention_layernorm.weight"] = scale()
        w[p + "mlp.gate_proj.weight"] = matrix(FFN, DIM)
        w[p + "mlp.up_proj.weight"] = matrix(FFN, DIM)
        w[p + "mlp.down_proj.weight"] = matrix(DIM, FFN)
    w["model.norm.weight"] = scale()
    w["lm_head.weight"] = matrix(VOCAB, DIM)
    tokens = torch.randint(0, VOCAB, (LENGTH,))
    config = {
        "model_type": "llama", "vocab_size": VOCAB, "hidden_size": DIM, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "intermediate_size": FFN,
        "max_position_embeddings": LENGTH, "rms_norm_eps": EPS, "rope_theta": THETA, "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(config))
    write_safetensors(folder / "model.safetensors", w)
    write_safetensors(folder / "check.safetensors", {"tokens": tokens, "logits": logits(w, tokens)})


main(Path(sys.argv[1]))
