"""Machines that share a remote: each has a home and a store of its own."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Pairs of keys, those of RFC 8032: known to everybody, so good for tests only.
KEYS = {
    "ours": (
        "cwsec1-9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "cwpub1-d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    ),
    "other": (
        "cwsec1-4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "cwpub1-3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    ),
}

MANIFEST = """\
[package]
name = "app"
version = "0.1.0"
edition = "2021"

[dependencies]
# A build script that asks the compiler, one that does not, and a macro.
anyhow = "1"
libc = "0.2"
indoc = "2"

[workspace]
"""

MAIN = """\
fn main() -> anyhow::Result<()> {
    // SAFETY: asks for a number.
    let process = unsafe { libc::getpid() } > 0;
    print!("{}", indoc::indoc! {"
        said
    "});
    anyhow::ensure!(process);
    Ok(())
}
"""


class Failure(Exception):
    """What a test found wrong."""


class Skipped(Exception):
    """Why a case cannot be run here."""


def needs(program):
    """A program, or a file, of the system."""
    if not shutil.which(program) and not Path(program).exists():
        raise Skipped(f"{program} is not installed")


def check(holds, what):
    if not holds:
        raise Failure(what)


def run(command, **options):
    options.setdefault("timeout", 300)
    return subprocess.run(command, text=True, capture_output=True, **options)


class Lab:
    """What all machines have: the programs, a counting compiler, the sources of a project."""

    def __init__(self, work, wrapper, helper):
        self.work = Path(work).resolve()
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        # The wrapper looks for the helper beside itself.
        self.bin = self.work / "bin"
        self.bin.mkdir()
        for program in (wrapper, helper, Path(wrapper).with_name("cargo-cachewrap")):
            shutil.copy(program, self.bin)
        self.wrapper = self.bin / "cachewrap"
        self.helper = self.bin / "cachewrap-remote"
        sysroot = run(["rustc", "--print", "sysroot"], check=True).stdout.strip()
        self.path = f"{sysroot}/bin:{os.environ['PATH']}"
        # To a descriptor that is opened out here: what a build script writes elsewhere is a side effect.
        shim = (HERE.parent / "harness/shim.sh").read_text()
        shim = shim.replace("@LOG@", ">&9").replace("@REAL@", f"'{sysroot}/bin/rustc'")
        self.rustc = self.bin / "rustc"
        self.rustc.write_text(shim)
        self.rustc.chmod(0o755)
        self.cargo_home = os.environ.get("CARGO_HOME", os.path.expanduser("~/.cargo"))
        self.rustup_home = os.environ.get("RUSTUP_HOME", os.path.expanduser("~/.rustup"))
        self.sources = self.work / "sources"
        (self.sources / "src").mkdir(parents=True)
        (self.sources / "Cargo.toml").write_text(MANIFEST)
        (self.sources / "src/main.rs").write_text(MAIN)
        env = {**os.environ, "PATH": self.path}
        fetched = run(["cargo", "fetch"], cwd=self.sources, env=env)
        check(fetched.returncode == 0, f"the packages cannot be fetched: {fetched.stderr}")
        self.count = 0

    def machine(self, name, url, **settings):
        """A new one, with an empty store."""
        self.count += 1
        return Machine(self, f"{self.count}-{name}", url, settings)


    def forget(self):
        """Removes the machines of a case that holds."""
        shutil.rmtree(self.work / "machines", ignore_errors=True)


class Build:
    """What a build came to."""

    def __init__(self, machine, done, compiled, seconds):
        self.machine = machine
        self.status = done.returncode
        self.stderr = done.stderr
        self.compiled = compiled
        self.seconds = seconds

    def ok(self):
        check(self.status == 0, f"the build failed: {self.stderr}")
        said = run([str(self.machine.target / "debug/app")])
        check(said.stdout == "said\n", f"the program said {said.stdout!r}")
        return self

    def compiles(self, expected):
        check(sorted(self.compiled) == sorted(expected), f"compiled {self.compiled}, expected {expected}")
        return self


class Machine:
    def __init__(self, lab, name, url, settings):
        self.lab = lab
        self.root = lab.work / "machines" / name
        self.home = self.root / "home"
        self.store = self.root / "store"
        self.project = self.root / "project"
        self.target = self.project / "target"
        self.home.mkdir(parents=True)
        shutil.copytree(lab.sources, self.project)
        self.env = {
            "PATH": lab.path,
            "HOME": str(self.home),
            "CARGO_HOME": lab.cargo_home,
            "RUSTUP_HOME": lab.rustup_home,
            "TMPDIR": str(self.root),
            "CARGO_NET_OFFLINE": "true",
            "CARGO_TERM_COLOR": "never",
            "RUSTC": str(lab.rustc),
            "RUSTC_WRAPPER": str(lab.wrapper),
            "CACHEWRAP_DIR": str(self.store),
        }
        if url:
            self.env["CACHEWRAP_REMOTE"] = url
        self.env.update(settings)

    def build(self, *words, fresh=True, launcher=(), env=None):
        """Builds from an empty target directory."""
        if fresh:
            shutil.rmtree(self.target, ignore_errors=True)
        begun = time.monotonic()
        with self.start(*words, launcher=launcher, env=env) as process:
            try:
                out, err = process.communicate(timeout=300)
            except subprocess.TimeoutExpired:
                process.kill()
                raise Failure("the build hangs") from None
        seconds = time.monotonic() - begun
        done = subprocess.CompletedProcess([], process.returncode, out, err)
        return Build(self, done, self.compiled(), seconds)

    def start(self, *words, launcher=(), env=None):
        log = self.root / "log"
        log.write_text("")
        # The shim writes to descriptor 9.
        shell = ["sh", "-c", f'exec 9>>"{log}"; exec "$@"', "sh", *launcher]
        return subprocess.Popen(
            [*shell, "cargo", "build", *words],
            cwd=self.project,
            env={**self.env, **(env or {})},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def compiled(self):
        units = (self.root / "log").read_text().split()
        return [unit for unit in units if not unit.endswith("[probe]")]

    def helper(self, *words, **env):
        return run([str(self.lab.helper), *words], env={**self.env, **env})

    def push(self):
        """Sends all that is queued; how many results."""
        done = self.helper("push")
        check(done.returncode == 0, f"push: {done.stdout}{done.stderr}")
        check(not self.queued(), f"push left {self.queued()}")
        return done.stdout

    def command(self, *words):
        """`cargo cachewrap` with these."""
        return run([str(self.lab.bin / "cargo-cachewrap"), *words], env=self.env, cwd=self.project)

    def queued(self):
        queue = self.store / "v1/queue"
        return sorted(path.name for path in queue.iterdir()) if queue.exists() else []

    def counters(self):
        """Those of the store that are about the remote."""
        done = run([str(self.lab.bin / "cargo-cachewrap"), "stats", "--json"], env=self.env)
        return done.stdout

    def helpers(self):
        """The helpers that serve this machine's store."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if len(words) > 2 and words[1] == b"serve" and words[2].startswith(str(self.store).encode()):
                found.append(int(process.name))
        return found

    def wait_for_no_helper(self, seconds=20):
        until = time.monotonic() + seconds
        while self.helpers():
            check(time.monotonic() < until, f"helpers are left over: {self.helpers()}")
            time.sleep(0.05)

    def libraries(self):
        """What was made of the packages, by name."""
        deps = self.target / "debug/deps"
        kinds = (".rlib", ".rmeta", ".so")
        return {path.name: path.read_bytes() for path in deps.iterdir() if path.suffix in kinds}


def slug(text):
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
