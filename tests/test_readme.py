"""The README does what it says."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^```sh\n(python3 -m venv .*)\n```", README, re.MULTILINE)


def test_the_example_runs_and_checks_itself(capsys):
    (example,) = EXAMPLES
    assert len(example.splitlines()) <= 12
    assert "assert" in example
    exec(compile(example, "README.md", "exec"), {"__name__": "__main__"})
    assert "test accuracy 0.9" in capsys.readouterr().out


def test_the_commands_name_extras_and_scripts_that_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert len(COMMANDS) == 2
    for command in COMMANDS:
        (extras,) = re.findall(r"\.\[([\w,]+)\]", command)
        assert set(extras.split(",")) <= set(project["optional-dependencies"])
    assert any(command.endswith("fastbp train") for command in COMMANDS)
    assert any(command.endswith("pytest -q") for command in COMMANDS)
    assert "fastbp" in project["scripts"]


def test_the_example_of_the_page_on_data_holds():
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    exec(compile(example, "data.md", "exec"), {"__name__": "__main__"})


def test_links_lead_somewhere():
    pages = [str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md")]
    files = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "bench/README.md", *pages)
    links = [
        (file, link)
        for file in files
        for link in re.findall(r"\]\(([^)#]+)", (ROOT / file).read_text(encoding="utf-8"))
        if "://" not in link
    ]
    assert len(links) > 5
    missing = [(f, link) for f, link in links if not (ROOT / f).parent.joinpath(link).exists()]
    assert not missing
