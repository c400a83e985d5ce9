"""`fastbp bench`: arithmetic, tables, selection, the contestants' processes, exit status."""

import dataclasses
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from fastbp._errors import ArgumentError
from fastbp.benchmark import checks, machine, report, table, workloads
from fastbp.benchmark.contestants import CONTESTANTS, Contestant, Process, chosen_peers
from fastbp.benchmark.groups import BY_DEFAULT, GROUPS, GroupOptions, select
from fastbp.benchmark.groups.matmul import square
from fastbp.benchmark.rows import Case, Measurement, NotMeasured, Row, Verdict
from fastbp.benchmark.session import Session
from fastbp.benchmark.timing import QUICK, Budget, quantile_after_pause, seconds_per_call
from fastbp.cli import main

LIMITS = {"float32": 100e9, "float64": 50e9, "read": 10e9, "read_bytes": 2.0**30}
DOCS = Path(__file__).parents[1] / "docs"


def measurement(values, **settings):
    row = Row("matmul", "64", "matmul", {}, flops=50e3, **settings)
    return Measurement(row, values={name: list(times) for name, times in values.items()})


# ---- arithmetic -----------------------------------------------------------------------------


def test_a_ratio_is_the_median_of_the_rounds_ratios():
    found = measurement({"fastbp": (1.0, 2.0, 4.0), "numpy": (3.0, 4.0, 4.0)})
    assert found.ratios("numpy") == [3.0, 2.0, 1.0]
    assert found.ratio("numpy") == 2.0
    assert found.median("fastbp") == 2.0
    assert math.isnan(found.ratio("torch"))


def test_a_machine_that_slows_down_does_not_change_the_ratio():
    drift = [1.0, 1.5, 7.0]
    found = measurement({"fastbp": drift, "jax": [2 * t for t in drift]})
    assert found.ratios("jax") == [2.0, 2.0, 2.0]


def test_winners_are_the_faster_peers_the_fastest_first():
    found = measurement({"fastbp": [2.0], "numpy": [1.5], "torch": [1.0], "jax": [3.0]})
    assert found.winners == ["torch", "numpy"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.234, "1.23 s"), (12.34, "12.3 s"), (0.0999999, "100 ms"), (2.5e-3, "2.50 ms"),
     (999.9e-6, "1.00 ms"), (42e-6, "42.0 µs"), (3e-7, "300 ns"), (math.nan, "-")],
)  # fmt: skip
def test_durations_have_three_digits_and_a_unit(seconds, text):
    assert table.duration(seconds) == text


def test_ratios_have_two_digits():
    assert [table.ratio(value) for value in (0.853, 1.0, 3.21, 9.94, 9.96, 35.2)] == [
        "0.85x", "1.00x", "3.2x", "9.9x", "10x", "35x"]  # fmt: skip


def test_the_share_is_of_the_closer_limit():
    found = measurement({"fastbp": [1e-6]})
    assert table.share_of_limit(found, LIMITS) == "50 % P"
    found.row = dataclasses.replace(found.row, bytes=9e3)
    assert table.share_of_limit(found, LIMITS) == "90 % B"
    assert table.rate(found) == "50 GFLOP/s"


def test_time_is_of_one_call():
    calls = []
    case = Case(lambda: calls.append(1))
    assert 0 < seconds_per_call(case, Budget(0.001, 0.002, 3)) < 0.05
    assert len(calls) > 2


def test_preparation_is_off_the_clock():
    import time

    case = Case(lambda: None, prepare=lambda: time.sleep(0.002))
    assert seconds_per_call(case, Budget(0.0, 0.005, 2)) < 0.002


def test_a_slow_call_is_not_repeated_for_nothing():
    import time

    calls = []
    case = Case(lambda: (calls.append(1), time.sleep(0.02)))
    assert seconds_per_call(case, Budget(0.0, 0.01, 5)) >= 0.02
    assert len(calls) == 2  # to warm up, and on the clock


def test_quantiles_after_a_pause():
    times = iter([0, 0, 0.004, 0, 0])
    import time

    case = Case(lambda: time.sleep(next(times)))
    assert quantile_after_pause(case, 0.0, 4, 0.9) >= 0.004


# ---- tables ---------------------------------------------------------------------------------


def full_report():
    won = measurement({"fastbp": [1e-6, 1e-6], "numpy": [2e-6, 4e-6]})
    lost = Measurement(
        dataclasses.replace(won.row, name="256x10x512 b.T"),
        values={"fastbp": [1e-3, 1e-3], "numpy": [2e-3, 2e-3], "torch": [5e-4, 5e-4]},
        reasons={"jax": "ValueError: no"}, verdicts={"torch": Verdict(0.5, 0.1)})  # fmt: skip
    about = {"cpu": "A CPU", "vectors": "AVX2", "threads": 1, "system": "Linux x86_64",
             "python": "3.12.1", "date": "2025-01-02"}  # fmt: skip
    return report.Report(about, {"fastbp": "1.0"}, 2, LIMITS, LIMITS, [won, lost],
                         {"sklearn": "not installed"})  # fmt: skip


def test_the_table_is_aligned_and_marks_what_must_not_be_missed():
    text = full_report().text()
    lines = text.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("matmul "))
    assert lines[head].split() == ["matmul", "time", "rate", "of", "limit", "numpy", "torch", "jax"]
    end = lines[head].index("numpy") + len("numpy")
    assert lines[head + 1][:end].endswith("3.0x")
    assert lines[head + 2][:end].endswith("2.0x")
    assert lines[head + 2].endswith("WRONG against torch; < torch wins")
    assert not lines[head + 1].endswith("wins")
    assert "not measured: sklearn: not installed" in lines
    assert "not measured: jax: ValueError: no: matmul/256x10x512 b.T" in lines


def test_markdown_has_every_row_and_shows_where_a_peer_wins():
    text = full_report().markdown()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[0].split(" | ")[1:] == ["fastbp", "rate", "of limit", "NumPy", "PyTorch", "JAX |"]
    assert len({row.count("|") for row in rows}) == 1
    assert "| **0.50x** | - |" in rows[3]
    assert "A CPU (AVX2), 1 thread" in text
    assert "WRONG" in text


def test_the_readme_keeps_what_is_around_the_markers(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    report.Readme(path).write(path, "new")
    assert path.read_text() == f"before\n{report.BEGIN}\nnew\n{report.END}\nafter\n"
    path.write_text("no place", encoding="utf-8")
    with pytest.raises(ArgumentError, match="no place for the table; wanted a line <!-- speed:beg"):
        report.Readme(path)


def test_the_projects_readme_has_the_place():
    path = Path(__file__).parents[1] / "README.md"
    assert report.Readme(path).path == path  # raises where there is no place


def test_the_picture_has_a_panel_a_group_and_a_line_at_one(tmp_path):
    pytest.importorskip("matplotlib")
    from fastbp.benchmark.plot import figure

    made = full_report()
    made.measurements += [
        Measurement(Row("scaling", f"batch {n}", "step", {"swept": "batch", "size": n}, flops=1e6),
                    values={"fastbp": [1e-3]}) for n in (1, 2, 4)]  # fmt: skip
    drawn = figure(made)
    ratios, batch, _ = (axes for axes in drawn.axes if axes.axison)
    assert ratios.get_xscale() == "log"
    assert list(ratios.get_lines()[0].get_xdata()) == [1.0, 1.0]
    assert [label.get_text() for label in ratios.get_yticklabels()] == ["64", "256x10x512 b.T"]
    assert len(batch.get_lines()[0].get_xdata()) == 3
    made.draw(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000


# ---- rows -----------------------------------------------------------------------------------


def test_only_selects_groups_and_names():
    options = GroupOptions()
    paths = [row.path for row in select("matmul/256*,step", options)]
    assert "matmul/256" in paths
    assert "matmul/256 float64" in paths
    assert "matmul/64" not in paths
    assert "step/tiny SGD" in paths
    assert {row.group for row in select(None, options)} == set(BY_DEFAULT)


@pytest.mark.parametrize(
    ("only", "message"),
    [("matmull", r"--only: 'matmull' matches no row; wanted a group \(matmul, step, fit, op,"),
     ("step,fit/x", r"--only: 'fit/x' matches no row; wanted one of fit's: digits 64-64-64-10,")],
)  # fmt: skip
def test_only_names_what_exists(only, message):
    with pytest.raises(ArgumentError, match=message):
        select(only, GroupOptions())


def test_rows_have_different_names():
    paths = [row.path for row in select(",".join(GROUPS), GroupOptions())]
    assert len(paths) == len(set(paths)) > 60


def test_unknown_peers_are_refused():
    with pytest.raises(ArgumentError, match="--peers: 'tensorflow'; wanted one of numpy, torch,"):
        chosen_peers("numpy,tensorflow")
    assert chosen_peers("numpy") == (["numpy"], {})
    assert chosen_peers("none") == ([], {})


def test_data_are_the_same_every_time_and_no_step_count_fits_them():
    x, y = workloads.training_batch((6, 4, 3), 8)
    np.testing.assert_array_equal(x[:4], x[4:])
    assert np.all(y[:4] != y[4:])
    np.testing.assert_array_equal(x, workloads.training_batch((6, 4, 3), 8)[0])
    assert workloads.step_flops((784, 512, 512, 10), 256) == 2 * 256 * (
        2 * 784 * 512 + 3 * 512 * 512 + 3 * 512 * 10)  # fmt: skip


# ---- checks ---------------------------------------------------------------------------------


def test_a_product_wrong_in_one_element_is_wrong():
    row = square(64, "float32")
    a, b = workloads.matrices(row.spec)
    right = a @ b
    assert checks.verify(row, [right], [(a.astype(float) @ b).astype(np.float32)]).right
    wrong = right.copy()
    wrong[5, 7] += np.float32(0.01)
    assert not checks.verify(row, [wrong], [right]).right
    assert not checks.verify(row, [np.full_like(right, np.nan)], [right]).right
    assert not checks.verify(row, [right[:1]], [right]).right


def test_the_worst_array_of_a_result_decides():
    row = Row("op", "x", "x", {}, tolerances=(1e-3, 1e-3))
    ones = np.ones(4)
    assert checks.verify(row, [ones, ones], [ones, ones * 1.0001]).right
    verdict = checks.verify(row, [ones, ones], [ones, ones * 1.01])
    assert not verdict.right
    np.testing.assert_allclose(verdict.error, 0.01 / 1.01, rtol=1e-12)
    assert not checks.verify(row, [ones], [ones, ones]).right


# ---- processes ------------------------------------------------------------------------------


def test_a_contestant_answers():
    spec = {"m": 5, "k": 7, "n": 3, "dtype": "float64"}
    a, b = workloads.matrices(spec)
    process = Process(CONTESTANTS["numpy"], 1)
    try:
        assert process.ask("build", "matmul", spec) is None
        (result,) = process.ask("result")
        np.testing.assert_allclose(result, a @ b, rtol=0, atol=7 * 2**-52 * 30)
        assert 0 < process.ask("measure", QUICK) < 0.1
        assert process.ask("settle") >= 0
        with pytest.raises(NotMeasured, match="has nothing like it"):
            process.ask("build", "something else", {})
        with pytest.raises(NotMeasured, match="KeyError: 'm'"):
            process.ask("build", "matmul", {})
        assert process.ask("build", "matmul", spec) is None
    finally:
        process.close()
    assert process.dead


def test_why_a_contestant_is_missing_is_told(tmp_path):
    with pytest.raises(NotMeasured, match=r"ModuleNotFoundError: No module named .*nobody_"):
        Process(Contestant("nobody", "nobody", "nobody", "nobody"), 1)
    script = tmp_path / "dies.py"
    script.write_text("print('on standard output'); raise SystemExit('no luck')")
    with pytest.raises(NotMeasured, match=r"its process ended with status 1 \(no luck\)"):
        Process(CONTESTANTS["numpy"], 1, [sys.executable, str(script)])


def test_one_that_fails_does_not_stop_the_others():
    row = Row("x", "y", "nothing", {}, peers=("numpy",))
    with Session(1, 2, ["numpy"], QUICK) as session:
        found = session.measure(row)
    assert found.values == {}
    assert found.reasons == {"fastbp": "has nothing like it", "numpy": "has nothing like it"}


def test_limits_of_the_machine():
    for dtype in (np.float32, np.float64):
        assert 0.1e9 < machine.peak(dtype, 1, 0.002) < 10e12
    assert 0.1e9 < machine.bandwidth(1 << 22, 2) < 10e12
    assert machine.read_bytes() <= 1 << 30


# ---- the command ----------------------------------------------------------------------------


@pytest.fixture
def quick_limits(monkeypatch):
    monkeypatch.setattr(Session, "limits", lambda session: dict(LIMITS))


QUICK_ROW = ["bench", "--quick", "--rounds", "2", "--threads", "1", "--only", "matmul/16",
             "--peers", "numpy"]  # fmt: skip


def test_the_command_measures_and_writes(quick_limits, tmp_path, capsys):
    readme, record = tmp_path / "README.md", tmp_path / "bench.json"
    readme.write_text(f"# x\n{report.BEGIN}\n{report.END}\n", encoding="utf-8")
    assert main([*QUICK_ROW, "--json", str(record), "--readme", str(readme)]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"^16 +[\d.]+ .s +[\d.]+ GFLOP/s +\d+ % P +[\d.]+x", out, re.MULTILINE)
    assert err == ""
    assert "| 16 |" in readme.read_text(encoding="utf-8")
    found = json.loads(record.read_text(encoding="utf-8"))
    (row,) = found["rows"]
    assert len(row["values"]["fastbp"]) == len(row["values"]["numpy"]) == 2
    spread = row["ratios"]["numpy"]
    assert spread["least"] <= spread["median"] <= spread["most"]
    assert row["checks"]["numpy"]["right"]
    assert found["machine"]["threads"] == 1
    assert found["wrong"] is False


def test_a_wrong_result_is_marked_and_fails(quick_limits, monkeypatch, capsys):
    ask = Process.ask

    def wrong(self, name, *arguments):
        answer = ask(self, name, *arguments)
        return ([array * 1.001 for array in answer]
                if name == "result" and self.contestant.name == "fastbp" else answer)  # fmt: skip

    monkeypatch.setattr(Process, "ask", wrong)
    assert main(QUICK_ROW) == 1
    assert "WRONG against numpy" in capsys.readouterr().out


def test_bad_options_are_one_line(capsys):
    assert main(["bench", "--only", "nothing"]) == 2
    assert main(["bench", "--peers", "nobody"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("fastbp: error: --") for line in lines)


def test_the_list_and_the_documentation(capsys):
    assert main(["bench", "--list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    text = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    for group in dict.fromkeys(path.partition("/")[0] for path in listed):
        assert f"`{group}`" in text
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    options = (DOCS / "cli.md").read_text(encoding="utf-8")
    for option in set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out)) - {"--help"}:
        assert f"`{option}" in options, option
