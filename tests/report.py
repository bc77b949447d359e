#!/usr/bin/env python3
"""Builds a project cold, warm and edited, and looks at `cargo cachewrap report` of it with a browser.

    tests/report.py PROGRAMS [--project DIR] [--pictures DIR]

PROGRAMS is the directory with the two programs. The project is copied; without one it is fixtures/kinds, in a
directory whose name is markup. Needs chromium, which is spoken to over a pipe, and jsonschema. Exits with 75 if
there is no chromium.

Shown to hold: JSON is as docs/report.schema.json says; the page has all units, says nothing on the console, asks for
nothing, is the same to the keyboard, shows in light and dark, takes names as text, and answers with thousands of units.
"""

import argparse
import base64
import fcntl
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import jsonschema

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
# As a path it is several directories, of which the page shows the last one.
HOSTILE = "<!--/<\u202e/script><img src=x onerror=document.title='hit'>"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--remote-debugging-pipe",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--force-color-profile=srgb",
]


class Browser:
    """Chromium, spoken to in its DevTools protocol: messages of JSON with a NUL after each."""

    def __init__(self, program, profile):
        (questions, self.write), (self.read, told) = os.pipe(), os.pipe()
        # Out of the way of those numbers that its ends are to have.
        theirs, answers = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (questions, told))
        os.close(questions)
        os.close(told)
        command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        # Its ends of the pipes are the descriptors 3 and 4.
        moved = f'exec "$@" 3<&{theirs} 4>&{answers} {theirs}<&- {answers}>&-'
        self.process = subprocess.Popen(
            ["bash", "-c", moved, "bash", *command], pass_fds=(theirs, answers), stderr=subprocess.DEVNULL)
        os.close(theirs)
        os.close(answers)
        self.buffer, self.number, self.session, self.events = b"", 0, None, []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def message(self):
        while b"\0" not in self.buffer:
            more = os.read(self.read, 1 << 20)
            if not more:
                sys.exit("the browser has ended")
            self.buffer += more
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def ask(self, method, **params):
        self.number += 1
        asked = {"id": self.number, "method": method, "params": params}
        if self.session:
            asked["sessionId"] = self.session
        os.write(self.write, json.dumps(asked).encode() + b"\0")
        while True:
            told = self.message()
            if told.get("id") == self.number:
                if "error" in told:
                    sys.exit(f"{method}: {told['error']}")
                return told["result"]
            self.events.append(told)

    def open(self, page, width=1280, height=900):
        self.events.clear()
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.ask("Page.navigate", url=page.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.message())

    def run(self, script):
        ran = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in ran:
            sys.exit(f"{script}: {ran['exceptionDetails']}")
        return ran["result"].get("value")

    def press(self, key):
        for kind in ("keyDown", "keyUp"):
            code = {"Tab": 9, "Enter": 13}.get(key, 0)
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def scheme(self, scheme, media=""):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setEmulatedMedia", media=media, features=features)

    def picture(self, file):
        if file:
            shot = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
            file.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self):
        """What is on the console, and what the page asked others for."""
        found = []
        self.run("0")
        for event in self.events:
            method, params = event.get("method"), event.get("params", {})
            if method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
                found.append(json.dumps(params)[:900])
            if method == "Network.requestWillBeSent" and not params["request"]["url"].startswith(("file:", "data:")):
                found.append(params["request"]["url"])
        return found

    def end(self):
        self.session = None
        self.ask("Browser.close")
        self.process.wait(20)


def check(holds, said):
    if not holds:
        sys.exit(f"FAILED: {said}")


# The least contrast of the names on bars, as https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio has it.
CONTRAST = """(() => {
  const light = (color) => {
    const [r, g, b] = color.match(/\\d+/g).slice(0, 3).map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratios = [...document.querySelectorAll('.unit text')].map((text) => {
    const [a, b] = [text, text.parentNode.firstChild].map((node) => light(getComputedStyle(node).fill));
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  });
  return Math.min(21, ...ratios);
})()"""


class Project:
    """A project, built with a cache of its own."""

    def __init__(self, programs, source, scratch):
        self.programs, self.scratch = programs, scratch
        self.dir = scratch / (source.name if source else HOSTILE)
        shutil.copytree(source or ROOT / "fixtures/kinds", self.dir, ignore=shutil.ignore_patterns("target"))
        keep = ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "TMPDIR"]
        self.env = {name: os.environ[name] for name in keep if name in os.environ}
        self.env["RUSTC_WRAPPER"] = str(programs / "cachewrap")
        self.env["CACHEWRAP_DIR"] = str(scratch / "cache")
        self.env["CARGO_NET_OFFLINE"] = "true"

    def cargo(self, *arguments):
        subprocess.run(["cargo", *arguments, "--quiet"], cwd=self.dir, env=self.env, check=True, stderr=subprocess.DEVNULL)

    def report(self, name):
        """A page, and the same as data."""
        page = self.scratch / f"{name}.html"
        program = str(self.programs / "cargo-cachewrap")
        told = subprocess.run([program, "report", "--json"], cwd=self.dir, env=self.env, check=True, capture_output=True)
        data = json.loads(told.stdout)
        jsonschema.Draft202012Validator(SCHEMA).validate(data)
        subprocess.run([program, "report", "--out", page], cwd=self.dir, env=self.env, check=True, stdout=subprocess.DEVNULL)
        return page, data


def look(browser, page, data, picture):
    """A page, as everybody meets it."""
    build = data["builds"][0]
    browser.scheme("light")
    browser.open(page)
    check(browser.run("document.title") == "cachewrap report", "markup was taken for markup")
    check(browser.run("document.images.length") == 0, "there is an image")
    bars = browser.run("document.querySelectorAll('#chart .unit').length")
    check(bars == len(build["units"]), f"{bars} bars for {len(build['units'])} units")
    browser.run("document.querySelector('#table .more')?.click()")
    rows = browser.run("document.querySelectorAll('#table tbody tr').length")
    check(rows == len(build["units"]), f"{rows} rows for {len(build['units'])} units")
    sums = build["sums"]
    headline = browser.run("document.getElementById('headline').textContent")
    check(headline.startswith(f"{sums['served']} of {sums['units']} unit"), headline)
    check(browser.run("document.documentElement.scrollWidth <= innerWidth"), "it is wider than the window")
    light = browser.run("getComputedStyle(document.body).backgroundColor")
    check(browser.run(CONTRAST) >= 4.5, "names on bars are hard to read in light")
    browser.picture(picture and picture / f"{page.stem}.png")
    browser.scheme("dark")
    check(light != browser.run("getComputedStyle(document.body).backgroundColor"), "dark is as light is")
    check(browser.run(CONTRAST) >= 4.5, "names on bars are hard to read in dark")
    browser.picture(picture and picture / f"{page.stem}-dark.png")
    browser.scheme("dark", "print")
    check(browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)", "paper is white")
    browser.open(page, width=720)
    check(browser.run("document.documentElement.scrollWidth <= innerWidth"), "it is wider than paper")
    browser.scheme("light")
    browser.open(page, width=380)
    check(browser.run("document.documentElement.scrollWidth <= innerWidth"), "it is wider than a telephone")
    browser.picture(picture and picture / f"{page.stem}-narrow.png")
    complaints = browser.complaints()
    check(not complaints, f"complaints: {complaints}")


def use_keyboard(browser, page, data):
    """From the top of the page to a unit, to another one, and to the reason."""
    browser.open(page)
    active = "document.activeElement"
    for _ in range(20):
        browser.press("Tab")
        if browser.run(f"{active}.classList.contains('unit') && {active}.closest('#chart') !== null"):
            break
    else:
        check(False, "the units cannot be reached with the keyboard")
    seen = set()
    for key in ["Home"] + ["ArrowRight"] * (len(data["builds"][0]["units"]) - 1):
        browser.press(key)
        seen.add(browser.run(f"{active}.dataset.unit"))
        shown = "[...document.querySelectorAll('#tip p')].map(line => line.textContent).join('. ')"
        label, tip = browser.run(f"[{active}.getAttribute('aria-label'), {shown}]")
        check(label and label == tip, f"{label!r} is read, {tip!r} is shown")
    check(len(seen) == len(data["builds"][0]["units"]), f"arrow keys reach {len(seen)} units")
    wanted = [unit for unit in data["builds"][0]["units"] if unit["outcome"] == "miss"]
    for unit in wanted:
        place = data["builds"][0]["units"].index(unit)
        browser.run(f"document.querySelector('[data-unit=\"{place}\"]').focus()")
        tip = browser.run("document.getElementById('tip').innerText")
        check("ran " in tip and (not unit.get("change") or "was " in tip), f"no reason: {tip}")
    browser.press("Escape")
    check(browser.run("document.getElementById('tip').hidden"), "Escape hides the reason")
    order = "[...document.querySelectorAll('#table tbody tr')].map(row => row.cells[0].textContent)"
    browser.run("document.querySelector('#table .more')?.click()")
    names = browser.run(order)
    browser.run("document.querySelector('#table th button').focus()")
    browser.press("Enter")
    browser.press("Enter")
    check(browser.run(order) == sorted(names, reverse=True), "a column sorts with the keyboard")
    browser.run("document.querySelector('#history [aria-pressed=false]').focus()")
    browser.press("Enter")
    check(browser.run("document.getElementById('build').selectedIndex") > 0, "another build can be chosen")


def with_builds(page, data, builds, name):
    """The same page with other builds."""
    text = json.dumps(dict(data, builds=builds)).replace("<", "\\u003c")
    block = re.compile(r'(<script type="application/json" id="data">).*?(</script>)', re.S)
    other = page.with_name(name)
    other.write_text(block.sub(lambda found: found[1] + text + found[2], page.read_text()))
    return other


def many(page, data, n):
    """The same page with data of a large build."""
    kinds, units = ["hit", "miss", "ahead", "bypass"], []
    for i in range(n):
        unit = {"name": f"crate_{i} (lib)", "kind": "compilation", "outcome": kinds[i % 4], "start_us": i // 16 * 90000,
                "took_us": 80000, "waited_us": 0, "ran_us": 70000 if i % 4 == 1 else 0, "saved_us": 0, "bytes": 1}
        if i % 4 in (1, 3):
            unit.update(reason="no-entry", why="</script><b>")
        units.append(unit)
    build = dict(data["builds"][0], units=units, took_us=n * 90000 // 16, critical_path=list(range(0, n, 16)))
    return with_builds(page, data, [build], "many.html")


def look_at_odd(browser, page, data, picture):
    """A build that goes on, with units of every kind and numbers that no build has, and one of which only sums are told."""
    miss = {"outcome": "miss", "reason": "no-entry", "why": ""}
    outcomes = [
        {"outcome": "hit", "waited_us": 4000}, {"outcome": "ahead"}, dict(miss, differs=["--cfg"], needs=[77]),
        dict(miss, not_stored={"reason": "failed", "why": "it failed: exit status 1"}),
        {"outcome": "bypass", "reason": "unheard-of", "why": "?"}, {"outcome": "hit", "kind": "query"},
        dict(miss, reason="file", change={"what": "libx-1.rmeta", "old": "", "new": ""}, needs=[6]),
        dict(miss, took_us=2**64 - 1, ran_us=2**64 - 1),
    ]
    numbers = {"start_us": 0, "took_us": 8000, "waited_us": 0, "ran_us": 0, "saved_us": 0, "bytes": 0}
    units = [{"name": "", "kind": "compilation", **numbers, **told} for told in outcomes]
    build = dict(data["builds"][0], units=units, dir=None, running=True, unread=2, took_us=2**64 - 1, critical_path=[])
    sums = dict(build, units=None, running=False, critical_path=[], started_us=2**64 - 1)
    browser.open(with_builds(page, data, [build, sums], "odd.html"))
    check(browser.run("document.querySelectorAll('#chart .unit').length") == len(units), "not all odd units are there")
    notes = browser.run("document.getElementById('notes').innerText")
    check("still going on" in notes and "2 lines" in notes, f"notes: {notes}")
    legend = browser.run("document.getElementById('legend').innerText")
    for word in ("served (1)", "served ahead (1)", "failed (1)", "not for the cache (1)", "waited for another process (1)"):
        check(word in legend, f"{word}: {legend}")
    for n in range(len(units)):
        browser.run(f"document.querySelector('[data-unit=\"{n}\"]').focus()")
    browser.picture(picture and picture / "odd.png")
    browser.run("document.getElementById('build').value = 1; document.getElementById('build').dispatchEvent(new Event('change'))")
    check("only sums" in browser.run("document.getElementById('notes').innerText"), "that units are not told is not said")
    complaints = browser.complaints()
    check(not complaints, f"complaints of odd units: {complaints}")


def look_at_many(browser, page, n, picture):
    browser.open(page)
    check(browser.run("document.querySelectorAll('#chart .unit').length") == n, "not all of many units are there")
    browser.run("document.getElementById('zoom-in').click()")
    browser.run("document.querySelector('[data-unit=\"2001\"]').focus()")
    check("crate_2001" in browser.run("document.getElementById('tip').innerText"), "a unit of many tells nothing")
    browser.run("document.querySelector('#table .more').click()")
    check(browser.run("document.querySelectorAll('#table tbody tr').length") == n, "the table is not whole")
    field = "document.getElementById('find')"
    browser.run(f"{field}.value = 'crate_2999'; {field}.dispatchEvent(new Event('input'))")
    check(browser.run("document.querySelectorAll('#table tbody tr').length") == 1, "nothing is found among many")
    browser.picture(picture and picture / "many.png")
    check(not browser.complaints(), "complaints of many units")


def main(options, browser, scratch):
    project = Project(options.programs.resolve(), options.project, scratch)
    pages = []

    def built(name):
        page, data = project.report(name)
        pages.append((page, data))
        return data["builds"][0]["sums"]

    empty, data = project.report("empty")
    check(data["builds"] == [], "something was built before")
    browser.open(empty)
    check(browser.run("document.querySelector('#empty h1').offsetHeight") > 0 and not browser.complaints(), "nothing is told of nothing")
    project.cargo("build")
    check(built("cold")["missed"] > 0, "a cold build runs units")
    shutil.rmtree(project.dir / "target")
    project.cargo("build")
    warm = built("warm")
    check(warm["served"] == warm["units"] > 0, f"a warm build is served: {warm}")
    source = project.dir / ("src/main.rs" if options.project else "util/src/lib.rs")
    source.write_text("// Edited.\n" + source.read_text())
    project.cargo("build")
    check(built("edited")["missed"] > 0, "an edited file is compiled")
    changes = [unit["change"]["what"] for unit in pages[-1][1]["builds"][0]["units"] if "change" in unit]
    check(any(change.endswith(source.name) for change in changes), f"which file changed is told: {changes}")
    for page, data in pages:
        look(browser, page, data, options.pictures)
        use_keyboard(browser, page, data) if len(data["builds"]) > 1 else None
    look_at_many(browser, many(*pages[0], 3000), 3000, options.pictures)
    look_at_odd(browser, *pages[0], options.pictures)
    if not options.project:
        browser.open(pages[-1][0])
        why = browser.run("document.getElementById('why').innerText")
        check("util (lib); from that followed kinds (lib), kinds (bin)" in why, f"what followed from an edit: {why}")
        check(any("<" in (build["dir"] or "") for build in pages[0][1]["builds"]), "the directory's name is markup")
    print("the report shows all units, in light and dark, on paper and to the keyboard, and takes names for text")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("--project", type=pathlib.Path)
    parser.add_argument("--pictures", type=pathlib.Path)
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        print("there is no chromium")
        sys.exit(75)
    with tempfile.TemporaryDirectory() as directory:
        scratch = pathlib.Path(directory)
        browser = Browser(chromium, scratch / "profile")
        try:
            main(options, browser, scratch)
        finally:
            browser.end()
