#!/usr/bin/env python3
"""Measures the standard cases and writes benches/RESULTS.md.

    cargo build --release
    benches/peers/setup.sh torch keras gensim
    python3 benches/results.py settings             # once on a machine: each peer's fastest setting (minutes)
    python3 benches/results.py peaks                # what the machine can do at most
    python3 benches/results.py speed --rounds 3     # every case here and in its peers, in turn; again adds rounds
    python3 benches/results.py plan                 # sets the model of `bench --plan` beside what it predicts
    python3 benches/results.py odd                  # sizes that are no multiple of anything
    python3 benches/results.py growth               # a step of each head over more and more words
    python3 benches/results.py result char-rnn input.txt    # the time to a loss, see peers/time_to_result.py
    python3 benches/results.py vectors books.txt questions-words.txt wordsim353.tsv    # see peers/train_vectors.py
    python3 benches/results.py write                # this machine's part of benches/RESULTS.md

Each run adds a line to target/results.jsonl; each figure of a table is the median over all runs at the last commit that
it was measured at. A run during which other processes took more than 5 % of the machine is made again. Needs nothing but
Python 3.10; the check of other processes is for Linux.
"""

import argparse
import datetime
import json
import os
import pathlib
import resource
import signal
import statistics
import subprocess
import sys
import time

from results_table import write

ROOT = pathlib.Path(__file__).resolve().parent.parent
UNROLL = ROOT / "target/release/unroll"
STORE = ROOT / "target/results.jsonl"
PEERS = ROOT / "benches/peers"
CORES = os.cpu_count() or 1

# What makes the programs that are run.
MAKE = {"unroll": "cargo build --release", "peer": "benches/peers/setup.sh torch keras gensim"}

LARGE = ["char256", "char512", "word650", "gru650"]
IN_KERAS = [*LARGE, "bilstm", "nnlm32", "nnlm256"]
GENERATION = ["gen512", "gen650"]
CASES = [*IN_KERAS, "ragged", "head10k", "head100k", "minchar", *GENERATION]
PROFILED = [*IN_KERAS, "ragged", "minchar", *GENERATION]
# Peers have these texts in two forms; the second is a case of theirs alone.
PADDED = {"ragged": ["ragged-padded"]}
PRODUCTS = ["gemm:700x650x10000", "gemm:3200x512x2048", "gemm:20x650x2600", "gemm:64x512x2048"]
# A size, and the round one beside it.
ODD = [("hidden", 500, 512), ("hidden", 333, 336), ("hidden", 97, 96), ("batch", 7, 8), ("batch", 33, 32)]
# Heads over vocabularies; the exact one where a step does not take minutes.
HEADS = ["softmax", "sampled_softmax", "nce", "adaptive_softmax", "class_softmax", "hierarchical_softmax"]
WORDS = [10_000, 30_000, 100_000, 300_000, 1_000_000]


# ---- running


def busy():
    """Seconds that all processors have worked, or nothing where the system does not tell."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            fields = file.readline().split()[1:4]
    except OSError:
        return None
    return sum(int(field) for field in fields) / os.sysconf("SC_CLK_TCK")


# Seconds after which a peer is given up: some have no kernel for a case on some processors, and take minutes a step.
LIMIT = 90


def run(command, attempts=3, limit=None):
    """The last line of the output of a command that had the machine to itself, which is JSON; nothing after so many seconds."""
    for _ in range(attempts):
        before, start = busy(), time.monotonic()
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        words = [str(word) for word in command]
        if not pathlib.Path(words[0]).exists():
            raise SystemExit(f"{words[0]} does not exist; {MAKE['unroll' if words[0] == str(UNROLL) else 'peer']} makes it")
        # In a session of its own, so that what it has started ends with it.
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(words, **streams, start_new_session=True) as process:
            try:
                output, errors = process.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                print(f"given up after {limit} s: {' '.join(words)}", file=sys.stderr, flush=True)
                return None
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        if process.returncode:
            raise SystemExit(f"{' '.join(words)}: {errors}")
        found = json.loads(output.splitlines()[-1])
        if before is None:
            return found
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = now.ru_utime + now.ru_stime - children.ru_utime - children.ru_stime
        others = (busy() - before - own) / (time.monotonic() - start) / CORES
        if others < 0.05:
            return found
        print(f"again, as other processes took {100 * others:.0f} % of the machine", file=sys.stderr, flush=True)
    raise SystemExit(f"other processes took {100 * others:.0f} % of the machine in each of {attempts} runs")


def bench(*words):
    return run([UNROLL, "bench", *words, "--json"])


def read():
    """All that was measured, oldest first."""
    return [json.loads(line) for line in STORE.read_text(encoding="utf-8").splitlines()] if STORE.exists() else []


def git(*words):
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def commit():
    """The last commit that changed the program, and whether it was changed since."""
    program = ["--", "kernels", "engine", "Cargo.lock"]
    changed = git("status", "--porcelain", *program)
    return git("log", "-1", "--format=%h", *program) + "-changed" * bool(changed)


def keep(kind, **values):
    line = {"machine": machine(), "commit": commit(), "date": datetime.date.today().isoformat(), "kind": kind, **values}
    with open(STORE, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps({"kind": kind, **values})[:150], flush=True)


def machine():
    """What the results belong to."""
    found = {}
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            found.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    family = f"family {found.get('cpu family', '?')}, model {found.get('model', '?')}"
    return f"{found.get('model name', 'unknown processor')} ({family}), {CORES} cores"


# ---- what is measured


def peers_of(case, precision):
    """The peers of a case here, and their precision: PyTorch's f32 and Keras' beside f32, PyTorch's bf16 beside bf16."""
    if case == "minchar":
        return [("numpy", "f32")] if precision == "f32" else []
    if precision != "f32":
        return [] if case in GENERATION else [("torch", "bf16")]
    return [("torch", "f32")] + ([("keras", "f32")] if case in IN_KERAS else [])


def peer(options, name, case, precision, *words):
    python = pathlib.Path(options.peers) / ("keras" if name == "keras" else "torch") / "bin/python"
    if not python.exists():
        print(f"{case}: no {name} beside it, as {python} does not exist; {MAKE['peer']} makes it", file=sys.stderr, flush=True)
        return None
    say = ["--peer", name, "--precision", precision, "--seconds", options.seconds, *words]
    return run([python, PEERS / "time_case.py", case, *say], limit=LIMIT)


def settings(options):
    """Finds the fastest setting of each peer."""
    for case in options.cases:
        for precision in options.precisions:
            for name, its in peers_of(case, precision):
                for form in [case, *PADDED.get(case, [])]:
                    if found := peer(options, name, form, its):
                        keep("setting", case=form, peer=name, precision=its, setting=f"{found['threads']},{found['onednn']}")


def peaks(options):
    """What the machine can do at most."""
    for _ in range(options.rounds):
        keep("peaks", found=bench("--seconds", 0.2)["machine"])


def speed(options):
    """Every case in turn: on one thread and on all, the same with --profile, and in the peers."""
    chosen = {(s["case"], s["peer"], s["precision"]): s["setting"] for s in read() if s["kind"] == "setting"}
    for _ in range(options.rounds):
        for case in options.cases:
            # Eight bits are for running what is trained.
            for precision in [*options.precisions, *(["int8"] if case in GENERATION else [])]:
                say = [case, "--precision", precision, "--seconds", options.seconds]
                for threads in sorted({1, CORES} if case != "minchar" else {1}):
                    keep("ours", run=bench(*say, "--threads", threads))
                    if case in PROFILED:
                        keep("profiled", run=bench(*say, "--threads", threads, "--profile"))
                for name, its in peers_of(case, precision):
                    for form in [case, *PADDED.get(case, [])]:
                        setting = chosen.get((form, name, its))
                        if found := peer(options, name, form, its, *(["--setting", setting] if setting else [])):
                            keep("peer", run=found)


def plan(options):
    """The predicted beside the measured step, for one team of one thread and of all."""
    for _ in range(options.rounds):
        for case in [case for case in options.cases if case in LARGE]:
            for precision in options.precisions:
                say = ["--precision", precision, "--seconds", options.seconds]
                splits = bench("--plan", case, "--cores", CORES, *say)["splits"]
                for threads in sorted({1, CORES}):
                    one = next(s for s in splits if s["replicas"] == 1 and s["team"] == threads)
                    found = bench(case, "--threads", threads, *say)
                    keep("plan", case=case, precision=precision, threads=threads, predicted_s=one["step_s"],
                         measured_s=found["step_s"])


def odd(options):
    """char512 with sizes that are no multiple of anything, each beside a round one."""
    for _ in range(options.rounds):
        for precision in options.precisions:
            for what, size, beside in ODD:
                say = ["char512", "--precision", precision, "--seconds", options.seconds]
                rates = [bench(*say, f"--{what}", value)["gflops"] for value in (size, beside)]
                keep("odd", what=what, size=size, beside=beside, precision=precision, rates=rates)


def growth(options):
    """A training step on Zipf's words over larger and larger vocabularies, in turn, so that a slow moment is everyone's."""
    for _ in range(options.rounds):
        for rule in ("sgd", "adagrad"):
            for words in WORDS:
                for head in HEADS:
                    found = bench(f"zipf:{words}:{head}:{rule}", "--seconds", options.seconds)
                    keep("growth", words=words, head=head, rule=rule, step_s=found["step_s"], per_s=found["per_s"],
                         peak_mb=found["peak_mb"])


def result(options):
    """The time to a loss."""
    python = pathlib.Path(options.peers) / "torch/bin/python"
    script = [PEERS / "time_to_result.py", *options.recipe, "--precisions", *options.precisions]
    given = [("--target", options.target), ("--every", options.every)]
    changed = [word for name, value in given if value for word in (name, value)]
    keep("result", found=run([python, *script, *changed, "--unroll", UNROLL]))


def vectors(options):
    """Word vectors beside gensim's: words a second, analogies and similarities."""
    corpus, questions, pairs = options.recipe
    python = pathlib.Path(options.peers) / "gensim/bin/python"
    for model in options.models:
        say = ["--corpus", corpus, "--questions", questions, "--pairs", pairs, "--seeds", *range(1, options.seeds + 1)]
        keep("vectors", found=run([python, PEERS / "train_vectors.py", model, *say, "--unroll", UNROLL]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["settings", "peaks", "speed", "plan", "odd", "growth", "result", "vectors", "write"],
                        help="what is measured, or write")
    parser.add_argument("recipe", nargs="*", help="result: a recipe and its texts; vectors: the three files")
    parser.add_argument("--cases", nargs="+", default=CASES + PRODUCTS, choices=CASES + PRODUCTS, metavar="CASE",
                        help=f"settings, speed, plan: which of {', '.join(CASES + PRODUCTS)} (default: all)")
    parser.add_argument("--precisions", nargs="+", default=["f32", "bf16"], choices=["f32", "bf16"],
                        help="settings, speed, plan, odd, result: which (default: both)")
    parser.add_argument("--rounds", type=int, default=1, help="peaks, speed, plan, odd, growth: how often each is run")
    parser.add_argument("--seconds", type=float, default=1.5, help="how long each run measures")
    parser.add_argument("--target", type=float, help="result: the validation loss that ends it")
    parser.add_argument("--every", type=int, help="result: the steps between two evaluations")
    parser.add_argument("--models", nargs="+", default=["cbow", "skipgram"], choices=["cbow", "skipgram"], help="vectors: which")
    parser.add_argument("--seeds", type=int, default=3, help="vectors: how many")
    parser.add_argument("--peers", default=os.environ.get("PEERS_HOME", ROOT / "target/peers"),
                        help="the folder of the peers' environments (default: PEERS_HOME, or target/peers)")
    options = parser.parse_args()
    # So that what was started ends too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    if options.what == "result" and len(options.recipe) < 2:
        parser.error("result wants a recipe and its texts: result char-rnn input.txt")
    if options.what == "vectors" and len(options.recipe) != 3:
        parser.error("vectors wants three files: vectors books.txt questions-words.txt wordsim353.tsv")
    if options.recipe and options.what not in ("result", "vectors"):
        parser.error(f"{options.what} takes no files")
    if options.what == "write":
        write(read(), PEERS.parent)
    else:
        globals()[options.what](options)


if __name__ == "__main__":
    main()
