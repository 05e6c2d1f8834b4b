"""Writes what results.py measured as tables: the part of one machine in RESULTS.md."""

import re
import statistics
import textwrap

COUNTED = {"bilstm": "texts", "ragged": "words", "nnlm32": "samples", "nnlm256": "samples", "word650": "words", "gru650": "words",
           "gen650": "tokens", "gen512": "tokens", "head10k": "rows", "head100k": "rows"}
PEERS = {("torch", "f32"): "PyTorch f32", ("keras", "f32"): "Keras f32", ("torch", "bf16"): "PyTorch bf16"}
HEAD = """# Results

Written by [results.py](results.py), which says how; a part for each machine. Machines drift within the hour, so each figure is
the median of runs that were made in turn with those beside it, and only ratios mean something elsewhere. A step is a whole
training step (forward, loss, backward, clipping, update); of gen512 and gen650, fifty tokens. The cases are described in
[peers/README.md](peers/README.md). GFLOP/s count the products only. A single run may fall into a slow moment of the machine, when it
is a third slower. `-changed` behind a commit: the program had changes that are not in it.
"""


def median(values):
    return statistics.median(list(values))


def plural(threads):
    return f"{threads} thread{'s' * (threads > 1)}"


def paragraph(text):
    return [*textwrap.wrap(text, 128), ""]


def table(head, rows):
    """A table whose first column is text and whose others are figures."""
    ruler = "|" + "|".join("---:" if i else "---" for i in range(len(head))) + "|"
    return ["| " + " | ".join(head) + " |", ruler, *("| " + " | ".join(row) + " |" for row in rows), ""]


def grouped(lines, *names):
    """Lines by the values that they have under these names, in the order of the first of each."""
    groups = {}
    for line in lines:
        groups.setdefault(tuple(line[name] for name in names), []).append(line)
    return groups


# ---- one function a table


def peaks_of(lines):
    """(precision, threads) -> GFLOP/s of multiply-adds that never leave registers or tiles, by the best set."""
    rates = {}
    for line in lines:
        for found in line["found"]["sets"]:
            for threads, rate in ((1, found["fma_one"]), (line["found"]["threads"], found["fma_all"])):
                rates.setdefault((found["precision"], threads), {}).setdefault(found["isa"], []).append(rate)
    return {key: max(median(of_set) for of_set in sets.values()) for key, sets in rates.items()}


def peaks(kinds):
    found = peaks_of(kinds["peaks"])
    rates = [f"{precision} on {plural(threads)} {rate:,.0f}" for (precision, threads), rate in sorted(found.items())]
    read = [median(line["found"]["memory"][name] for line in kinds["peaks"]) for name in ("read_one", "read_all")]
    return paragraph(f"The peak, multiply-adds that never leave registers or tiles, in GFLOP/s: {'; '.join(rates)}. Memory is "
                     f"read at {read[0]:.1f} GB/s by one thread, {read[1]:.1f} by all.")


def speed(kinds):
    """What every case reaches, its share of the peak, and its ratio to each peer."""
    peak = peaks_of(kinds.get("peaks", []))
    ours = grouped(({**line["run"], "commit": line["commit"]} for line in kinds["ours"]), "case", "precision", "threads")
    theirs = grouped((line["run"] for line in kinds.get("peer", [])), "peer", "precision", "case")
    per_s = {key: median(run["per_s"] for run in runs) for key, runs in ours.items()}
    rows, products = [], []
    first = {case: i for i, (case, _, _) in reversed(list(enumerate(ours)))}
    for case, precision in sorted({key[:2] for key in ours}, key=lambda key: (first[key[0]], "f32 bf16 int8".index(key[1]))):
        threads = max(key[2] for key in ours if key[:2] == (case, precision))
        here, runs = per_s[case, precision, threads], ours[case, precision, threads]
        gflops = median(run["gflops"] for run in runs)
        share = f"{100 * gflops / peak[precision, threads]:.0f} %" if (precision, threads) in peak else ""
        # One thread beside all of them means something at the same commit alone.
        one_thread = ours.get((case, precision, 1), [])
        alike = bool(one_thread) and one_thread[-1]["commit"] == runs[-1]["commit"]
        twice = f"{here / per_s[case, precision, 1]:.2f}" if threads > 1 and alike else ""
        if case.startswith("gemm:"):
            peer = theirs.get(("torch", precision, case))
            other = median(run["per_s"] for run in peer) if peer else None
            beside = [f"{other:,.0f}", f"{here / other:.2f}"] if other else ["", ""]
            row = [case.removeprefix("gemm:"), precision, f"{here:,.0f}", share, twice, *beside]
            products.append([*row, str(len(runs)), runs[-1]["commit"]])
            continue
        row = [f"`{case}`", precision, f"{here:,.0f} {COUNTED.get(case, 'characters')}/s", f"{gflops:,.0f}", share, twice]
        for name, its in PEERS:
            # NumPy, in double precision, is all that minchar has.
            runs_of_peer = theirs.get((name, its, case)) or (name == "torch" and its == "f32" and theirs.get(("numpy", "f64", case)))
            rate = median(run["per_s"] for run in runs_of_peer) if runs_of_peer else None
            row.append(f"{rate:,.0f} ({here / rate:.2f})" if rate else "")
        one = theirs.get(("torch", "f32", case))
        row.append(f"{per_s[case, precision, 1] / median(run['per_s'] for run in one):.2f}" if one and one_thread else "")
        rows.append([*row, str(len(runs)), runs[-1]["commit"]])
    head = ["case", "precision", "Unroll, all threads", "GFLOP/s", "of the peak", "all threads over one"]
    head += [f"{name} (ratio)" for name in PEERS.values()] + ["one thread over PyTorch f32", "runs", "commit"]
    lines = paragraph("In brackets, how many times as fast Unroll is on all threads. PyTorch in f32 has the number of threads, and oneDNN "
                      "on or off, that were fastest in a trial of each; in bf16, in `bilstm` and for single products it has all threads and "
                      "oneDNN. Beside minchar stands NumPy, in double precision.") + table(head, rows)
    for precision in ("f32", "bf16"):
        if padded := theirs.get(("torch", precision, "ragged-padded")):
            rate = median(run["per_s"] for run in padded)
            here = next((row[2] for row in rows if row[:2] == ["`ragged`", precision]), "not measured")
            lines += paragraph(f"Beside `ragged` ({precision}: {here}) stands PyTorch on packed sequences; with the same texts padded to "
                               f"the longest, the words of padding computed and left out of the result, it has {rate:,.0f} words/s.")
    if products:
        head = ["product M x K x N", "precision", "Unroll, GFLOP/s", "of the peak", "all threads over one",
                "PyTorch (MKL, oneDNN), same precision", "ratio", "runs", "commit"]
        lines += paragraph("Single products; up to 64 rows the right operand is packed beforehand, as weights are.")
        lines += table(head, products)
    return lines


def phases(kinds, notes):
    """Where the time of a step goes."""
    steps = grouped((line["run"] for line in kinds["ours"]), "case", "precision", "threads")
    profiled = grouped((line["run"] for line in kinds["profiled"]), "case", "precision", "threads")
    cost = [median(r["step_s"] for r in runs) / median(r["step_s"] for r in steps[key]) - 1
            for key, runs in profiled.items() if key in steps]
    lines = paragraph("Milliseconds of a step, all threads' time added up, and in brackets the rate of the products in it on one "
                      "thread, in GFLOP/s, as `--profile` counts them. What it costs itself: over these cases, steps with it took "
                      f"{100 * median(cost):+.1f} % of their time without it more, in the median.")
    for (case,), runs in grouped((line["run"] for line in kinds["profiled"]), "case").items():
        columns = grouped(runs, "precision", "threads")
        found = {}
        for key, of_key in columns.items():
            for run in of_key:
                for phase in run["profile"]["phases"]:
                    ms = 1e3 * run["step_s"] * run["threads"] * phase["share"]
                    found.setdefault(phase["phase"], {}).setdefault(key, []).append((ms, phase["gflops"]))
        rows = []
        for phase, by_key in found.items():
            cells = []
            for key in columns:
                ms = median(ms for ms, _ in by_key[key]) if key in by_key else 0.0
                rates = [rate for _, rate in by_key.get(key, []) if rate]
                cells.append((ms, f"{ms:.2f}" + (f" ({median(rates):,.0f})" if rates else "")))
            if max(ms for ms, _ in cells) >= 0.01:
                rows.append((cells[0][0], [phase.replace("_", " "), *(text for _, text in cells)]))
        rows.sort(key=lambda row: -row[0])
        head = ["phase", *(f"{precision}, {plural(threads)}" for precision, threads in columns)]
        lines += [f"#### {case}", "", *table(head, [row for _, row in rows]), *notes.get(case, [])]
    # What is known of cases that were timed alone.
    profiled_cases, timed = {case for case, *_ in profiled}, {case for case, *_ in steps}
    for case in notes:
        if case in timed - profiled_cases:
            lines += [f"#### {case}", "", *notes[case]]
    return lines


def plans(kinds):
    rows = []
    for (case, precision, threads), lines in grouped(kinds["plan"], "case", "precision", "threads").items():
        predicted, measured = (1e3 * median(line[name] for line in lines) for name in ("predicted_s", "measured_s"))
        difference = f"{100 * (predicted / measured - 1):+.0f} %"
        rows.append([f"`{case}`", precision, str(threads), f"{predicted:.1f}", f"{measured:.1f}", difference, str(len(lines))])
    head = ["case", "precision", "threads", "predicted, ms", "measured, ms", "difference", "runs"]
    return paragraph("`unroll bench --plan CASE --cores N`, one team of all threads.") + table(head, rows)


def odd(kinds):
    rows = []
    for (precision, what, size, beside), lines in grouped(kinds["odd"], "precision", "what", "size", "beside").items():
        rates = [median(line["rates"][i] for line in lines) for i in (0, 1)]
        name = {"hidden": "H", "batch": "N"}[what]
        row = [f"{name} = {size}", precision, f"{rates[0]:,.0f}", f"{name} = {beside}", f"{rates[1]:,.0f}"]
        rows.append([*row, f"{rates[0] / rates[1]:.2f}", str(len(lines))])
    head = ["char512 with", "precision", "GFLOP/s", "beside", "GFLOP/s", "ratio", "runs"]
    return table(head, rows)


def growth(kinds):
    lines = kinds["growth"]
    words = sorted({line["words"] for line in lines})
    rows = []
    for (head, rule), of_head in grouped(lines, "head", "rule").items():
        steps = {n: [line["step_s"] for line in of_head if line["words"] == n] for n in words}
        times = [1000 * median(steps[n]) if steps[n] else None for n in words]
        row = [f"`{head}`", rule, *(f"{time:,.1f}" if time else "" for time in times)]
        grown = f"{times[-1] / times[0]:.2f}" if times[0] and times[-1] else ""
        peak = max(line["peak_mb"] for line in of_head)
        rows.append([*row, grown, f"{peak:,.0f}", str(min(len(found) for found in steps.values() if found))])
    head = ["head", "rule", *(f"{n:,} words, ms" for n in words), "last over first", "at most, MiB", "runs"]
    return paragraph("`unroll bench zipf:WORDS:HEAD:RULE`: a whole training step (look-ups, LSTM of 256 units, head, clipping to "
                     "a norm of 5, update) of 20 streams of 35 words that follow Zipf's law, in f32 on all threads. "
                     "`sampled_softmax` and `nce` draw 1,024 words a step.") + table(head, rows)


def results(kinds, notes):
    rows = []
    found = ({**line["found"], "commit": line["commit"]} for line in kinds["result"])
    for (recipe, target, commit), lines in grouped(found, "recipe", "target", "commit").items():
        theirs = median(found["pytorch"]["seconds"] for found in lines)
        row = [f"`{recipe}`", f"{target}", f"{theirs:.1f} s"]
        for precision in ("f32", "bf16"):
            found = [line[precision] for line in lines if precision in line]
            seconds = median(one["seconds"] for one in found) if found else None
            row.append(f"{seconds:.1f} s ({theirs / seconds:.2f})" if found else "")
        for name in ("f32", "pytorch"):
            apart = [line[name]["apart"] for line in lines if "apart" in line.get(name, {})]
            row.append(f"{max(apart):.0e}" if apart else "")
        rows.append([*row, commit, str(len(lines))])
    head = ["recipe", "validation loss", "PyTorch f32", "Unroll f32 (ratio)", "Unroll bf16 (ratio)", "first 50 losses: Unroll f32",
            "PyTorch f32", "commit", "runs"]
    return paragraph("[peers/time_to_result.py](peers/time_to_result.py): the same weights, batches and schedule, "
                     "until the validation loss is reached. By how much the first 50 losses differ from PyTorch's in double "
                     "precision stands behind.") + table(head, rows) + notes.get("the time to a result", [])


def vectors(kinds):
    rows = []
    for (model, epochs), lines in grouped(({**line["found"], "commit": line["commit"]} for line in kinds["vectors"]),
                                          "model", "epochs").items():
        found = {name: [run for line in lines for run in line[name]] for name in ("unroll", "gensim")}
        speeds = {name: statistics.mean(run["words_per_s"] for run in runs) for name, runs in found.items()}
        row = [f"`{model}`", str(epochs), *(f"{speed:,.0f}" for speed in speeds.values()),
               f"{speeds['unroll'] / speeds['gensim']:.2f}"]
        for what, shown in (("analogies", lambda x: f"{100 * x:.2f}"), ("spearman", lambda x: f"{x:.3f}")):
            for runs in found.values():
                values = [run[what] for run in runs]
                row.append(f"{shown(statistics.mean(values))} ({shown(statistics.stdev(values) if len(values) > 1 else 0)})")
        rows.append([*row, str(len(found["unroll"])), lines[-1]["commit"]])
    head = ["model", "epochs", "Unroll, words/s", "gensim, words/s", "ratio", "Unroll, analogies, %", "gensim, analogies, %",
            "Unroll, Spearman", "gensim, Spearman", "seeds", "commit"]
    return paragraph("[peers/train_vectors.py](peers/train_vectors.py): the same text, settings and threads, seed after seed in turn; "
                     "means over the seeds, and their standard deviations in brackets. The vocabulary is made before the clock starts. "
                     "Spearman's coefficient is that with the pairs of words.") + table(head, rows)


# ---- the file


def write(lines, folder):
    """Puts the parts of the machines that `lines` are of into folder/RESULTS.md, in place of their earlier ones."""
    path, notes = folder / "RESULTS.md", read_notes(folder / "results_notes.md")
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    parts = {part.split("\n", 1)[0]: part for part in re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]}
    for (name,), of_machine in grouped(lines, "machine").items():
        kinds = {}
        for (kind,), of_kind in grouped(of_machine, "kind").items():
            last = {subject(line): line["commit"] for line in of_kind}
            kinds[kind] = [line for line in of_kind if line["commit"] == last[subject(line)]]
        sections = [
            ("Speed", "ours", lambda k: (peaks(k) if "peaks" in k else []) + speed(k)),
            ("Where the time goes", "profiled", lambda k: phases(k, notes)),
            ("The plan's model beside the measured step", "plan", plans),
            ("Odd sizes", "odd", odd),
            ("Steps over growing vocabularies", "growth", growth),
            ("Time to a result", "result", lambda k: results(k, notes)),
            ("Word vectors", "vectors", vectors),
        ]
        part = [f"## {name}", ""]
        for title, kind, show in sections:
            if kind in kinds:
                part += [f"### {title}", "", *paragraph(when(kinds[kind])), *show(kinds)]
        parts[f"## {name}"] = "\n".join(part)
    path.write_text("\n".join([HEAD, *(part.rstrip() + "\n" for part in parts.values())]), encoding="utf-8")


def when(lines):
    """When and at which commits these were measured."""
    dates, commits = sorted({line["date"] for line in lines}), list(dict.fromkeys(line["commit"] for line in lines))
    days = dates[0] if len(dates) == 1 else f"from {dates[0]} to {dates[-1]}"
    return f"Measured {days}, at commit{'s' * (len(commits) > 1)} {', '.join(commits)}."


# What tells one figure of a table from the others: of cases, results, growing vocabularies and odd sizes.
SUBJECT = ["case", "model", "epochs", "peer", "precision", "recipe", "target", "words", "head", "rule", "what", "size", "beside"]


def subject(line):
    """What was measured: runs of one subject at an earlier commit give way to those at a later one."""
    found = {**line, **line.get("run", {}), **line.get("found", {})}
    # Those of a peer are its setting, those of the peaks the machine's.
    threads = found["threads"] if line["kind"] in ("ours", "profiled", "plan") else None
    # A time to a result is of the precisions that were tried.
    tried = tuple(name for name in ("f32", "bf16") if name in found)
    return (line["kind"], *(found.get(name) for name in SUBJECT), threads, tried)


def read_notes(path):
    """What stands under each heading of results_notes.md, by the cases that it names: what makes up their time, and what would make
    it shorter."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    parts = (part.split("\n", 1) for part in text.split("\n## ")[1:])
    return {case: [body.strip(), ""] for heading, body in parts for case in heading.strip().split(", ")}
