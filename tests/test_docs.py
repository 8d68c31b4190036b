"""The guide and the README: each code block runs, and what they list is what there is.

A block of code that begins with a file's name in a comment is that file, or goes on with it; other
Python is a script. Commands are run where they stand, and tests written after the last of them at
the page's end. A page goes on with the files of the first study, and where it has commands with its
tests. All of it is trained in the smoke profile, each trial once for all pages. A block that cannot
run says why, in a comment before it.
"""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

import pytest_ablation
from pytest_ablation import cli, options

ROOT = Path(__file__).parents[1]
GUIDE = sorted((ROOT / "docs").glob("*.md"))
FIRST = ROOT / "docs" / "first-study.md"
CODE = {"python", "sh", "ini"}
NO_CODE = {"text", "{toctree}", "{eval-rst}", "{literalinclude}"}
RUN_IN_CI = {
    "main command",
    "test command",
}  # of the README: .ci/run runs one, and the other's study
FILE = re.compile(r"# ([\w./-]+\.(?:py|ini))\n")
COMMENT = re.compile(r"<!-- (.+?) -->")


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        language: Its info string.
        code: What it says.
        line: Where it begins in the page, from 1.
        said: What the comment right before it says.
    """

    language: str
    code: str
    line: int
    said: str = ""

    @property
    def file(self) -> str:
        """The file that it is of; empty where it is of none."""
        match = FILE.match(self.code)
        return match[1] if match else ""


def blocks(page: Path) -> Iterator[Block]:
    """Yield a page's blocks of code, in order; refuse one of which nobody knows what it is."""
    said = ""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type in ("fence", "code_block"):
            language = (token.info.split() or [""])[0]
            line = (token.map or [0])[0] + 1
            assert language in CODE | NO_CODE, f"{page.name}:{line}: a block of {language!r}"
            if language in CODE:
                yield Block(language, token.content, line, said)
        comment = COMMENT.fullmatch(token.content.strip()) if token.type == "html_block" else None
        said = comment[1] if comment else ""


@dataclass
class Reader:
    """Who does what a page says.

    Attributes:
        pytester: Where the files go, and what runs pytest.
        untested: Whether tests were written since pytest ran last.
    """

    pytester: pytest.Pytester
    untested: bool = field(default=False)

    def read(self, block: Block) -> None:
        """Do what a block says."""
        if block.said.startswith("not run: ") or block.said in RUN_IN_CI:
            return
        if block.file:
            self.write(block)
        elif block.language == "sh":
            code = int(block.said.removeprefix("exits with ") or 0)
            for command in block.code.replace("\\\n", "").splitlines():
                self.call(shlex.split(command), code)
        else:
            assert block.language == "python", "an ini block is to name its file in a comment"
            script = self.pytester.path / "block.py"
            script.write_text(block.code, encoding="utf-8")
            runpy.run_path(str(script))

    def write(self, block: Block) -> None:
        """Write a file, or go on with it."""
        path = self.pytester.path / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(block.code)
        self.untested |= path.name.startswith("test_")

    def call(self, command: list[str], code: int) -> None:
        """Run a command in this process."""
        if command[0] == "pytest-ablation":
            assert cli.main(command[1:]) == code
            return
        assert command[0] == "pytest", f"{command[0]} is not run here: say why in a comment"
        result = self.pytester.runpytest(*command[1:])
        assert result.ret == code
        result.stdout.no_fnmatch_line("*INTERNALERROR*")
        self.untested = False


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store for all pages."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def reader(
    mlflow_imported: None, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, store: Path
) -> Reader:
    """A reader with an empty folder, who trains little and nowhere else."""
    options = "--ablation-workers=0 --ablation-profile=smoke --ablation-data=shapes10"
    monkeypatch.setenv("PYTEST_ADDOPTS", f"{options} -p no:xdist -p no:cacheprovider")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a file that is gone on with is new
    pytester.syspathinsert()
    (pytester.path / ".ablation").symlink_to(store)
    return Reader(pytester)


@pytest.mark.parametrize("page", [ROOT / "README.md", *GUIDE], ids=lambda page: page.name)
def test_each_block_of_a_page_runs(reader: Reader, page: Path) -> None:
    """What a reader copies works, in the order in which it stands."""
    own = list(blocks(page))
    before = [] if page == FIRST or page.name == "README.md" else list(blocks(FIRST))
    has_commands = any(block.language == "sh" for block in own)
    for block in before:
        if block.file and (has_commands or not block.file.startswith("test_")):
            reader.write(block)
    for block in own:
        reader.read(block)
    if reader.untested:
        reader.call(["pytest"], 0)


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("```python\nimport nothing_of_that_name\n```", "nothing_of_that_name"),
        ("```python\n# test_it.py\ndef test_it():\n    assert not 1\n```", "TESTS_FAILED"),
        ("```sh\npytest --ablation-plam\n```", "USAGE_ERROR"),
        ("```sh\nrm -r here\n```", "rm is not run here"),
        ("```\nno language\n```", "a block of ''"),
        ("    indented\n", "a block of ''"),
    ],
)
def test_a_block_that_does_not_run_is_found(reader: Reader, page: str, said: str) -> None:
    """No block passes because it was not looked at."""
    written = reader.pytester.path / "page.md"
    written.write_text(f"Text.\n\n{page}\n", encoding="utf-8")

    def read() -> None:
        for block in blocks(written):
            reader.read(block)
        if reader.untested:
            reader.call(["pytest"], 0)

    with pytest.raises((AssertionError, ImportError), match=said):
        read()


@pytest.mark.parametrize("example", ["sklearn", "torch"])
def test_an_example_runs_wherever_it_is_copied(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, example: str
) -> None:
    """Who copies an example's folder, under whatever name, begins with a study that runs."""
    pytest.importorskip(example)
    folder = pytester.path / "my-study"  # no name of a package
    shutil.copytree(ROOT / "examples" / f"{example}_digits", folder)
    monkeypatch.chdir(folder)
    plan = pytester.runpytest_subprocess("--ablation-plan")
    assert plan.ret == 0
    plan.stdout.fnmatch_lines(["10 trials: 0 cached, 10 to train*"])
    trained = pytester.runpytest_subprocess("--ablation-seeds=1", "-k", "reads_digits")
    trained.stdout.fnmatch_lines(["*1 training done, 0 reused*"])


@pytest.mark.slow
def test_the_first_study_finds_what_the_guide_says(pytester: pytest.Pytester) -> None:
    """A reader of the first page sees the verdicts that stand there."""
    suite = [block for block in blocks(FIRST) if block.file]
    for block in suite:
        with (pytester.path / block.file).open("a", encoding="utf-8") as file:
            file.write(block.code)
    result = pytester.runpytest_subprocess("--ablation-workers=1")
    result.stdout.fnmatch_lines(["*4 passed, * 1 undecided*"])


@pytest.mark.parametrize("page", [ROOT / "docs" / "reference.md"], ids=lambda page: page.name)
def test_the_options_listed_are_those_there_are(page: Path) -> None:
    """A reference that is out of date is worse than none: names, ini twins and defaults agree."""
    parser = pytest.Parser(_ispytest=True)
    options.add(parser)
    known = {
        option.names()[0]: str(option.attrs().get("help", ""))
        for option in parser.getgroup("ablation").options
    }
    table = re.findall(r"^\| `(--ablation-\w+)(.*) \| ([^|]+) \|$", page.read_text("utf-8"), re.M)
    assert [name for name, *_ in table] == sorted(known, key=[name for name, *_ in table].index), (
        "options of the table, and of the plugin"
    )
    for name, _, default in table:
        match = re.search(r"\(default: (.+?)\)", known[name])
        told = match[1] if match else "none" if "may be repeated" in known[name] else "off"
        assert default.replace("`", "").startswith(told), f"{name}: {default}, not {told}"
        assert f"ablation_{name.removeprefix('--ablation-')}" in parser._inidict


def test_the_guide_is_built_without_a_warning(tmp_path: Path) -> None:
    """No link of it is dead, and no docstring of a public name is read wrong."""
    sphinx = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    built = subprocess.run(
        [*sphinx, "docs", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    names = (tmp_path / "api.html").read_text(encoding="utf-8")
    assert all(f'id="pytest_ablation.{name}"' in names for name in pytest_ablation.__all__)


def test_the_public_names_listed_are_those_there_are() -> None:
    """Whatever can be imported is explained."""
    api = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\.\. auto\w+:: (\w+)$", api, re.M)
    assert sorted(listed) == sorted(pytest_ablation.__all__)
