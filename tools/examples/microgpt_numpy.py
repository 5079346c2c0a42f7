"""usage: microgpt_numpy.py DIR

microgpt's backward pass written by hand in NumPy, judged through files:

    xtape audit microgpt --export DIR --activations
    microgpt_numpy.py DIR
    xtape audit microgpt --against DIR

Gradients of some intermediates are written as well, so that a wrong line would be named.
"""

import sys
from pathlib import Path

try:
    import numpy as np
except ImportError:
    sys.exit("microgpt_numpy.py: it needs NumPy: apt install python3-numpy, or pip install numpy")

EPS, HEADS = 1e-5, 4


def rows_of(x, offsets):
    return [x[a:b] for a, b in zip(offsets[:-1], offsets[1:])]


def heads_of(x):  # [S, D] -> [H, S, D / H]
    return x.reshape(len(x), HEADS, -1).transpose(1, 0, 2)


def side_by_side(x):  # and back
    return x.transpose(1, 0, 2).reshape(x.shape[1], -1)


def probabilities(q, k):
    """softmax(q kT / sqrt(h)) below the diagonal, for one head of one sequence."""
    scores = q @ k.T / np.sqrt(q.shape[1], dtype=q.dtype)
    scores[np.triu_indices(len(q), 1)] = -np.inf
    e = np.exp(scores - scores.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def attention_backward(q, k, v, da):
    dq, dk, dv = (np.zeros_like(x) for x in (q, k, v))
    for h in range(HEADS):
        p = probabilities(q[h], k[h])
        dp = da[h] @ v[h].T
        ds = p * (dp - (p * dp).sum(1, keepdims=True)) / np.sqrt(q.shape[2], dtype=q.dtype)
        dq[h], dk[h], dv[h] = ds @ k[h], ds.T @ q[h], p.T @ da[h]
    return dq, dk, dv


def gradients(w, tokens, targets, offsets):
    """The loss, its gradient by each weight, and by some intermediates under the names that the export gives them."""
    positions = np.concatenate([np.arange(b - a) for a, b in zip(offsets[:-1], offsets[1:])])
    x = w["wte"][tokens] + w["wpe"][positions]
    scale = 1 / np.sqrt((x * x).mean(1, keepdims=True) + np.float32(EPS))
    n = x * scale
    q, k, v = (n @ w["layers.0." + name] for name in ("wq", "wk", "wv"))
    a = np.empty_like(x)
    for qs, ks, vs, out in zip(*(rows_of(y, offsets) for y in (q, k, v, a))):
        qs, ks, vs = heads_of(qs), heads_of(ks), heads_of(vs)
        out[:] = side_by_side(np.stack([probabilities(qs[h], ks[h]) @ vs[h] for h in range(HEADS)]))
    x1 = x + a @ w["layers.0.wo"]
    hidden = np.maximum(x1 @ w["layers.0.w1"], 0)
    x2 = x1 + hidden @ w["layers.0.w2"]
    logits = x2 @ w["wout"]
    e = np.exp(logits - logits.max(1, keepdims=True))
    p = e / e.sum(1, keepdims=True)
    rows = np.arange(len(tokens))

    g = {"loss": -np.log(p[rows, targets]).mean(), "logits": logits}
    p[rows, targets] -= 1
    dlogits = p / np.float32(len(tokens))
    g["wout"] = x2.T @ dlogits
    dx2 = dlogits @ w["wout"].T
    g["layers.0.w2"] = hidden.T @ dx2
    dhidden = (dx2 @ w["layers.0.w2"].T) * (hidden > 0)
    g["layers.0.w1"] = x1.T @ dhidden
    dx1 = dx2 + dhidden @ w["layers.0.w1"].T
    g["layers.0.wo"] = a.T @ dx1
    da = dx1 @ w["layers.0.wo"].T
    dq, dk, dv = (np.empty_like(x) for _ in range(3))
    for parts in zip(*(rows_of(y, offsets) for y in (q, k, v, da, dq, dk, dv))):
        for out, d in zip(parts[4:], attention_backward(*(heads_of(y) for y in parts[:4]))):
            out[:] = side_by_side(d)
    dn = 0
    for name, d in (("wq", dq), ("wk", dk), ("wv", dv)):
        g["layers.0." + name] = n.T @ d
        dn = dn + d @ w["layers.0." + name].T
    dx = dx1 + scale * (dn - n * (dn * n).mean(1, keepdims=True))
    for name, ids in (("wte", tokens), ("wpe", positions)):
        g[name] = np.zeros_like(w[name])
        np.add.at(g[name], ids, dx)
    g |= {"layers.0.relu": dx2 @ w["layers.0.w2"].T, "layers.0.rms_norm": dn, "layers.0.add.0": dx1}
    g |= {"layers.0.add.1": dx2, "layers.0.causal_attention": da, "add": dx}
    return g


def main(folder):
    weights = {path.stem: np.load(path) for path in (folder / "parameters").glob("*.npy")}
    inputs = (np.load(folder / "inputs" / f"{name}.npy") for name in ("tokens", "targets", "offsets"))
    for name, array in gradients(weights, *inputs).items():
        np.save(folder / "gradients" / f"{name}.npy", array.astype(np.float32))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
