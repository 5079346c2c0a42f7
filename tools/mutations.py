#!/usr/bin/env python3
"""Mutates one token at a time in the hand-written references, and has `xtape audit` judge each mutant.

    tools/mutations.py [--build DIR] [--count N]            runs N mutants and prints what the audit reports
    tools/mutations.py --atol 2e-2 [--rtol R] [--cosine C]  which recorded mutants a test with that tolerance passes

A mutant is compiled outside the source with the address sanitizer, linked in place of the reference, and judged without
finite differences. Results are kept in DIR/mutations/results.json. Exit status: 0, or 1 where a mutant lives that is
not listed below as equivalent.
"""
import argparse, json, os, random, re, shlex, shutil, signal, subprocess, sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
REFERENCE = SOURCE / "tests" / "reference"

# The file of a kernel, and the model whose audit judges it.
FILES = {
    "kernels.hpp": "microgpt",
    "llama_kernels.hpp": "llama",
    "layer_norm.hpp": "gate",
    "gate_kernels.hpp": "gate",
    "lrnn_kernels.hpp": "lrnn",
    "microgpt.cpp": "microgpt",
    "llama.cpp": "llama",
    "gate.cpp": "gate",
    "lrnn.cpp": "lrnn",
}
OTHER_MODEL = {
    "sigmoid": "lrnn",
    "sigmoid_backward": "lrnn",
    "sigmoid_forward": "lrnn",
    "swiglu_backward": "llama",
    "swiglu_forward": "llama",
}

# What is no part of the right pass: the code of the faults, and the kernel that only a fault calls.
NO_PART = re.compile(r"fault|Fault|SecondTerm|Turn::|Reach::|Carry::|smallest_probability|largest_probability")
SKIPPED = {"bce_probabilities_forward", "bce_probabilities_backward", "keep_own_positions", "set_zero", "transpose"}

ARITHMETIC = [
    (r"\+=", "="),
    (r"\+=", "-="),
    (r"-=", "+="),
    (r" \+ ", " - "),
    (r" - ", " + "),
    (r" \* ", " / "),
    (r" / ", " * "),
    (r" < ", " <= "),
    (r" <= ", " < "),
    (r" > ", " >= "),
    (r"\[t\]\[i\]", "[t][0]"),
    (r"\[t - 1\]", "[t]"),
    (r"\(1 - ", "(2 - "),
    (r"\b0\.5\b", "0.25"),
]
OPERANDS = [
    (r"\bz\.mid\b", "z.x"),
    (r"\bz\.n\b", "z.x"),
    (r"\bz\.q\b", "z.k"),
    (r"\bz\.kr\b", "z.qr"),
    (r"\bd\.q\b", "d.k"),
    (r"\bd\.xk\b", "d.xv"),
    (r"\bw\.wk\b", "w.wv"),
    (r"\bw\.mix_r\b", "w.mix_k"),
    (r"\bw\.k\b", "w.v"),
    (r"\bw\.w3\b", "w.w1"),
    (r"\bz\.up\b", "z.gate"),
    (r"\bz\.read\b", "z.write"),
    (r"\bz\.f\b", "z.h"),
]

# Mutants that compute the same, by file and what became of the line, and why.
EQUIVALENT = {
    ("gate_kernels.hpp", "drow[j] = dloss * shares[i] * std::exp(row[j] - lse);"):
        "the first to write, where zeros were",
    ("layer_norm.hpp", "for (int j = 0; j < n; ++j) squares += (x[j] + mean) * (x[j] - mean);"):
        "Σ (x + m)(x − m) = Σ x² − n m², the variance again",
    ("gate.cpp", "residual_backward(d.mid, d.u, dw.ln2, doutput, z.x, w.ln2);"):
        "an argument that only the fault gate-ln-order reads",
}

OUTSIDE = 99  # exit status of a mutant that reads or writes outside an array

HEAD = re.compile(r"^(?:    )?(?:template <[^>]*> )?(?:inline )?[\w:<>*& ]+?\b(\w+)\((?!.*;$)")


def mutants_of(file: str) -> list[dict]:
    """Every single-token mutant of the passes in a file."""
    rules = OPERANDS if file.endswith(".cpp") else ARITHMETIC
    found, function = [], ""
    for number, line in enumerate((REFERENCE / file).read_text().splitlines(), 1):
        head = HEAD.match(line)
        if head and len(line) - len(line.lstrip()) == (4 if file.endswith(".cpp") else 0):  # a member, or a kernel
            function = head[1]
            continue
        code = line.split("//")[0].rstrip()
        in_pass = "backward" in function or (file.endswith(".hpp") and function not in SKIPPED)
        if not in_pass or function in SKIPPED or NO_PART.search(code) or not line.startswith("    "):
            continue
        loop = re.match(r" *for \(.*?;.*?;.*?\)", code)
        end = loop.end() if loop else 0  # of the loop's head, of which only the bound is mutated: others may never end
        for pattern, replacement in rules:
            for match in re.finditer(pattern, code):
                if match.start() < end and match[0].strip() not in ("<", "<=", ">"):
                    continue
                after = code[: match.start()] + replacement + code[match.end() :]
                model = OTHER_MODEL.get(function, FILES[file])
                found.append({"file": file, "line": number, "function": function, "model": model,
                              "before": code.strip(), "after": after.strip(), "token": f"{match[0]} -> {replacement}"})
    return found


def chosen(count: int) -> list[dict]:
    """A fixed draw of all mutants, two of three from backward passes, from each file alike."""
    draw, picked = random.Random(1), []
    pools = []
    for file in FILES:
        mutants = mutants_of(file)
        draw.shuffle(mutants)
        backward = [m for m in mutants if "backward" in m["function"]]
        others = [m for m in mutants if "backward" not in m["function"]]
        triples = zip(backward[::2], backward[1::2], others + [None] * len(backward))
        pools.append([m for triple in triples for m in triple if m])
    while len(picked) < count and any(pools):
        for pool in pools:
            if pool and len(picked) < count:
                picked.append(pool.pop(0))
    return picked


class Builder:
    """Compiles a mutant and links it into a copy of the command."""

    def __init__(self, build: Path):
        self.build, self.folder = build, build / "mutations"
        shutil.rmtree(self.folder / "source", ignore_errors=True)
        shutil.copytree(REFERENCE, self.folder / "source")
        commands = json.loads((build / "compile_commands.json").read_text())
        self.compile = {Path(c["file"]).name: c["command"] for c in commands if "tests/reference/" in c["file"]}
        ninja = ["ninja", "-C", build, "-t", "commands", "bin/xtape"]
        link = subprocess.run(ninja, capture_output=True, text=True, check=True)
        self.link = link.stdout.strip().splitlines()[-1]

    def run(self, mutant: dict) -> subprocess.CompletedProcess | None:
        """The audit of a mutant; None where it does not compile."""
        source, object_file = self.folder / "source" / mutant["file"], self.folder / "mutant.o"
        original = (REFERENCE / mutant["file"]).read_text().splitlines()
        lines = list(original)
        lines[mutant["line"] - 1] = lines[mutant["line"] - 1].replace(mutant["before"], mutant["after"])
        source.write_text("\n".join(lines) + "\n")
        try:
            unit = self.folder / "source" / f"{mutant['model']}.cpp"
            words = [w for w in shlex.split(self.compile[unit.name]) if w not in ("-O3", "-MD", "ccache")]
            words[words.index("-o") + 1], words[words.index("-c") + 1] = str(object_file), str(unit)
            words += ["-O1", "-w", "-fsanitize=address"]
            if subprocess.run(words, cwd=self.build, capture_output=True).returncode != 0:
                return None
            program = f"-fsanitize=address {object_file} -o {self.folder / 'xtape'}"
            command = self.link.replace("-o bin/xtape", program, 1)
            subprocess.run(command, shell=True, cwd=self.build, capture_output=True, check=True)
            audit = [self.folder / "xtape", "audit", mutant["model"], "--quick", "--json"]
            return subprocess.run(["timeout", "60"] + audit, capture_output=True, text=True,
                                  env=dict(os.environ, ASAN_OPTIONS=f"detect_leaks=0:exitcode={OUTSIDE}"))
        finally:
            source.write_text("\n".join(original) + "\n")


def wrong(rows: list[dict]) -> list[dict]:
    return [r for r in rows if r["verdict"] in ("differs", "never written")]


def judged(mutant: dict, result: subprocess.CompletedProcess) -> dict:
    """What the audit said, as it is kept."""
    record = dict(mutant, exit=result.returncode, caught=result.returncode != 0, reported=[], diagnoses=[], cases=[])
    if result.returncode not in (0, 1):
        ends = {OUTSIDE: "outside an array", 124: "it never ends"}
        return dict(record, diagnoses=[ends.get(result.returncode, "it crashes")])
    report = json.loads(result.stdout)
    rows = wrong(report["parameters"])
    record["reported"] = [r["name"] for r in rows]
    record["diagnoses"] = sorted({r["diagnosis"] for r in rows if r["diagnosis"]})
    record["forward"] = any(c["forward"]["verdict"] != "agree" for c in report["cases"])
    for case in report["cases"]:
        kept = [{k: r[k] for k in ("name", "max_abs", "relative", "cosine")} for r in wrong(case["parameters"])]
        record["cases"].append({"settings": case["settings"], "parameters": kept})
    return record


def run(build: Path, count: int) -> int:
    builder, records, living = Builder(build), [], []
    for mutant in chosen(count):
        result = builder.run(mutant)
        if result is None:
            continue
        record = judged(mutant, result)
        record["equivalent"] = EQUIVALENT.get((record["file"], record["after"]), "")
        records.append(record)
        verdict = "caught" if record["caught"] else "equivalent" if record["equivalent"] else "LIVES"
        forward = ", forward" if record.get("forward") else ""
        said = record["equivalent"] or f"{len(record['reported'])} parameters{forward}"
        said += f"; {record['diagnoses'][0]}" if record["diagnoses"] else ""
        place = f"{record['file']}:{record['line']}"
        print(f"{verdict:<10} {place:<22} {record['token']:<16} {record['after']:<90} {said}", flush=True)
        if verdict == "LIVES":
            living.append(record)
    (builder.folder / "results.json").write_text(json.dumps(records, indent=1))
    caught = sum(r["caught"] for r in records)
    print(f"{len(records)} mutants: {caught} caught, {len(records) - caught - len(living)} equivalent, {len(living)} live")
    return 1 if living else 0


def passes(record: dict, atol: float, rtol: float, cosine: float) -> bool:
    """Whether a test with |a - b| <= atol + rtol max|b| and that cosine passes every usual case of a wrong kernel."""
    for case in record["cases"]:
        if "loud" in case["settings"] or "beyond" in case["settings"]:
            continue  # inputs that few tests have
        for row in case["parameters"]:
            error, relative = row["max_abs"], row["relative"]
            if error is None or relative is None or (row["cosine"] or 0) < cosine:
                return False
            if error > atol + rtol * (error / relative if relative > 0 else 0):
                return False
    return record["exit"] == 1


def score(build: Path, atol: float, rtol: float, cosine: float) -> int:
    results = build / "mutations" / "results.json"
    if not results.exists():
        sys.exit(f"mutations: {results} is missing; run tools/mutations.py first")
    records = [r for r in json.loads(results.read_text()) if r["caught"]]
    passed = [r for r in records if passes(r, atol, rtol, cosine)]
    limits = {"atol": (atol, float("inf")), "rtol": (rtol, 0), "cosine": (cosine, -1)}
    named = ", ".join(f"{name} {value:g}" for name, (value, nothing) in limits.items() if value != nothing)
    those = "; these are they:" if passed else ""
    print(f"with {named} your test would pass {len(passed)} of {len(records)} wrong kernels{those}")
    for r in passed:
        print(f"  {r['model']:<9} {r['file']}:{r['line']:<4} {r['function']:<34} {r['token']:<16} {', '.join(r['reported'][:4])}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=SOURCE / "build" / "release")
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--atol", type=float)
    parser.add_argument("--rtol", type=float)
    parser.add_argument("--cosine", type=float)
    given = parser.parse_args()
    if given.atol is None and given.rtol is None and given.cosine is None:
        return run(given.build.resolve(), given.count)
    if given.atol is None and given.rtol is None:
        given.atol = float("inf")
    return score(given.build.resolve(), given.atol or 0, given.rtol or 0, -1 if given.cosine is None else given.cosine)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as `| head` expects
    sys.exit(main())
