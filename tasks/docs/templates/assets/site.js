"use strict";
(() => {
  const up = document.body.dataset.up;
  const root = document.documentElement;
  const make = (name, text, properties = {}) => Object.assign(document.createElement(name), { textContent: text }, properties);

  // Light or dark: as the system has it, until somebody chooses.
  const kept = (value) => {
    try { return value === undefined ? localStorage.getItem("theme") : localStorage.setItem("theme", value); } catch { return null; }
  };
  if (kept()) root.dataset.theme = kept();
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    kept(root.dataset.theme);
  });

  // The tree of modules, opened where this page is.
  const told = globalThis.LAMA_MODULES || { overviews: [], modules: [] };
  const here = decodeURIComponent(location.pathname.split("/").pop() || "index.html");
  const link = (text, address) => {
    const made = make("a", text, { href: up + address });
    if (decodeURIComponent(address.split("/").pop()) === here) made.setAttribute("aria-current", "page");
    return made;
  };
  const tree = document.getElementById("tree");
  for (const [name, address] of told.overviews) tree.append(link(name, address));
  const folders = new Map();
  const parents = new Set(told.modules.map(([path]) => path.slice(0, path.lastIndexOf("."))).filter(Boolean));
  for (const [path, address] of told.modules) {
    const dot = path.lastIndexOf(".");
    const parent = folders.get(dot < 0 ? "" : path.slice(0, dot));
    const made = link(parent ? path.slice(dot + 1) : path, address);
    if (parents.has(path)) {
      const details = document.createElement("details");
      const summary = document.createElement("summary");
      summary.append(made);
      details.append(summary);
      folders.set(path, details);
      (parent || tree).append(details);
    } else (parent || tree).append(made);
  }
  for (let at = tree.querySelector("[aria-current]"); at && at !== tree; at = at.parentElement) {
    if (at.tagName === "DETAILS") at.open = true;
  }

  // The search: names are loaded when somebody begins to search.
  const input = document.getElementById("search");
  const found = document.getElementById("found");
  let chosen = -1;
  const load = () => new Promise((resolve) => {
    if (globalThis.LAMA_NAMES) return resolve();
    document.head.append(make("script", "", { src: `${up}assets/names.js`, onload: resolve, onerror: resolve }));
  });
  const rank = (anchor, summary, words) => {
    const lower = anchor.toLowerCase();
    const last = lower.slice(lower.lastIndexOf(".") + 1);
    let sum = anchor.length / 1000;
    for (const word of words) {
      if (last === word) continue;
      else if (last.startsWith(word)) sum += 1;
      else if (last.includes(word)) sum += 2;
      else if (lower.includes(word)) sum += 3;
      else if (summary.toLowerCase().includes(word)) sum += 5;
      else return Infinity;
    }
    return sum;
  };
  const choose = (index) => {
    const rows = [...found.children];
    chosen = rows.length ? (index + rows.length) % rows.length : -1;
    rows.forEach((row, at) => row.setAttribute("aria-selected", String(at === chosen)));
    if (chosen >= 0) {
      rows[chosen].scrollIntoView({ block: "nearest" });
      input.setAttribute("aria-activedescendant", rows[chosen].id);
    }
  };
  const close = () => { found.hidden = true; input.setAttribute("aria-expanded", "false"); chosen = -1; };
  const search = async () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return close();
    await load();
    const { pages = [], names = [] } = globalThis.LAMA_NAMES || {};
    const best = [];
    for (const [page, anchor, kind, summary] of names) {
      const value = rank(anchor, summary, words);
      if (value < Infinity) best.push([value, page, anchor, kind, summary]);
    }
    best.sort((a, b) => a[0] - b[0] || (a[2] < b[2] ? -1 : 1));
    found.replaceChildren(...best.slice(0, 30).map(([, page, anchor, kind, summary], at) => {
      const hash = pages[page][0] === anchor ? "" : `#${encodeURIComponent(anchor)}`;
      const target = make("a", anchor, { href: `${up}${pages[page][1]}${hash}`, tabIndex: -1 });
      target.append(make("small", `${kind}  ${summary.replaceAll("`", "")}`));
      const row = make("li", "", { id: `found-${at}` });
      row.setAttribute("role", "option");
      row.append(target);
      return row;
    }));
    found.hidden = !found.children.length;
    input.setAttribute("aria-expanded", String(!found.hidden));
    choose(0);
  };
  input.addEventListener("input", search);
  input.addEventListener("focus", load);
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") choose(chosen + 1);
    else if (event.key === "ArrowUp") choose(chosen - 1);
    else if (event.key === "Enter" && chosen >= 0) found.children[chosen].firstChild.click();
    else if (event.key === "Escape") { close(); input.blur(); }
    else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) { event.preventDefault(); input.focus(); }
  });
  document.addEventListener("click", (event) => { if (!event.target.closest(".search")) close(); });
})();
