"""The example workflows of `examples/ci/`: they are valid, and their commands do what they say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from ruamel.yaml import YAML

from tests.test_hookspecs import CONFTEST

WORKFLOWS = Path(__file__).parents[1] / "examples" / "ci"
MARK = "<!-- pytest-ablation -->"
INSTALL = "pip install -r requirements.txt"

HOLDS = """
import pytest
from pytest_ablation import override

@pytest.mark.ablation(override(size=1))
def test_it(variant):
    assert variant.accuracy.change <= 0.5
"""
VIOLATED = HOLDS.replace("<=", ">=")
# What `gh api` does, as far as the workflow asks for it: the comments are in a file.
GH = """#!{python}
import json, subprocess, sys
arguments, file = sys.argv[1:], {file!r}
assert arguments.pop(0) == "api"
place = next(each for each in arguments if each.startswith("repos/"))
comments = json.load(open(file))
bodies = [each[6:] for each in arguments if each.startswith("body=@")]
if "--jq" in arguments:
    assert place == "repos/a/study/issues/7/comments"
    expression = arguments[arguments.index("--jq") + 1]
    found = subprocess.run(["jq", "-r", expression], input=json.dumps(comments), text=True,
                           capture_output=True, check=True)
    print(found.stdout, end="")
elif "PATCH" in arguments:
    number = int(place.removeprefix("repos/a/study/issues/comments/"))
    comments[number]["body"] = open(bodies[0]).read()
else:
    assert place == "repos/a/study/issues/7/comments"
    comments.append({{"id": len(comments), "body": open(bodies[0]).read()}})
json.dump(comments, open(file, "w"))
"""


def workflow(name: str) -> Any:
    """Return what an example says."""
    return YAML(typ="safe").load(WORKFLOWS / name)


@dataclass
class Job:
    """A job's folder, fresh for each run of the job, and the environment it has.

    Attributes:
        folder: Where jobs run, one folder each.
        suite: What is checked out.
        env: What the forge sets.
        runs: Jobs so far.
    """

    folder: Path
    suite: Path
    env: dict[str, str] = field(default_factory=dict)
    runs: int = 0

    def checked_out(self) -> Path:
        """Return a fresh checkout."""
        self.runs += 1
        return Path(shutil.copytree(self.suite, self.folder / f"run{self.runs}"))

    def call(self, command: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Return what a step's command did."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("GITHUB_", "CI"))},
            **{"PYTEST_ADDOPTS": "--ablation-workers=0 -p no:xdist", "PATH": path},
            **self.env,
        }
        bash = ["bash", "-e", "-c", command]
        return subprocess.run(bash, cwd=folder, env=env, capture_output=True, text=True)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job of a study whose trainings take no time, and whose claim holds."""
    tests = tmp_path / "suite" / "ablation_tests"
    tests.mkdir(parents=True)
    (tests / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (tests / "test_it.py").write_text(HOLDS, encoding="utf-8")
    (tmp_path / "suite" / "pytest.ini").write_text(
        "[pytest]\nablation_profile = full\nablation_seeds = 2\n", encoding="utf-8"
    )
    return Job(tmp_path, tmp_path / "suite")


def violate(job: Job) -> None:
    """Have the job's study claim, of the same trainings, what is not so."""
    (job.suite / "ablation_tests" / "test_it.py").write_text(VIOLATED, encoding="utf-8")


def trainings(folder: Path) -> tuple[int, int]:
    """Return how many trainings a job did, and how many it found in the cache."""
    session = json.loads((folder / "findings.json").read_text(encoding="utf-8"))["session"]
    return session["trained"], session["reused"]


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("github-workflows", WORKFLOWS / "github-actions.yml"),
        ("gitlab-ci", WORKFLOWS / "gitlab-ci.yml"),
        ("readthedocs", WORKFLOWS.parents[1] / ".readthedocs.yaml"),
    ],
    ids=["GitHub", "GitLab", "Read the Docs"],
)
def test_the_workflows_are_what_their_hosts_accept(schema: str, file: Path) -> None:
    """Whoever copies a workflow has no typo of ours in it; the guide, too, is built."""
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    checked = subprocess.run([*check, str(file)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


# ------------------------------------------------------------------------------- GitHub Actions


def github(job: Job, cache: dict[str, Path]) -> tuple[list[int], Path]:
    """Return the exit codes of a job's commands, in order, and its folder.

    Args:
        job: The job.
        cache: What is in the cache, by path; restored before and saved after, as the steps say.
    """
    folder = job.checked_out()
    job.env |= {
        "GITHUB_REPOSITORY": "a/study",
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "PULL_REQUEST": "7",
        "PATH": f"{job.folder}{os.pathsep}{Path(sys.executable).parent}"
        f"{os.pathsep}{os.environ['PATH']}",
    }
    codes = []
    failed = False
    for step in workflow("github-actions.yml")["jobs"]["study"]["steps"]:
        uses, condition = step.get("uses", ""), str(step.get("if", "success()"))
        if failed and not re.match(r"always\(\)|!cancelled\(\)", condition):
            continue
        if uses.startswith("actions/cache/restore@"):
            for path in set(step["with"]["path"].split()) & set(cache):
                shutil.copytree(cache[path], folder / path)
        elif uses.startswith("actions/cache/save@"):
            for path in step["with"]["path"].split():
                if (folder / path).is_dir():
                    cache[path] = folder / path
        elif uses.startswith("actions/upload-artifact@"):
            assert all((folder / each).stat().st_size for each in step["with"]["path"].split())
        elif "run" in step and not step["run"].startswith(INSTALL):
            done = job.call(step["run"], folder)
            codes.append(done.returncode)
            failed |= done.returncode != 0
    return codes, folder


@pytest.fixture
def comments(job: Job) -> Path:
    """The file of a pull request's comments, which a `gh` in the job's folder reads and writes."""
    file = job.folder / "comments.json"
    file.write_text('[{"id": 0, "body": "Looks good."}]', encoding="utf-8")
    gh = job.folder / "gh"
    gh.write_text(GH.format(python=sys.executable, file=str(file)), encoding="utf-8")
    gh.chmod(0o755)
    return file


@pytest.mark.skipif(not shutil.which("jq"), reason="gh has jq within; here it is a program")
def test_github_trains_nothing_twice_and_keeps_one_comment(job: Job, comments: Path) -> None:
    """The second job takes all trainings from the cache, and edits the comment of the first."""
    cache: dict[str, Path] = {}
    codes, folder = github(job, cache)
    assert codes == [0, 0, 0]
    assert trainings(folder) == (4, 0)
    assert MARK in (folder / "summary.md").read_text(encoding="utf-8")
    first = json.loads(comments.read_text(encoding="utf-8"))
    assert [each["body"].startswith(MARK) for each in first] == [False, True]
    violate(job)
    codes, folder = github(job, cache)
    assert codes == [1, 0, 0]  # red, and the report and the comment are there all the same
    assert trainings(folder) == (0, 4)
    second = json.loads(comments.read_text(encoding="utf-8"))
    assert len(second) == 2
    assert "1 violated" in second[1]["body"]


# --------------------------------------------------------------------------------------- GitLab


class Notes(BaseHTTPRequestHandler):
    """A merge request's notes, as GitLab's API has them."""

    notes: list[dict[str, Any]]

    def do_GET(self) -> None:
        """List the notes."""
        assert self.path == "/projects/12/merge_requests/7/notes?per_page=100"
        self._answer(self.notes)

    def do_POST(self) -> None:
        """Write a note."""
        self.notes.append({"id": len(self.notes), "body": self._body()})
        self._answer(self.notes[-1])

    def do_PUT(self) -> None:
        """Edit a note."""
        number = int(self.path.removeprefix("/projects/12/merge_requests/7/notes/"))
        self.notes[number]["body"] = self._body()
        self._answer(self.notes[number])

    def _body(self) -> str:
        content = self.rfile.read(int(self.headers["Content-Length"])).decode()
        return parse_qs(content)["body"][0]

    def _answer(self, content: Any) -> None:
        known = self.headers["PRIVATE-TOKEN"] == "token"
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 # its name in the class
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """A server of notes on this machine."""
    Notes.notes = [{"id": 0, "body": "Looks good."}]
    with ThreadingHTTPServer(("127.0.0.1", 0), Notes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def gitlab(job: Job, cache: dict[str, Path]) -> tuple[int, Path]:
    """Return the exit code of a job's script, and its folder; `cache` is as with GitHub."""
    folder = job.checked_out()
    said = workflow("gitlab-ci.yml")["ablation"]
    for path in set(said["cache"]["paths"]) & set(cache):
        shutil.copytree(cache[path], folder / path)
    assert all(command.startswith(INSTALL) for command in said["before_script"])
    code = job.call("\n".join(said["script"]), folder).returncode
    after = job.call("\n".join(said["after_script"]), folder)
    assert after.returncode == 0, after.stderr
    assert said["cache"]["when"] == said["artifacts"]["when"] == "always"
    cache |= {path: folder / path for path in said["cache"]["paths"] if (folder / path).is_dir()}
    kept = [*said["artifacts"]["paths"], said["artifacts"]["reports"]["junit"]]
    assert all((folder / each).stat().st_size for each in kept)
    return code, folder


@pytest.mark.skipif(not shutil.which("curl"), reason="the job's image has curl")
def test_gitlab_trains_nothing_twice_and_keeps_one_note(
    job: Job, server: ThreadingHTTPServer
) -> None:
    """Likewise; a job without a token says nothing, and is as green or red."""
    violate(job)
    cache: dict[str, Path] = {}
    assert gitlab(job, cache)[0] == 1
    assert len(Notes.notes) == 1
    job.env |= {
        "ABLATION_TOKEN": "token",
        "CI_API_V4_URL": f"http://127.0.0.1:{server.server_port}",
        "CI_PROJECT_ID": "12",
        "CI_MERGE_REQUEST_IID": "7",
    }
    for _ in range(2):
        code, folder = gitlab(job, cache)
        assert code == 1
        assert trainings(folder) == (0, 4)
        assert [note["body"].startswith(MARK) for note in Notes.notes] == [False, True]
    written = (folder / "findings.md").read_text(encoding="utf-8")
    assert Notes.notes[1]["body"] == written
