"""What must never happen, whatever a remote does: a build that fails, hangs, or tells a secret."""

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import broken
import servers
from broken import Broken, Bucket
from machines import KEYS, Failure, check, needs, run

SECRET, PUBLIC = KEYS["ours"]

# What everything that hangs would exceed.
BOUND = 10

KEY = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "somebodys-secret"}
WRITER = {**KEY, "CACHEWRAP_REMOTE_SIGN_KEY": SECRET}


def cases(tools):
    return {
        "refuses": failing(None, "unreachable"),
        "left alone": left_alone,
        "hangs": failing(broken.hang, "slow"),
        "answers and hangs": failing(broken.answer_and_hang, "slow"),
        "drips": failing(broken.drip, "slow"),
        "trickles": failing(broken.trickle, "slow"),
        "drips its head": failing(broken.drip_the_head, "slow"),
        "cuts": failing(broken.cut, "unreachable"),
        "closes": closes,
        "babbles": failing(broken.babble, "unreachable"),
        "floods": failing(broken.flood, "too-long"),
        "401": failing(broken.says("401 Unauthorized"), "denied"),
        "403": failing(broken.says("403 Forbidden"), "denied"),
        "429": failing(broken.says("429 Too Many Requests", "Retry-After: 3600\r\n"), "throttled"),
        "500": failing(broken.says("500 Internal Server Error"), "confused"),
        "503": failing(broken.says("503 Slow Down", "Retry-After: 3600\r\n"), "throttled"),
        "301": failing(broken.says("301 Moved", "Location: http://127.0.0.1:1/\r\n"), "confused"),
        "certificates": certificates,
        "redis hangs": hangs("redis"),
        "memcached hangs": hangs("memcached"),
        "no credentials": no_credentials,
        "denies what is missing": denies_what_is_missing,
        "reads only": reads_only,
        "no helper": no_helper,
        "helper killed": with_redis(tools, helper_killed),
        "helper stopped": with_redis(tools, helper_stopped),
        "build killed": with_redis(tools, build_killed),
        "several helpers": with_redis(tools, several_helpers),
        "nothing inherited": with_redis(tools, nothing_inherited),
        "no socket": with_redis(tools, no_socket),
        "namespaces": with_redis(tools, namespaces),
        "secrets": secrets,
    }


def with_redis(tools, case):
    def with_server(lab):
        with servers.Redis(lab.work, tools) as server:
            case(lab, server)

    return with_server


def plain_seconds(lab):
    """How long a build takes without a remote."""
    if not hasattr(lab, "plain"):
        lab.plain = lab.machine("plain", None).build().ok()
    return lab.plain.seconds


def s3(port, scheme="http", mode="write"):
    return f"s3://cache/rust?mode={mode}&endpoint={scheme}://127.0.0.1:{port}"


def builds_alone(lab, name, url, trouble, **env):
    """The build goes on as without a remote, and says what is wrong; what it made stays queued."""
    plain = plain_seconds(lab)
    machine = lab.machine(name.replace(" ", "-"), url, **env)
    built = machine.build().ok().compiles(lab.plain.compiled)
    print(f"   {built.seconds - plain:+.1f} s")
    check(built.seconds < plain + BOUND, f"the build took {built.seconds:.1f} s, without a remote {plain:.1f} s")
    said = [line for line in built.stderr.splitlines() if "warn: the remote" in line]
    print("  ", *said)
    counted = machine.counters()
    check(f'"{trouble}"' in counted or f".{trouble}" in counted, f"{trouble} is not counted: {counted}")
    check(len(said) <= 2, f"it is said again and again: {said}")
    if "mode=write" in url:
        check(machine.queued(), "nothing is queued")
        pushed = machine.helper("push")
        check(pushed.returncode == 1, f"push succeeds: {pushed.stdout}{pushed.stderr}")
        check(machine.queued(), "push lost what was queued")
    for helper in machine.helpers():
        os.kill(helper, signal.SIGKILL)
    return machine


def failing(talk, trouble):
    def case(lab):
        if talk is None:
            return builds_alone(lab, trouble, s3(servers.free_port()), trouble, **WRITER)
        with Broken(talk) as server:
            builds_alone(lab, talk.__name__, s3(server.port), trouble, **WRITER)
            check(server.clients, "nobody asked the server")

    return case


def left_alone(lab):
    """Where another has met the trouble, as the helper may while it sends, a build that does not even ask says so, once."""
    machine = lab.machine("left-alone", s3(servers.free_port()), **WRITER)
    check(machine.helper("probe").returncode == 1, "the probe succeeds")
    built = machine.build().ok()
    said = [line for line in built.stderr.splitlines() if "warn: the remote" in line]
    check(len(said) == 1 and "left alone for" in said[0] and "unreachable" in said[0], f"said: {said}")
    check("remote.error" not in machine.counters(), machine.counters())


def closes(lab):
    """A connection that is closed before the answer is no outage."""
    with Broken(broken.closing_once()) as server:
        machine = lab.machine("closes", s3(server.port, mode="read"), CACHEWRAP_REMOTE_TRUSTED=PUBLIC, **KEY)
        built = machine.build().ok()
        check(built.compiled, "nothing was compiled")
        check("remote.error" not in machine.counters(), machine.counters())
        check(server.clients >= 2 * len(built.compiled), f"asked {server.clients} times")


def certificates(lab):
    """One that an authority vouches for, which one machine knows and another does not."""
    needs("openssl")
    authority, certificate, key = servers.certificates(lab.work)
    with Bucket(broken.tls_with(certificate, key)) as server:
        url = f"{server.url()}&mode=write"
        knowing = lab.machine("knowing", url, SSL_CERT_FILE=str(authority), **WRITER)
        knowing.build().ok()
        knowing.push()
        reading = {**KEY, "CACHEWRAP_REMOTE_TRUSTED": PUBLIC, "SSL_CERT_FILE": str(authority)}
        lab.machine("reading", server.url(), **reading).build().ok().compiles([])
        machine = builds_alone(lab, "unknowing", url, "unreachable", **WRITER)
        probed = machine.helper("probe").stdout
        check("certificate" in probed, f"what is wrong is not said: {probed}")


def hangs(scheme):
    def case(lab):
        with Broken(broken.hang) as server:
            url = f"{scheme}://127.0.0.1:{server.port}?mode=write"
            builds_alone(lab, scheme, url, "slow", CACHEWRAP_REMOTE_SIGN_KEY=SECRET)
            check(server.clients, "nobody asked the server")

    return case


def no_credentials(lab):
    # The metadata of a machine is not to be asked, where there is one.
    nowhere = {"AWS_EC2_METADATA_DISABLED": "true"}
    with Bucket() as server:
        builds_alone(lab, "credentials", f"{server.url()}&mode=write", "denied",
                     CACHEWRAP_REMOTE_SIGN_KEY=SECRET, **nowhere)  # fmt: skip


def no_helper(lab):
    helper, aside = lab.helper, lab.helper.with_name("aside")
    helper.rename(aside)
    try:
        plain = plain_seconds(lab)
        machine = lab.machine("no-helper", s3(servers.free_port()), **WRITER)
        built = machine.build().ok().compiles(lab.plain.compiled)
        check(built.seconds < plain + BOUND, f"the build took {built.seconds:.1f} s")
    finally:
        aside.rename(helper)


def denies_what_is_missing(lab):
    with Bucket() as server:
        first = lab.machine("first", f"{server.url()}&mode=write", **WRITER)
        compiled = first.build().ok().compiled
        first.push()
        reader = lab.machine("reader", server.url(), CACHEWRAP_REMOTE_TRUSTED=PUBLIC, **KEY)
        reader.build().ok().compiles([])
        # What is missing is no trouble, either.
        (reader.project / "src/main.rs").write_text("fn main() { println!(\"said\") }")
        reader.build().ok().compiles(["app"])
        check("denied" not in reader.counters(), reader.counters())
        check(compiled, "nothing was compiled")


def reads_only(lab):
    machine = lab.machine("reads", s3(servers.free_port()), **WRITER)
    machine.build().ok()
    queued = machine.queued()
    check(queued, "nothing is queued")
    for helper in machine.helpers():
        os.kill(helper, signal.SIGKILL)
    # It has a key, and something to send; but it is told to read.
    with Bucket() as server:
        shutil.rmtree(machine.store / "v1/results")
        machine.env["CACHEWRAP_REMOTE"] = server.url()
        machine.build().ok()
        check(machine.helper("push").returncode == 2, "push sends in the role of a reader")
        check(machine.helper("probe").returncode in (0, 1), "probe cannot be run")
        machine.wait_for_no_helper()
        check(set(server.methods) <= {"GET", "HEAD"} and server.methods, f"it asked {set(server.methods)}")
        check(machine.queued() == queued, "the queue changed")


def wait_for_helper(machine):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if helpers := machine.helpers():
            return helpers[0]
        time.sleep(0.005)
    raise Failure("no helper was started")


def second_is_served(lab, server, compiled=()):
    second = lab.machine("second", server.url(), CACHEWRAP_REMOTE_TRUSTED=PUBLIC, **server.env)
    second.build().ok().compiles(compiled)


def helper_killed(lab, server):
    """Again and again while a build goes on."""
    machine = lab.machine("killed", f"{server.url()}?mode=write", CACHEWRAP_REMOTE_SIGN_KEY=SECRET, **server.env)
    over, killed = threading.Event(), []

    def kill():
        while not over.wait(0.05):
            for helper in machine.helpers():
                os.kill(helper, signal.SIGKILL)
                killed.append(helper)
            # What was taken to be down is tried again at once.
            for down in machine.store.glob("v1/remote/down-*"):
                down.unlink(missing_ok=True)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        machine.build().ok()
    finally:
        over.set()
        killer.join()
    check(killed, "no helper was killed")
    print(f"   killed {len(set(killed))} helpers, {len(machine.queued())} results were left")
    machine.push()
    second_is_served(lab, server)


def helper_stopped(lab, server):
    plain = plain_seconds(lab)
    machine = lab.machine("stopped", f"{server.url()}?mode=write", CACHEWRAP_REMOTE_SIGN_KEY=SECRET, **server.env)
    stopped = []

    def stop():
        helper = wait_for_helper(machine)
        os.kill(helper, signal.SIGSTOP)
        stopped.append(helper)

    stopper = threading.Thread(target=stop)
    stopper.start()
    try:
        built = machine.build().ok()
        again = machine.build().ok().compiles([])
        check(built.seconds < plain + BOUND, f"the build took {built.seconds:.1f} s, without {plain:.1f} s")
        check(again.seconds < plain + BOUND, f"the second build took {again.seconds:.1f} s")
        print(f"   {built.seconds - plain:+.1f} s")
    finally:
        stopper.join()
        for helper in stopped:
            os.kill(helper, signal.SIGKILL)
    machine.push()
    second_is_served(lab, server)


def build_killed(lab, server):
    """With all that belongs to it, the helper too."""
    machine = lab.machine("build-killed", f"{server.url()}?mode=write", CACHEWRAP_REMOTE_SIGN_KEY=SECRET, **server.env)
    # Nothing can be sent until it is killed.
    machine.env["CACHEWRAP_REMOTE"] = f"redis://127.0.0.1:{servers.free_port()}/1/rust?mode=write"
    with machine.start() as build:
        until = time.monotonic() + 60
        while not machine.queued() and build.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        queued = machine.queued()
        for process in [*machine.helpers(), *descendants(build.pid), build.pid]:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
    check(queued, "nothing was queued")
    check(set(queued) <= set(machine.queued()), "the queue lost something")
    machine.env["CACHEWRAP_REMOTE"] = f"{server.url()}?mode=write"
    print("  ", machine.push().strip())
    second = lab.machine("second", server.url(), CACHEWRAP_REMOTE_TRUSTED=PUBLIC, **server.env)
    served = second.build().ok()
    check(len(served.compiled) < len(plain(lab)), f"nothing was served: {served.compiled}")


def plain(lab):
    plain_seconds(lab)
    return lab.plain.compiled


def descendants(pid):
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *descendants(int(child))] if Path(f"/proc/{child}").exists() else []
    return found


def several_helpers(lab, server):
    """Started at once, all but one end; a socket that is left over stops nobody."""
    machine = lab.machine("several", f"{server.url()}?mode=write", CACHEWRAP_REMOTE_SIGN_KEY=SECRET, **server.env)
    built = machine.build().ok()
    machine.wait_for_no_helper()
    remote = machine.store / "v1/remote"
    check(not list(remote.glob("*.sock")), "a socket is left over")
    machine.build("--release", fresh=False)
    check(len(machine.helpers()) == 1, f"helpers: {machine.helpers()}")
    os.kill(machine.helpers()[0], signal.SIGKILL)
    sockets = list(remote.glob("*.sock"))
    check(len(sockets) == 1, f"sockets: {sockets}")
    check(sockets[0].stat().st_mode & 0o777 == 0o700, f"mode {sockets[0].stat().st_mode:o}")
    started = [run_apart(machine, sockets[0]) for _ in range(8)]
    time.sleep(1)
    check(len(machine.helpers()) == 1, f"helpers: {machine.helpers()}")
    for process in started:
        process.wait(30)
    check(built.compiled, "nothing was compiled")
    check(not list(remote.glob("*.sock")), "a socket is left over")


def run_apart(machine, socket):
    return subprocess.Popen([str(machine.lab.helper), "serve", str(socket)], env=machine.env)


def nothing_inherited(lab, server):
    machine = lab.machine("inherited", f"{server.url()}?mode=write", CACHEWRAP_REMOTE_SIGN_KEY=SECRET, **server.env)
    shutil.rmtree(machine.target, ignore_errors=True)
    (machine.root / "log").write_text("")
    piped = f'exec 9>>"{machine.root}/log"; exec 7</dev/zero; cargo build -j1 2>&1 | cat'
    begun = time.monotonic()
    done = run(["sh", "-c", piped], cwd=machine.project, env=machine.env, timeout=120)
    took = time.monotonic() - begun
    helpers = machine.helpers()
    check(done.returncode == 0 and "Finished" in done.stdout, done.stdout)
    # Who reads the pipe has seen its end while the helper goes on.
    check(helpers, "the helper has ended already")
    print(f"   {took:.1f} s")
    for helper in helpers:
        files = {}
        for fd in Path(f"/proc/{helper}/fd").iterdir():
            files[int(fd.name)] = os.readlink(fd)
        for fd, leads_to in files.items():
            ours = fd < 3 and leads_to == "/dev/null"
            own = re.match(r"socket:|anon_inode:", leads_to) or leads_to.startswith(str(machine.store))
            check(ours or own, f"descriptor {fd} is {leads_to}")
        fields = Path(f"/proc/{helper}/stat").read_text().rsplit(")", 1)[1].split()
        check(int(fields[3]) == helper, f"the helper is of session {fields[3]}")
        check(os.readlink(f"/proc/{helper}/cwd") == "/", "the helper keeps a directory in use")
    machine.wait_for_no_helper()


def no_socket(lab, server):
    """A build that finds everything in its own store opens none."""
    needs("strace")
    machine = lab.machine("no-socket", f"{server.url()}?mode=write", CACHEWRAP_REMOTE_SIGN_KEY=SECRET, **server.env)
    machine.build().ok()
    machine.push()
    machine.wait_for_no_helper()
    trace = machine.root / "trace"
    strace = ["strace", "-f", "-qq", "-e", "trace=%network,execve", "-o", str(trace)]
    machine.build(launcher=strace).ok().compiles([])
    lines = trace.read_text().splitlines()
    check(any("cachewrap" in line for line in lines), "no wrapper was traced")
    network = [line for line in lines if re.search(r"\b(socket|connect|sendto)\(", line)]
    check(not network, f"it opens sockets: {network[:5]}")


def namespaces(lab, server):
    """What is in one is not found in another; and nobody is trusted who is not named."""
    writing = f"{server.url()}?mode=write"
    machine = lab.machine("one", f"{writing}&namespace=one", CACHEWRAP_REMOTE_SIGN_KEY=SECRET, **server.env)
    compiled = machine.build().ok().compiled
    machine.push()
    reading = {**server.env, "CACHEWRAP_REMOTE_TRUSTED": PUBLIC}
    lab.machine("other", f"{server.url()}?namespace=other", **reading).build().ok().compiles(compiled)
    lab.machine("nobody", f"{server.url()}?namespace=one", **server.env).build().ok().compiles(compiled)
    lab.machine("same", f"{server.url()}?namespace=one", **reading).build().ok().compiles([])


def secrets(lab):
    """In no output, no list of processes, and no file of the store."""
    marker = "MARKER0secret0MARKER"
    hidden = (marker, SECRET, SECRET.removeprefix("cwsec1-"))
    env = {
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": marker,
        "AWS_SESSION_TOKEN": f"session-{marker}",
        "CACHEWRAP_REMOTE_SIGN_KEY": SECRET,
        "CACHEWRAP_LOG": "trace",
    }
    said = []
    with Bucket() as bucket, Broken(broken.says("403 Forbidden")) as denying, Broken(broken.cut) as cutting:
        for port in (bucket.port, denying.port, cutting.port, servers.free_port()):
            machine = lab.machine("secrets", s3(port), **env)
            with machine.start() as build:
                helper = wait_for_helper(machine)
                said.append(Path(f"/proc/{helper}/cmdline").read_bytes().decode())
                said.append(run(["ps", "axww", "-o", "args"]).stdout)
                said += build.communicate()
            command = [str(lab.bin / "cargo-cachewrap")]
            for words in (["config"], ["config", "--json"], ["doctor"], ["stats"], ["explain"]):
                done = run([*command, *words], env=machine.env, cwd=machine.project)
                said += [done.stdout, done.stderr]
            for words in ("push", "probe"):
                done = machine.helper(words)
                said += [done.stdout, done.stderr]
            for path in machine.store.rglob("*"):
                if path.is_file():
                    said.append(path.read_bytes().decode("latin-1"))
            for helper in machine.helpers():
                os.kill(helper, signal.SIGKILL)
    check(sum(map(len, said)) > 10000, "nothing was said")
    for text in said:
        for secret in hidden:
            at = text.find(secret)
            check(at < 0, f"a secret is told: {text[max(0, at - 80) : at + 8]!r}")
