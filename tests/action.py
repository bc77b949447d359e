#!/usr/bin/env python3
"""Runs the steps of action.yml as a runner of GitHub would, around builds of a real project.

    tests/action.py PROGRAMS

PROGRAMS is the directory with the two programs. They are packed by .ci/package and served as a release
from a directory. What is after `run:` is run by bash as it stands in the file; the two steps of
actions/cache are done by tar. Needs PyYAML.

First job: nothing is restored, everything is compiled, an archive is saved. Second job, on a machine
that has only the archive: everything is served, and nothing is saved again. A release whose sum is wrong
is refused; programs in PATH are used. Compiling the action's sources is not tried.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
VERSION = "9.9.9"


class Failed(Exception):
    """A step ended with another status than 0."""


class Job:
    """A job on a fresh machine: its environment, and what it left."""

    def __init__(self, work, archives, inputs):
        self.work, self.archives, self.inputs = work, archives, inputs
        self.temp = work / "temp"
        shutil.rmtree(self.temp, ignore_errors=True)
        self.temp.mkdir()
        self.summary = ""
        self.ran = []
        keep = ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "TMPDIR"]
        self.env = {name: os.environ[name] for name in keep if name in os.environ}
        self.env["RUNNER_TEMP"] = str(self.temp)

    def use(self, run_id, **inputs):
        """One use of the action."""
        values = {name: str(given.get("default", "")) for name, given in ACTION["inputs"].items()}
        values.update(self.inputs, **inputs)
        known = {f"inputs.{name}": value for name, value in values.items()}
        known.update({
            "runner.temp": str(self.temp), "runner.os": "Linux", "runner.arch": "X64",
            "github.job": "build", "github.run_id": run_id, "github.run_attempt": "1",
            "github.action_path": str(ROOT), "github.action_ref": "v1",
            "github.server_url": "https://example.invalid", "github.action_repository": "o/r",
        })
        for name in list(known):
            known[name] = expand(known[name], known)
        for step in ACTION["runs"]["steps"]:
            if all(holds(part, known) for part in step["if"].split(" && ")):
                self.ran.append(step["name"])
                self.step(step, known)

    def step(self, step, known):
        if "uses" in step:
            given = {name: expand(value, known) for name, value in step["with"].items()}
            return self.cache(step["uses"], given)
        files = {name: self.temp / f"_{name}" for name in ("ENV", "PATH", "OUTPUT", "STEP_SUMMARY")}
        for file in files.values():
            file.write_text("")
        env = dict(self.env, **{f"GITHUB_{name}": str(file) for name, file in files.items()})
        env.update({name: expand(value, known) for name, value in step.get("env", {}).items()})
        script = self.temp / "_step.sh"
        script.write_text(step["run"])
        bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
        if subprocess.run(bash, env=env, cwd=self.work).returncode:
            raise Failed(step["name"])
        self.env.update(pairs(files["ENV"]))
        self.env["PATH"] = ":".join(files["PATH"].read_text().split() + [self.env["PATH"]])
        known.update({f"steps.{step.get('id')}.outputs.{k}": v for k, v in pairs(files["OUTPUT"]).items()})
        self.summary += files["STEP_SUMMARY"].read_text()

    def cache(self, uses, given):
        path = pathlib.Path(given["path"])
        if uses.startswith("actions/cache/restore@"):
            # The newest whose key begins so.
            found = sorted(self.archives.glob(given["restore-keys"] + "*"), key=lambda file: file.stat().st_mtime)
            if found:
                subprocess.run(["tar", "-xf", found[-1], "-C", path.parent], check=True)
        elif uses.startswith("actions/cache/save@"):
            archive = self.archives / given["key"]
            assert not archive.exists(), "keys are written once"
            subprocess.run(["tar", "-cf", archive, "-C", path.parent, path.name], check=True)
        else:
            raise AssertionError(uses)

    def build(self):
        """What is between the two uses."""
        project = self.work / "project"
        shutil.rmtree(project, ignore_errors=True)
        shutil.copytree(ROOT / "fixtures/kinds", project, ignore=shutil.ignore_patterns("target"))
        subprocess.run(["cargo", "build", "--locked", "--offline", "--quiet"], env=self.env, cwd=project, check=True)


def expand(text, known):
    return re.sub(r"\$\{\{ *([\w.-]+) *\}\}", lambda found: known[found[1]], text)


def holds(condition, known):
    name, operator, value = re.fullmatch(r"([\w.-]+) (==|!=) '([^']*)'", condition).groups()
    return (known[name] == value) == (operator == "==")


def pairs(file):
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


def check(holds, said, job):
    if not holds:
        sys.exit(f"{said}\nsteps: {job.ran}\nsummary:\n{job.summary}")


def lint():
    """What shellcheck says of the steps, where it is installed; single quotes around $ or ` are meant."""
    if shutil.which("shellcheck"):
        for step in ACTION["runs"]["steps"]:
            arguments = ["shellcheck", "--shell=bash", "--exclude=SC2016", "-"]
            subprocess.run(arguments, input=step.get("run", ""), text=True, check=True)


def main(programs, scratch):
    host = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    host = re.search(r"^host: (.*)$", host, re.M)[1]
    release = scratch / f"releases/v{VERSION}"
    env = dict(os.environ, PROGRAMS=programs)
    subprocess.run([ROOT / ".ci/package", host, release], env=env, check=True)
    archives = scratch / "archives"
    archives.mkdir()
    inputs = {"version": VERSION, "releases": (scratch / "releases").as_uri()}
    work = scratch / "work"
    work.mkdir()

    first = Job(work, archives, inputs)
    first.use("1")
    first.build()
    first.use("1", finish="true")
    saved = [file.name for file in archives.iterdir()]
    check(saved == ["cachewrap-Linux-X64-build-1-1"], f"saved: {saved}", first)
    check("### cachewrap: build\n\n- Last build: 0 of " in first.summary, "no summary", first)
    check("not compiled before" in first.summary, "no reasons", first)

    second = Job(work, archives, inputs)
    second.use("2")
    second.build()
    second.use("2", finish="true")
    served = re.search(r"- All builds: (\d+) of (\d+) compilations", second.summary)
    check(served and served[1] == served[2] != "0", "not all was served", second)
    check(len(list(archives.iterdir())) == 1, "what had not changed was saved", second)

    others = Job(work, archives, {"archive": "false"})
    others.env["PATH"] = f"{programs}:{others.env['PATH']}"
    others.use("3")
    check(others.ran == ["Install cachewrap", "Use cachewrap"], "other steps", others)
    check("programs/bin" not in others.env["PATH"], "programs in PATH were not used", others)

    for file in release.glob("*.sha256"):
        file.write_text("0" * 64 + f"  {file.stem}\n")
    wrong = Job(work, scratch / "nothing", inputs)
    try:
        wrong.use("4")
    except Failed as step:
        check(str(step) == "Install cachewrap", f"failed: {step}", wrong)
    else:
        check(False, "a wrong sum was accepted", wrong)
    print("the action restores, serves, prunes, saves and tells")


if __name__ == "__main__":
    lint()
    with tempfile.TemporaryDirectory() as directory:
        main(str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(directory))
