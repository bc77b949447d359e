"""What must hold with every engine: what one machine has compiled, another does not compile."""

import servers
from bazel import BazelRemote
from machines import KEYS, check


def cases(tools):
    engines = {server.name: engine(server, tools) for server in servers.ALL}
    return {**engines, "memcached loses parts": loses_parts(tools), "bazel takes no more": takes_no_more}


def engine(kind, tools):
    def case(lab):
        with kind(lab.work, tools) as server:
            (answers if kind.is_brief else shares)(lab, server)

    return case


def writing_url(server):
    plus = "&" if "?" in server.url() else "?"
    return f"{server.url()}{plus}mode=write"


def answers(lab, server):
    machine = lab.machine("only", writing_url(server), **server.env)
    probes(machine, server)


def probes(machine, server):
    """All that a remote is used for can be done, and it keeps to conditions as far as it is known to."""
    probed = machine.helper("probe")
    check(probed.returncode == 0, f"probe: {probed.stdout}{probed.stderr}")
    said = [line.split()[-1] for line in probed.stdout.splitlines() if "the condition is" in line]
    expected = {True: ["kept"] * 2, False: ["ignored"] * 2, None: []}[server.keeps_conditions]
    check(said == expected, f"probe: {probed.stdout}")
    print("  ", probed.stdout.replace("\n", "\n   ").strip())


def shares(lab, server):
    (secret, public), (_, foreign) = KEYS["ours"], KEYS["other"]
    writing = writing_url(server)
    first = lab.machine("first", writing, CACHEWRAP_REMOTE_SIGN_KEY=secret, **server.env)
    built = first.build().ok()
    check("app" in built.compiled and "indoc" in built.compiled, f"compiled {built.compiled}")
    print("  ", first.push().strip())
    probes(first, server)

    # Another machine, that may only read.
    reading = {**(server.env_of_readers or server.env), "CACHEWRAP_REMOTE_TRUSTED": public}
    second = lab.machine("second", server.url(), **reading)
    served = second.build().ok().compiles([])
    print(f"   compiled {len(built.compiled)} in {built.seconds:.1f} s, served in {served.seconds:.1f} s")
    check(first.libraries() == second.libraries(), "what came differs from what was made")
    check(not second.queued(), "a reader queues")
    # And again from its own store, though the remote is as it was.
    second.build().ok().compiles([])

    # One that trusts somebody else takes nothing.
    reading["CACHEWRAP_REMOTE_TRUSTED"] = foreign
    third = lab.machine("third", server.url(), **reading)
    third.build().ok().compiles(built.compiled)

    # One that has made some of it adds the rest to what is there.
    fourth = lab.machine("fourth", writing, CACHEWRAP_REMOTE_SIGN_KEY=secret, **server.env)
    (fourth.project / "src/main.rs").write_text((lab.sources / "src/main.rs").read_text() + "// more\n")
    fourth.build().ok().compiles(["app"])
    fourth.push()
    for machine in (first, second, third, fourth):
        machine.wait_for_no_helper()
    prunes(server, fourth, second)


def prunes(server, writer, reader):
    """What is old goes, where it is known what there is."""

    def prune(machine, age, *words):
        done = machine.command("prune", "--remote", "--older-than", age, *words)
        return done.returncode, done.stdout + done.stderr

    status, said = prune(reader, "1s")
    check(status == 2 and "mode=write" in said, f"a reader prunes: {said}")
    if not server.lists:
        status, said = prune(writer, "1s")
        check(status == 1 and "removes by itself" in said, f"prune: {said}")
        return
    status, said = prune(writer, "1h")
    check(status == 0 and said.startswith("Removed 0 of "), f"prune: {said}")
    status, would = prune(writer, "0s", "--dry-run")
    check(status == 0 and would.startswith("Would remove "), f"prune: {would}")
    count = int(would.split()[2])
    check(count > 10, f"prune: {would}")
    status, said = prune(writer, "0s")
    check(status == 0 and said.startswith(f"Removed {count} of {count} "), f"prune: {said} after {would}")
    print("  ", said.strip())
    status, said = prune(writer, "0s")
    check(status == 0 and said.startswith("Removed 0 of 0 "), f"prune: {said}")


def loses_parts(tools):
    """What is kept in parts of which one is gone, or is another, is compiled, and sent once more."""

    def case(lab):
        with servers.Memcached(lab.work, tools) as server:
            secret, public = KEYS["ours"]
            writing = {"CACHEWRAP_REMOTE_SIGN_KEY": secret, **server.env}
            first = lab.machine("first", f"{server.url()}?mode=write", **writing)
            compiled = first.build().ok().compiled
            first.push()
            parts = server.keys("rust/cw1/p/")
            objects = sorted({key.rsplit("/", 1)[0] for key in parts})
            check(len(objects) >= 2 and len(parts) > len(objects), f"parts: {parts}")
            for n, key in enumerate(objects):
                changed = server.ask(f"delete {key}/0\r\n" if n % 2 else f"set {key}/1 0 0 3\r\nxyz\r\n")
                check(changed in ("DELETED", "STORED"), changed)
            second = lab.machine("second", server.url(), CACHEWRAP_REMOTE_TRUSTED=public, **server.env)
            lost = second.build().ok().compiled
            check(lost and len(lost) < len(compiled), f"compiled {lost} of {compiled}")
            third = lab.machine("third", f"{server.url()}?mode=write", **writing)
            third.build().ok().compiles(lost)
            third.push()
            fourth = lab.machine("fourth", server.url(), CACHEWRAP_REMOTE_TRUSTED=public, **server.env)
            fourth.build().ok().compiles([])

    return case


def takes_no_more(lab):
    """An object that is longer than the server takes is left out; the others are sent."""
    with BazelRemote(longest=2 << 20) as server:
        machine = lab.machine("long", writing_url(server), CACHEWRAP_REMOTE_SIGN_KEY=KEYS["ours"][0], **server.env)
        machine.build().ok()
        machine.push()
        counted = machine.counters()
        check("remote.error" not in counted, counted)
        second = lab.machine("second", server.url(), CACHEWRAP_REMOTE_TRUSTED=KEYS["ours"][1], **server.env_of_readers)
        lost = second.build().ok().compiled
        check(len(lost) == 1, f"compiled {lost}")
