"""What must hold with the cache of GitHub Actions, where one bundle is kept for each job."""

import threading
import time

import broken
from actions import ActionsCache
from broken import Broken
from faults import builds_alone, wait_for_helper
from machines import KEYS, check, run

SECRET, PUBLIC = KEYS["ours"]
URL = "ghac://job"
WRITING = f"{URL}?mode=write"
READ_ONLY = {"GetCacheEntryDownloadURL", "download"}


def cases():
    return {
        "ghac jobs": jobs,
        "ghac branches": branches,
        "ghac limits": limits,
        "ghac at once": at_once,
        "ghac takes along": takes_along,
        "ghac reads only": reads_only,
        "ghac secrets": hides_secrets,
        "ghac outside": outside,
        "ghac service fails": service_fails,
        "ghac download fails": download_fails,
        "ghac sending fails": sending_fails,
        "ghac damaged": damaged,
        "ghac too long": too_long,
        "ghac too slow": too_slow,
    }


FAULTS = [
    (broken.hang, "slow"),
    (broken.drip, "slow"),
    (broken.cut, "unreachable"),
    (broken.says("401 Unauthorized"), "denied"),
    (broken.says("429 Too Many Requests", "Retry-After: 60\r\n"), "throttled"),
    (broken.says("500 Internal Server Error"), "confused"),
]

DAMAGE = [
    (lambda content: content[: len(content) * 2 // 3], "remote.error.confused"),
    (lambda content: b"PK" + content, "remote.error.confused"),
    (lambda _: b"", "remote.error.confused"),
    # Every length is right, and no pack is one.
    (lambda content: content.replace(b"cwpk\x01", b"cwpk\x02"), "remote.unfit"),
]


def job(lab, server, name, branch=None, url=WRITING):
    """A runner that begins with nothing."""
    env = server.env_of(branch) if branch else server.env
    keys = {"CACHEWRAP_REMOTE_SIGN_KEY": SECRET} if "write" in url else {"CACHEWRAP_REMOTE_TRUSTED": PUBLIC}
    return lab.machine(name, url, **env, **keys)


def push(machine):
    done = machine.command("push")
    check(done.returncode == 0, f"push: {done.stdout}{done.stderr}")
    check(not machine.queued(), f"push left {machine.queued()}")
    check("dropped 0" in done.stdout, f"push: {done.stdout}")
    return done.stdout


def edit(machine):
    main = machine.project / "src/main.rs"
    main.write_text(main.read_text() + f"// {machine.root.name}\n")


def jobs(lab):
    """One entry for each job that has made something; one question and one download for each that needs something."""
    with ActionsCache() as server:
        first = job(lab, server, "first")
        compiled = first.build().ok().compiled
        first.wait_for_no_helper()
        check(first.queued() and set(server.asked) == {"GetCacheEntryDownloadURL"}, f"asked {server.asked}")
        push(first)
        check(len(server.final()) == 1 and len(server.made) == 1, f"made {len(server.made)} entries")
        check(server.blocks > 1, "all of it is one block, which shows nothing of their order")
        # All at once, and then nobody asks.
        server.asked.clear()
        second = job(lab, server, "second")
        pulled = second.command("pull")
        check(pulled.returncode == 0 and "fetched 0 " not in pulled.stdout, f"pull: {pulled.stdout}{pulled.stderr}")
        check(server.asked == ["GetCacheEntryDownloadURL", "download"], f"asked {server.asked}")
        second.build().ok().compiles([])
        # What came is kept: the next process only asks what is newest.
        check(server.asked.count("download") == 1, f"asked {server.asked}")
        check(first.libraries() == second.libraries(), "what came differs from what was made")
        push(second)
        check(len(server.made) == 1, "what adds nothing is sent")
        third = job(lab, server, "third")
        edit(third)
        third.build().ok().compiles(["app"])
        push(third)
        check(len(server.made) == 2 and third.queued() == [], "what was added is not sent")
        fourth = job(lab, server, "fourth", url=URL)
        fourth.build().ok().compiles([])
        kept = list(fourth.store.glob("v1/remote/*.bundle"))
        check(len(kept) == 1 and kept[0].read_bytes() == server.final()[-1].content, f"kept {kept}")
        verified = fourth.command("verify")
        check(verified.returncode == 0, f"verify: {verified.stdout}{verified.stderr}")
        check(compiled, "nothing was compiled")
        # Another name, and another namespace, have bundles of their own.
        for url in ("ghac://jo", "ghac://job-2", f"{URL}?namespace=other"):
            job(lab, server, "other", url=url).build().ok().compiles(compiled)


def branches(lab):
    """What the default branch keeps all find, what a pull request keeps only itself."""
    with ActionsCache() as server:
        main = job(lab, server, "main")
        main.build().ok()
        push(main)
        one = job(lab, server, "one", "refs/pull/1/merge")
        edit(one)
        one.build().ok().compiles(["app"])
        push(one)
        for branch, expected in (("refs/pull/1/merge", []), ("refs/pull/2/merge", ["app"]), (None, ["app"])):
            machine = job(lab, server, "reader", branch, URL)
            (machine.project / "src/main.rs").write_text((one.project / "src/main.rs").read_text())
            machine.build().ok().compiles(expected)


def limits(lab):
    """Who may make no entry keeps what is to be sent; what was evicted is compiled, and sent again."""
    with ActionsCache() as server:
        machine = job(lab, server, "limited")
        compiled = machine.build().ok().compiled
        queued = machine.queued()
        server.made += [time.monotonic()] * 200
        done = machine.command("push")
        check(done.returncode == 1 and "throttled" in done.stderr, f"push: {done.stdout}{done.stderr}")
        check(machine.queued() == queued and queued, "what was not sent is gone")
        server.made.clear()
        push(machine)
        server.room = 1000
        server.evict()
        check(not server.entries, "nothing was evicted")
        again = job(lab, server, "again")
        again.build().ok().compiles(compiled)
        server.room = 10 << 30
        push(again)
        job(lab, server, "reader", url=URL).build().ok().compiles([])


def at_once(lab):
    """Two jobs of one name: each finds something, none fails, and what is lost is there after the next."""
    with ActionsCache() as server:
        machines = [job(lab, server, name) for name in ("one", "two")]
        for machine in machines:
            edit(machine)
        done = []
        threads = [threading.Thread(target=lambda m=m: done.append((m.build().ok(), push(m)))) for m in machines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        check(len(done) == 2 and len(server.final()) == 2, f"{len(done)} have ended")
        for _ in range(2):
            for machine in machines:
                next_one = job(lab, server, "next")
                (next_one.project / "src/main.rs").write_text((machine.project / "src/main.rs").read_text())
                compiled = next_one.build().ok().compiled
                check(set(compiled) <= {"app"}, f"compiled {compiled}")
                push(next_one)
        check(not compiled, f"compiled {compiled} in the end")


def takes_along(lab):
    """A job that fails early does not lose what those before it have made; what nobody uses goes in the end."""
    with ActionsCache() as server:
        first = job(lab, server, "first")
        compiled = first.build().ok().compiled
        push(first)
        for n in range(5):
            failing = job(lab, server, "failing")
            manifest = failing.project / "Cargo.toml"
            manifest.write_text(manifest.read_text().replace('indoc = "2"', ""))
            (failing.project / "src/main.rs").write_text(f"fn main() {{}} // {n}")
            failing.build()
            push(failing)
            if n == 3:
                job(lab, server, "reader", url=URL).build().ok().compiles([])
        check(len(server.final()) == 6, f"{len(server.final())} entries")
        lost = job(lab, server, "last", url=URL).build().ok().compiled
        check("indoc" in lost and "libc" not in lost and lost != compiled, f"compiled {lost}")


def reads_only(lab):
    with ActionsCache() as server:
        writer = job(lab, server, "writer")
        writer.build().ok()
        queued = writer.queued()
        server.asked.clear()
        writer.wait_for_no_helper()
        # It has a key, and something to send; but it is told to read.
        writer.env["CACHEWRAP_REMOTE"] = URL
        writer.build().ok()
        check(writer.command("push").returncode == 2, "push sends in the role of a reader")
        check(writer.helper("push").returncode == 2, "push sends in the role of a reader")
        probed = writer.helper("probe")
        check(probed.returncode == 0, f"probe: {probed.stdout}{probed.stderr}")
        writer.wait_for_no_helper()
        check(set(server.asked) <= READ_ONLY and server.asked, f"asked {set(server.asked)}")
        check(writer.queued() == queued and not server.entries, "the queue changed")


def service_fails(lab):
    for talk, trouble in FAULTS:
        with Broken(talk) as server:
            env = {"ACTIONS_RESULTS_URL": f"http://127.0.0.1:{server.port}/", "ACTIONS_RUNTIME_TOKEN": "some-token"}
            builds_alone(lab, "service", WRITING, trouble, CACHEWRAP_REMOTE_SIGN_KEY=SECRET, **env)
            check(server.clients, "nobody asked the server")


def with_bundle(lab, server):
    machine = job(lab, server, "first")
    machine.build().ok()
    push(machine)


def download_fails(lab):
    with ActionsCache() as server:
        with_bundle(lab, server)
        for talk, trouble in FAULTS[1:5]:
            over = threading.Event()
            server.faults["download"] = lambda client: talk_in_the_middle(talk, client, over)
            server.asked.clear()
            builds_alone(lab, "download", WRITING, trouble, CACHEWRAP_REMOTE_SIGN_KEY=SECRET, **server.env)
            over.set()
            check("download" in server.asked, "nobody downloaded")
            check(len(server.final()) == 1, "something was sent")


def talk_in_the_middle(talk, client, over):
    """Lets what waits for a request believe that it has come."""

    class Heard:
        def __init__(self):
            self.left = b"GET / HTTP/1.1\r\n\r\n"

        def recv(self, _):
            said, self.left = self.left, b""
            return said

        def sendall(self, content):
            client.sendall(content)

    try:
        talk(Heard(), over)
    except OSError:
        pass


def sending_fails(lab):
    """What could not be sent is sent the next time; nobody sees a part of it."""
    with ActionsCache() as server:
        machine = job(lab, server, "sending")
        machine.build().ok()
        queued = machine.queued()
        for what in ("CreateCacheEntry", "upload", "FinalizeCacheEntryUpload"):
            for talk in (broken.says("500 Internal Server Error"), broken.cut):
                over = threading.Event()
                server.faults = {what: lambda client, talk=talk, over=over: talk_in_the_middle(talk, client, over)}
                done = machine.command("push")
                check(done.returncode == 1, f"push: {done.stdout}{done.stderr}")
                check(what in server.asked and machine.queued() == queued, "something was lost")
                check(not server.final(), "something was sent")
        server.faults.clear()
        push(machine)
        job(lab, server, "reader", url=URL).build().ok().compiles([])


def damaged(lab):
    """It is not used, and the next job replaces it."""
    with ActionsCache() as server:
        first = job(lab, server, "first")
        compiled = first.build().ok().compiled
        push(first)
        entry = server.final()[0]
        content = entry.content
        for change, counted in DAMAGE:
            entry.content = change(content)
            check(entry.content != content, "nothing was changed")
            reader = job(lab, server, "reader", url=URL)
            reader.build().ok().compiles(compiled)
            check(counted in reader.counters(), f"{counted} is not counted: {reader.counters()}")
        entry.content = content[: len(content) // 2]
        writer = job(lab, server, "writer")
        writer.build().ok().compiles(compiled)
        push(writer)
        job(lab, server, "next", url=URL).build().ok().compiles([])


def too_long(lab):
    """By what is said of its length, before anything is read."""
    with ActionsCache() as server:
        with_bundle(lab, server)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 3000000000\r\n\r\ncwbu\x01"
        server.faults["download"] = lambda client: client.sendall(head)
        machine = job(lab, server, "reader")
        compiled = machine.build().ok().compiled
        check("app" in compiled and "remote.error.too-long" in machine.counters(), machine.counters())
        check(server.asked.count("download") <= 2, f"asked {server.asked}")
        push(machine)
        server.faults.clear()
        job(lab, server, "next", url=URL).build().ok().compiles([])


def too_slow(lab):
    """A bundle that comes steadily, and would take minutes, is given up after a second."""
    with ActionsCache() as server:
        with_bundle(lab, server)
        over = threading.Event()

        def slowly(client):
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 400000000\r\n\r\n")
            while not over.wait(0.05):
                client.sendall(b"x" * 100_000)

        def fault(client):
            try:
                slowly(client)
            except OSError:
                pass

        server.faults["download"] = fault
        builds_alone(lab, "slow", WRITING, "slow", CACHEWRAP_REMOTE_SIGN_KEY=SECRET, **server.env)
        over.set()


def hides_secrets(lab):
    """Neither the token nor what is signed is in an output, a list of processes, or a file of the store."""
    said = []
    with ActionsCache() as server:
        token = server.env["ACTIONS_RUNTIME_TOKEN"]
        machines = [job(lab, server, "writer")]
        for what in (None, "GetCacheEntryDownloadURL", "download", "upload"):
            if what:
                machines.append(job(lab, server, "other"))
                edit(machines[-1])
                server.faults[what] = lambda client: client.sendall(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
            machine = machines[-1]
            machine.env["CACHEWRAP_LOG"] = "trace"
            with machine.start() as build:
                wait_for_helper(machine)
                said.append(run(["ps", "axww", "-o", "args"]).stdout)
                said += build.communicate()
            for words in (["push"], ["pull"], ["remote", "probe"], ["remote", "status"], ["config"], ["doctor"]):
                done = machine.command(*words)
                said += [done.stdout, done.stderr]
            for path in machine.store.rglob("*"):
                if path.is_file():
                    said.append(path.read_bytes().decode("latin-1"))
            server.faults.clear()
        hidden = [token, *(s for entry in server.entries for s in (entry.reading, entry.writing))]
    check(len(hidden) > 2 and sum(map(len, said)) > 10000, "nothing was said")
    for text in said:
        for secret in hidden:
            at = text.find(secret)
            check(at < 0, f"a secret is told: {text[max(0, at - 80) : at + 8]!r}")


def outside(lab):
    """Where there is no runner the build goes on, and is told what is missing."""
    machine = lab.machine("outside", WRITING, CACHEWRAP_REMOTE_SIGN_KEY=SECRET)
    built = machine.build().ok()
    said = [line for line in built.stderr.splitlines() if "warn: the remote" in line]
    check(len(said) == 1 and "denied: ACTIONS_RESULTS_URL is not set" in said[0], f"said: {said}")
    check(machine.command("push").returncode == 1 and machine.queued(), "push lost what was queued")
