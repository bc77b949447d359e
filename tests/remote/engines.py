"""What must hold with every engine: what one machine has compiled, another does not compile."""

import servers
from machines import KEYS, check


def cases(tools):
    return {server.name: engine(server, tools) for server in servers.ALL}


def engine(kind, tools):
    def case(lab):
        with kind(lab.work, tools) as server:
            shares(lab, server)

    return case


def shares(lab, server):
    (secret, public), (_, foreign) = KEYS["ours"], KEYS["other"]
    plus = "&" if "?" in server.url() else "?"
    writing = f"{server.url()}{plus}mode=write"
    first = lab.machine("first", writing, CACHEWRAP_REMOTE_SIGN_KEY=secret, **server.env)
    built = first.build().ok()
    check("app" in built.compiled and "indoc" in built.compiled, f"compiled {built.compiled}")
    print("  ", first.push().strip())
    probed = first.helper("probe")
    check(probed.returncode == 0, f"probe: {probed.stdout}{probed.stderr}")
    said = [line.split()[-1] for line in probed.stdout.splitlines() if "the condition is" in line]
    check(said == ["kept" if server.keeps_conditions else "ignored"] * 2, f"probe: {probed.stdout}")
    print("  ", probed.stdout.replace("\n", "\n   ").strip())

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
