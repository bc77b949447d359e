"use strict";
(() => {
  const report = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  // What cannot be seen, or turns the rest of a line around, shows as a mark.
  const clean = (text) => String(text).replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, "\ufffd");
  const fill = (node, attributes, children) => {
    for (const [name, value] of Object.entries(attributes || {})) if (value !== undefined && value !== false) node.setAttribute(name, value);
    for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child instanceof Node ? child : clean(child));
    return node;
  };
  const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  const time = (us) => {
    if (us < 1000) return us ? `${us} µs` : "0 s";
    if (us < 999500) return `${us < 9950 ? (us / 1e3).toFixed(1) : Math.round(us / 1e3)} ms`;
    if (us < 59.95e6) return `${(us / 1e6).toFixed(us < 9.995e6 ? 2 : 1)} s`;
    const seconds = Math.round(us / 1e6);
    const hours = Math.floor(seconds / 3600), minutes = Math.floor(seconds / 60) % 60;
    return hours ? `${hours} h ${minutes} min` : `${minutes} min ${seconds % 60} s`;
  };
  const size = (bytes) => {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let n = 0;
    while (bytes >= 999.5 && n < 4) { bytes /= 1000; n += 1; }
    return `${n && bytes < 9.95 ? bytes.toFixed(1) : Math.round(bytes)} ${units[n]}`;
  };
  const count = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;
  const percent = (part, all) => (all ? `${part === all ? 100 : Math.min(99.9, (part / all) * 100).toFixed(part ? 1 : 0)} %` : "–");
  const date = (us) => {
    const at = new Date(us / 1000);
    return isNaN(at) ? "?" : at.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
  };
  const base = (path) => (path ? path.split("/").filter(Boolean).pop() || path : "a build");
  const sum = (list, key) => list.reduce((total, item) => total + item[key], 0);

  const OUTCOMES = { hit: "served", ahead: "served ahead", miss: "run", bypass: "not for the cache" };
  const REASONS = {
    "no-entry": "Not known yet", recache: "CACHEWRAP_RECACHE is set", file: "A file changed", env: "A variable changed",
    dir: "The names in a directory changed", absent: "A file appeared", evicted: "The stored result was removed",
    damaged: "The stored result was damaged", "other-version": "Stored by another version of cachewrap",
  };
  const word = (unit) => (unit.kind === "query" ? "answered" : OUTCOMES[unit.outcome]);
  const style = (unit) => (unit.kind === "query" ? "query" : unit.outcome);
  const label = (unit) => (unit.kind === "query" ? "question to the compiler" : /^build_script_/.test(unit.name) && unit.package ? `${unit.package.split(" ")[0]} (build script)` : unit.name);
  // An edit is compiled into everything that depends on what was edited: the unit that all of it follows from.
  const origin = (unit, steps = 0) => {
    if (!unit.change || !unit.needs || steps > 99) return unit;
    const file = base(unit.change.what);
    const made = unit.needs.map((n) => build.units[n]).find((other) => other && other.outcome === "miss" && /^lib(.*?)[-.]/.exec(file)?.[1] === other.name.split(" ")[0]);
    return made ? origin(made, steps + 1) : unit;
  };
  const failed = (unit) => unit.not_stored && unit.not_stored.reason === "failed";
  // Everything that there is to say of a unit, line by line.
  const explain = (unit) => {
    const lines = [label(unit) + (unit.package ? `, ${unit.package}` : "")];
    if (unit.outcome === "miss") {
      lines.push(`${failed(unit) ? "failed after" : "ran"} ${time(unit.ran_us)} of ${time(unit.took_us)}: ${REASONS[unit.reason] || unit.reason}`);
      if (unit.change || !REASONS[unit.reason]) lines.push(unit.why);
      if (origin(unit) !== unit) lines.push(`Follows from ${label(origin(unit))}: ${origin(unit).why}`);
      if (unit.differs) lines.push(`Other than the time before: ${unit.differs.join(", ")}`);
      if (unit.not_stored && !failed(unit)) lines.push(`Not stored: ${unit.not_stored.why}`);
    } else if (unit.outcome === "bypass") {
      lines.push(`Not for the cache: ${unit.why}`);
    } else {
      lines.push(unit.kind === "query" ? `answered in ${time(unit.took_us)}` : `${word(unit)} in ${time(unit.took_us)}, instead of ${time(unit.saved_us)}`);
    }
    if (unit.waited_us) lines.push(`Of that it waited ${time(unit.waited_us)} for another process that made the same`);
    lines.push(`At ${time(unit.start_us)}${unit.bytes ? `, ${size(unit.bytes)}` : ""}`);
    return lines.map(clean);
  };
  const chip = (unit) => el("span", { class: `chip is-${failed(unit) ? "failed" : style(unit)}` }, failed(unit) ? "failed" : word(unit));

  let build = null, zoom = 1, bars = [];

  // One of the elements can be tabbed to; arrow keys go on from it.
  const roving = (elements, step) => {
    elements.forEach((element, n) => {
      element.setAttribute("tabindex", n ? -1 : 0);
      element.addEventListener("focus", () => elements.forEach((other) => other.setAttribute("tabindex", other === element ? 0 : -1)));
      element.addEventListener("keydown", (event) => {
        const to = event.key === "Home" ? 0 : event.key === "End" ? elements.length - 1 : step(n, event.key);
        if (to === undefined || !elements[to]) return;
        event.preventDefault();
        elements[to].focus();
        elements[to].scrollIntoView({ block: "nearest", inline: "nearest" });
      });
    });
  };

  function lanes(units) {
    const ends = [];
    const order = units.map((_, n) => n).sort((a, b) => units[a].start_us - units[b].start_us);
    const placed = order.map((n) => {
      let lane = ends.findIndex((end) => end <= units[n].start_us);
      if (lane < 0) lane = ends.length;
      ends[lane] = units[n].start_us + units[n].took_us;
      return { n, unit: units[n], lane };
    });
    return { placed, many: ends.length };
  }

  function ticks(total, width) {
    const rough = total / Math.max(2, width / 110);
    const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
    return Array.from({ length: Math.floor(total / step) + 1 }, (_, n) => n * step);
  }

  function drawTimeline() {
    const chart = $("chart"), units = build.units || [];
    const { placed, many } = lanes(units);
    const row = many > 24 ? 15 : many > 6 ? 24 : 34, top = 22, total = Math.max(build.took_us, 1);
    const width = Math.max(280, $("scroll").clientWidth) * zoom, scale = (width - 2) / total;
    const height = top + many * row + 4;
    const held = document.activeElement.closest("#chart .unit"), critical = new Set(build.critical_path), only = $("only-critical").checked;
    fill(chart, { width, height, viewBox: `0 0 ${width} ${height}` }, []);
    chart.replaceChildren(svg("defs", {}, svg("pattern", { id: "stripes", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      svg("rect", { width: 6, height: 6, class: "stripes" }), svg("line", { y2: 6, class: "stripe" }))));
    for (const at of ticks(total, width)) {
      const x = Math.round(at * scale);
      chart.append(svg("line", { class: "grid", x1: x, x2: x, y1: top - 4, y2: height }), svg("text", { x: x + 3, y: 12, "aria-hidden": true }, x > width - 44 ? "" : at ? time(at) : "0"));
    }
    bars = placed.map(({ n, unit, lane }) => {
      const x = unit.start_us * scale, y = top + lane * row, tall = row - 4;
      const wide = Math.max(1.5, unit.took_us * scale - (unit.took_us * scale > 6 ? 1 : 0));
      const bar = svg("g", { class: `unit${only && !critical.has(n) ? " dim" : ""}`, role: "img", "aria-label": explain(unit).join(". "), "data-unit": n },
        svg("rect", { class: failed(unit) ? "failed" : style(unit), x, y, width: wide, height: tall, rx: Math.min(3, wide / 3) }));
      if (unit.waited_us) bar.append(svg("rect", { class: "waited", x, y, width: Math.min(wide, unit.waited_us * scale), height: tall }));
      if (critical.has(n)) bar.append(svg("rect", { class: "linked", x, y: y + tall, width: wide, height: 2.5 }));
      const begin = 4 + Math.min(wide, unit.waited_us * scale), room = Math.floor((wide - begin - 4) / 6.4), name = label(unit).replace(/ \((lib|bin)\)$/, "");
      if (room >= 3 && row > 20) bar.append(svg("text", { x: x + begin, y: y + tall / 2 + 4, "aria-hidden": true }, name.length > room ? `${name.slice(0, room - 1)}…` : name));
      chart.append(bar);
      return bar;
    });
    roving(bars, (n, key) => {
      if (key === "ArrowRight") return n + 1;
      if (key === "ArrowLeft") return n - 1;
      if (key !== "ArrowDown" && key !== "ArrowUp") return undefined;
      const lane = placed[n].lane + (key === "ArrowDown" ? 1 : -1), middle = (i) => placed[i].unit.start_us + placed[i].unit.took_us / 2;
      const there = placed.map((_, i) => i).filter((i) => placed[i].lane === lane);
      return there.sort((a, b) => Math.abs(middle(a) - middle(n)) - Math.abs(middle(b) - middle(n)))[0];
    });
    hideTip();
    if (held) (chart.querySelector(`[data-unit="${held.dataset.unit}"]`) || bars[0])?.focus();
  }

  function showTip(bar) {
    hideTip();
    bar.classList.add("on");
    const tip = $("tip"), here = $("timeline").getBoundingClientRect(), at = bar.getBoundingClientRect();
    tip.replaceChildren(...explain(build.units[bar.dataset.unit]).map((line) => el("p", {}, line)));
    tip.hidden = false;
    const left = Math.min(Math.max(at.left, here.left) - here.left, here.width - tip.offsetWidth - 12);
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${at.bottom - here.top + 8}px`;
  }
  function hideTip() {
    for (const bar of document.querySelectorAll(".unit.on")) bar.classList.remove("on");
    $("tip").hidden = true;
  }

  function drawLegend() {
    const units = (build.units || []).filter((unit) => unit.kind !== "query");
    const waited = units.filter((unit) => unit.waited_us).length;
    const entry = (shape, text) => el("li", {}, svg("svg", { viewBox: "0 0 18 12", "aria-hidden": true }, shape), text);
    const box = (kind) => svg("rect", { class: kind, width: 18, height: 12, rx: 3 });
    const kinds = [...Object.entries(OUTCOMES), ["failed", "failed"]];
    const known = kinds.map(([kind, text]) => [kind, text, units.filter((unit) => (failed(unit) ? "failed" : unit.outcome) === kind).length]);
    $("legend").replaceChildren(...known.filter(([, , n]) => n).map(([kind, text, n]) => entry(box(kind), `${text} (${n})`)),
      ...(waited ? [entry(box("waited"), `waited for another process (${waited})`)] : []),
      ...(build.critical_path.length ? [entry(svg("rect", { class: "linked", y: 4, width: 18, height: 3 }), `critical path (${build.critical_path.length})`)] : []));
  }

  // A table of rows of cells; a cell of numbers is [text].
  const table = (heads, rows) => el("div", { class: "wide" }, el("table", {}, el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col", class: Array.isArray(head) && "number" }, [head].flat()[0])))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", { class: Array.isArray(cell) && "number" }, [cell].flat()[0])))))));
  const none = (text) => el("p", { class: "hint" }, text);
  const share = (part, most, kind) => svg("svg", { width: 120, height: 10, "aria-hidden": true }, svg("rect", { class: kind, width: part ? Math.max(1, (part / most) * 120) : 0, height: 10, rx: 2 }));

  function drawReasons() {
    const groups = new Map();
    for (const run of build.units || []) {
      // What failed could not have been served.
      if (run.kind === "query" || !run.reason || failed(run)) continue;
      const unit = origin(run), title = unit.outcome === "bypass" ? `Not for the cache: ${unit.reason}` : REASONS[unit.reason] || unit.reason;
      const group = groups.get(title) || groups.set(title, { units: [], inputs: new Map() }).get(title);
      group.units.push(run);
      const differs = unit.differs ? `${unit.differs.slice(0, 8).join(", ")}${unit.differs.length > 8 ? " …" : ""}` : "";
      const what = unit.reason === "no-entry" ? differs : unit.why;
      group.inputs.set(what, [...(group.inputs.get(what) || []), run]);
    }
    const notStored = new Map();
    for (const unit of build.units || []) if (unit.not_stored) notStored.set(unit.not_stored.why, [...(notStored.get(unit.not_stored.why) || []), unit]);
    const list = (units) => units.slice(0, 12).map(label).join(", ") + (units.length > 12 ? ` and ${units.length - 12} more` : "");
    const names = (units) => {
      const own = units.filter((unit) => origin(unit) === unit), followed = units.filter((unit) => origin(unit) !== unit);
      return list(own) + (followed.length ? `; from that followed ${list(followed)}` : "");
    };
    const ordered = [...groups].sort((a, b) => sum(b[1].units, "ran_us") - sum(a[1].units, "ran_us"));
    const shown = ordered.map(([title, { units, inputs }]) => el("details", { open: "" },
      el("summary", {}, title, el("span", { class: "of" }, ` – ${count(units.length, "unit")}${sum(units, "ran_us") ? `, ${time(sum(units, "ran_us"))} that would have been saved` : ""}`)),
      el("ul", {}, [...inputs].sort((a, b) => b[1].length - a[1].length).slice(0, 30).map(([what, units]) => el("li", {}, what && origin(units[0]).reason === "no-entry" ? "other than the time before: " : null,
        what ? [el("span", { class: "path" }, what), el("br")] : null, names(units))))));
    if (notStored.size) shown.push(el("details", { open: "" }, el("summary", {}, "Not stored, so not to be served next time", el("span", { class: "of" }, ` – ${count([...notStored.values()].flat().length, "unit")}`)),
      el("ul", {}, [...notStored].slice(0, 30).map(([why, units]) => el("li", {}, el("span", { class: "path" }, why), el("br"), list(units))))));
    $("why").replaceChildren(...(shown.length ? shown : [none(build.units ? "All of them were served." : "Units of this build are not in the report.")]));
  }

  function drawCosts() {
    const units = (build.units || []).filter((unit) => unit.kind !== "query");
    const most = (key) => units.filter((unit) => unit[key]).sort((a, b) => b[key] - a[key]).slice(0, 10);
    const ran = most("ran_us"), saved = most("saved_us");
    $("cost").replaceChildren(ran.length ? table(["Unit", "Why", "", ["Ran"]], ran.map((unit) => [label(unit), origin(unit) !== unit ? `Follows from ${label(origin(unit))}` : REASONS[unit.reason] || unit.reason || "", share(unit.ran_us, ran[0].ran_us, "miss"), [time(unit.ran_us)]])) : none("Nothing was run."));
    $("cost").parentNode.hidden = !ran.length;
    $("saved").parentNode.hidden = !saved.length;
    $("saved").replaceChildren(saved.length ? table(["Unit", "", ["Served in"], ["Instead of"]], saved.map((unit) => [label(unit), share(unit.saved_us, saved[0].saved_us, unit.outcome), [time(unit.took_us)], [time(unit.saved_us)]])) : none("Nothing was served."));
  }

  function drawPath() {
    const path = build.critical_path.map((n) => build.units[n]);
    if (!path.length) return $("path").replaceChildren(none("Not known of this build."));
    const most = Math.max(...path.map((unit) => unit.took_us));
    const rows = path.map((unit, n) => {
      const gap = n ? unit.start_us - path[n - 1].start_us - path[n - 1].took_us : 0;
      return [label(unit), chip(unit), share(unit.took_us, most, style(unit)), [time(unit.took_us)], [time(unit.start_us)], [n ? (gap < 0 ? `${time(-gap)} before its end` : `${time(gap)} after its end`) : ""]];
    });
    return $("path").replaceChildren(el("p", {}, `${count(path.length, "unit")}, ${time(build.critical_us)}; the build took ${time(build.took_us)}.`,
      path.length === 1 ? " Nothing else of this build is known to have held it up." : ""), table(["Unit", "", "", ["Took"], ["Began at"], ["The one before"]], rows));
  }

  function drawHistory() {
    const dirs = new Set(report.builds.map((other) => other.dir));
    $("all-dirs-label").hidden = dirs.size < 2;
    const shown = report.builds.filter((other) => $("all-dirs").checked || other.dir === build.dir).reverse();
    const wide = Math.max(280, $("history").clientWidth), left = 78, high = 92, gap = 34;
    const step = Math.min(56, (wide - left) / shown.length), most = Math.max(1, ...shown.map((other) => Math.max(other.sums.saved_us, other.sums.ran_us)));
    const chart = svg("svg", { width: wide, height: 2 * high + gap + 36, role: "group", "aria-label": "Builds, the oldest first" });
    const axis = (y, at, text) => chart.append(svg("line", { class: "grid", x1: left, x2: wide, y1: at, y2: at }), svg("text", { x: left - 6, y: at + 4, "text-anchor": "end" }, text));
    axis(0, 22, "100 %"); axis(0, 22 + (high - 14) / 2, "50 %"); axis(0, high + 8, "0");
    const floor = 2 * high + gap + 14, tall = high - 12;
    axis(0, floor - tall, time(most)); axis(0, floor, "0");
    const buttons = shown.map((other, n) => {
      const x = left + n * step, { units, served, ahead, saved_us, ran_us } = other.sums, thin = Math.max(1, step / 2 - 2);
      const rate = units ? (served / units) * (high - 14) : 0, early = units ? (ahead / units) * (high - 14) : 0;
      const bar = (kind, dx, base, tall, wide) => svg("rect", { class: kind, x: x + dx, y: base - tall, width: wide, height: tall });
      const group = svg("g", { class: "unit", role: "button", "aria-pressed": String(other === build), "aria-label": `${date(other.started_us)}: ${served} of ${count(units, "unit")} served, ${time(saved_us)} saved, ${time(ran_us)} run` },
        svg("rect", { class: other === build ? "chosen" : "blank", x, y: 14, width: step, height: floor - 12 }),
        bar("ahead", 1, high + 8, early, step - 2), bar("hit", 1, high + 8 - early, rate - early, step - 2),
        bar("hit", 1, floor, (saved_us / most) * tall, thin), bar("miss", step / 2, floor, (ran_us / most) * tall, thin));
      group.append(svg("title", {}, group.getAttribute("aria-label")));
      const choose = () => { $("build").value = report.builds.indexOf(other); show(other); };
      group.addEventListener("click", choose);
      group.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); $("history").querySelector("[aria-pressed=true]").focus(); } });
      return group;
    });
    roving(buttons, (n, key) => (key === "ArrowRight" ? n + 1 : key === "ArrowLeft" ? n - 1 : undefined));
    chart.append(...buttons, svg("text", { x: 0, y: 10 }, "Units served"), svg("text", { x: 0, y: high + gap + 14 }, "Time of processes: saved (left), run (right)"));
    const place = shown.indexOf(build), middle = left + (place + 0.5) * step;
    if (place >= 0) chart.append(svg("text", { x: middle, y: floor + 16, "text-anchor": middle < wide / 5 ? "start" : middle > wide * 0.8 ? "end" : "middle" }, date(build.started_us)));
    $("history").replaceChildren(chart);
  }

  function drawStore() {
    const store = report.store, now = report.made;
    const ago = (then) => { const days = (now - then) / 86400; return days < 1 ? "today" : `${count(Math.floor(days), "day")} ago`; };
    const most = store.crates.length ? store.crates[0].size : 0;
    const rows = store.crates.slice(0, 15).map((item) => [item.name, share(item.size, most, "hit"), [size(item.size)], [item.results], [time(item.took_us)], ago(item.last_use)]);
    const rest = store.crates.slice(15), others = store.other_crates || { crates: 0, results: 0, size: 0 };
    if (rest.length) rows.push([el("span", { class: "of" }, `${count(rest.length + others.crates, "other crate")}`), "", [size(sum(rest, "size") + others.size)], [sum(rest, "results") + others.results], [""], ""]);
    const ages = store.ages.map((age, n) => [age.days ? `up to ${count(age.days, "day")}` : `more than ${store.ages[n - 1].days} days`, share(age.size, store.size, "ahead"), [size(age.size)], [age.results]]);
    $("store").replaceChildren(el("p", {}, el("span", { class: "path" }, store.dir), `: ${count(store.results, "result")}, ${size(store.size)} of ${size(store.max_size)} `),
      ...(store.results ? [el("div", { class: "cards" },
        el("div", {}, el("h3", {}, "By crate"), table(["Crate", "", ["Size"], ["Results"], ["Took to make"], "Last used"], rows)),
        el("div", {}, el("h3", {}, "By time since the last use"), table(["", "", ["Size"], ["Results"]], ages),
          el("h3", { class: "below" }, "By toolchain"), table(["Toolchain", ["Size"], ["Results"]], store.toolchains.map((item) => [item.name, [size(item.size)], [item.results]]))))] : []));
  }

  let sorted = { by: "start_us", down: false }, limit = 60;
  const COLUMNS = [["Unit", (unit) => label(unit)], ["Package", (unit) => unit.package || ""], ["Outcome", (unit) => word(unit)],
    ["Why", (unit) => [origin(unit) !== unit && `follows from ${label(origin(unit))}`, unit.reason && unit.outcome !== "bypass" && !unit.change && REASONS[unit.reason], (unit.change || !REASONS[unit.reason]) && unit.why,
      unit.differs && `other than the time before: ${unit.differs.join(", ")}`, unit.not_stored && `not stored: ${unit.not_stored.why}`].filter(Boolean).join("; ")],
    ["Began", "start_us", time], ["Took", "took_us", time], ["Ran", "ran_us", time], ["Saved", "saved_us", time], ["Size", "bytes", size]];
  function drawTable() {
    const wanted = $("find").value.toLowerCase(), kind = $("show").value;
    const column = COLUMNS.find(([name, key]) => key === sorted.by || name === sorted.by);
    const key = typeof column[1] === "string" ? (unit) => unit[column[1]] : column[1];
    const units = (build.units || []).filter((unit) => (!kind || style(unit) === kind) && (!wanted || explain(unit).join(" ").toLowerCase().includes(wanted)));
    units.sort((a, b) => ((key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0) * (sorted.down ? -1 : 1)));
    const heads = COLUMNS.map(([name, by, show]) => {
      const own = show ? by : name, button = el("button", { type: "button" }, name);
      button.addEventListener("click", () => {
        sorted = { by: own, down: sorted.by === own ? !sorted.down : Boolean(show) };
        drawTable();
        [...$("table").querySelectorAll("th button")].find((other) => other.textContent === name).focus();
      });
      return el("th", { scope: "col", class: show && "number", "aria-sort": sorted.by === own ? (sorted.down ? "descending" : "ascending") : undefined }, button);
    });
    const rows = units.slice(0, limit).map((unit) => el("tr", {}, COLUMNS.map(([name, by, show]) => el("td", { class: show ? "number" : name === "Why" ? "why" : undefined },
      name === "Outcome" ? chip(unit) : show ? (unit[by] || by === "start_us" ? show(unit[by]) : "") : by(unit)))));
    const more = el("button", { type: "button", class: "more" }, `Show all ${units.length}`);
    more.addEventListener("click", () => { limit = Infinity; drawTable(); });
    $("table").replaceChildren(el("div", { class: "wide" }, el("table", {}, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, rows))),
      ...(units.length > limit ? [more] : []), ...(units.length ? [] : [none(build.units ? "None." : "Units of this build are not in the report.")]));
  }

  function drawHead() {
    const { units, served, ahead, missed, bypassed, saved_us, ran_us, waited_us } = build.sums;
    $("title").textContent = clean(`${base(build.dir)}, ${date(build.started_us)}`);
    $("dir").textContent = clean(build.dir || "");
    const ways = [ahead && `${ahead} of them before cargo asked`, missed && `${missed} run`, bypassed && `${bypassed} not for the cache`].filter(Boolean);
    $("headline").textContent = `${served} of ${count(units, "unit")} served${ways.map((way) => `, ${way}`).join("")}.`;
    const notes = [build.running && "This build is still going on.", build.unread && `${count(build.unread, "line")} of its record could not be read: cut short, damaged, or of another release.`,
      !build.units && "Of this build only sums are in the report: newer ones have so many units."].filter(Boolean);
    $("notes").textContent = notes.join(" ");
    $("notes").hidden = !notes.length;
    const tile = (name, value, small) => el("div", {}, el("dt", {}, name), el("dd", {}, value, small ? el("small", {}, small) : null));
    $("tiles").replaceChildren(tile("Served", percent(served, units), `${served} of ${units}`), tile("Took", time(build.took_us), "first to last unit"),
      tile("Saved", time(saved_us), "of processes, side by side"), tile("Run", time(ran_us), missed ? "of processes, side by side" : "nothing"),
      ...(waited_us ? [tile("Waited", time(waited_us), "for others making the same")] : []));
  }

  function show(next) {
    build = next;
    limit = 60;
    drawHead(); drawLegend(); drawTimeline(); drawReasons(); drawCosts(); drawPath(); drawHistory(); drawTable();
  }

  $("made").textContent = `report of ${date(report.made * 1e6)}, ${report.version}`;
  drawStore();
  if (!report.builds.length) {
    for (const id of ["of-build", "units", "pick"]) $(id).hidden = true;
    $("empty").hidden = false;
    return;
  }
  report.builds.forEach((other, n) => $("build").append(el("option", { value: n }, `${date(other.started_us)} · ${base(other.dir)} · ${other.sums.served}/${other.sums.units} served`)));
  for (const [value, text] of [["", "all"], ...Object.entries(OUTCOMES), ["query", "questions"]]) $("show").append(el("option", { value }, text));
  $("build").addEventListener("change", () => { zoom = 1; show(report.builds[$("build").value]); });
  $("find").addEventListener("input", drawTable);
  $("show").addEventListener("change", drawTable);
  $("only-critical").addEventListener("change", drawTimeline);
  $("all-dirs").addEventListener("change", drawHistory);
  const setZoom = (to) => { zoom = Math.min(64, Math.max(1, to)); drawTimeline(); };
  $("zoom-in").addEventListener("click", () => setZoom(zoom * 2));
  $("zoom-out").addEventListener("click", () => setZoom(zoom / 2));
  $("zoom-fit").addEventListener("click", () => setZoom(1));
  for (const kind of ["pointerover", "focusin", "click"]) $("chart").addEventListener(kind, (event) => { const bar = event.target.closest(".unit"); if (bar) showTip(bar); });
  for (const kind of ["pointerleave", "focusout"]) $("chart").addEventListener(kind, hideTip);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
  let pending = 0;
  addEventListener("resize", () => { cancelAnimationFrame(pending); pending = requestAnimationFrame(() => { drawTimeline(); drawHistory(); }); });
  show(report.builds[0]);
})();
