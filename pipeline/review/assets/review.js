"use strict";
// The review page: claims pictures page by page, the next one ahead of need; decides by key or button; takes back.
(function () {
  const root = document.getElementById("review"), grid = Grid.box;
  const queue = root.dataset.queue, labels = root.dataset.labels.split("|"), size = Number(root.dataset.page);
  const byId = function (name) { return document.getElementById(name); };
  const csrf = document.querySelector("meta[name=csrf-token]").content;
  const plain = {k: "keep", d: "drop", u: "unsure", e: "escalate"};
  const details = new Map(), hidden = new Set(), history = [], mostPages = 8;
  let pages = [], number = -1, ahead = null, unseen = 0;

  // Pages ------------------------------------------------------------------------------------------------------------
  function shown() {
    const open = Array.from(grid.querySelectorAll(".picture:not(.saved)")).map(function (card) { return card.dataset.sha256; });
    const pending = Outbox.pending().filter(function (act) { return !act.undo; }).map(function (act) { return act.sha256; });
    return Array.from(new Set(open.concat(pending)));
  }
  async function claim() {
    const result = await Outbox.post("/api/claim", {queue: queue, most: size, shown: shown()});
    const list = document.createElement("ul");
    list.className = "grid";
    list.hidden = true;
    list.innerHTML = result.html;  // rendered and escaped by the server's template
    byId("others").textContent = result.held ? "Others hold " + result.held + " pictures of it." : "";
    if (!list.children.length) { return null; }
    grid.append(list);  // hidden, so that its pictures load before they are needed
    return list;
  }
  function prefetch() {
    if (!ahead) {
      ahead = claim().catch(function (error) { complain(error); return null; });
      ahead.then(fetchDetails);
    }
    return ahead;
  }
  async function fetchDetails(list) {
    if (!list) { return; }
    const all = Array.from(list.children).map(function (card) { return card.dataset.sha256; });
    const names = all.filter(function (sha256) { return !details.has(sha256); });
    if (!names.length) { return; }
    try {
      const result = await Outbox.post("/api/details", {sha256: names});
      Object.entries(result.html).forEach(function (pair) { details.set(pair[0], pair[1]); });
      showDetails(Grid.current());
    } catch (error) { complain(error); }
  }
  function show(list) {
    pages.forEach(function (one) { one.hidden = one !== list; });
    if (!list.dataset.seen) { list.dataset.seen = "1"; unseen += list.children.length; }
    Grid.tell();
    Grid.focus(Grid.nextOpen(null) || list.children[0]);
  }
  async function nextPage() {
    if (number + 1 < pages.length) { number += 1; show(pages[number]); return; }
    const list = await prefetch();
    ahead = null;
    byId("empty").hidden = Boolean(list);
    if (!list) { return; }
    pages.push(list);
    number = pages.length - 1;
    show(list);
    forget();
    prefetch();
  }
  // Pages far behind leave once all of them is saved: an hour's cards would make every key slower.
  function forget() {
    while (pages.length > mostPages && !pages[0].querySelector(".picture:not(.saved)")) {
      const gone = pages.shift();
      Array.from(gone.children).forEach(function (card) { details.delete(card.dataset.sha256); });
      gone.remove();
      number -= 1;
    }
  }
  function previousPage() {
    if (number > 0) { number -= 1; show(pages[number]); }
  }
  function showDetails(card) {
    const panel = byId("details");
    if (!card || card.classList.contains("escalated")) { panel.replaceChildren(); return; }
    const sheet = document.createElement("template");  // inert: nothing of it loads yet
    sheet.innerHTML = details.get(card.dataset.sha256) || "";  // rendered and escaped by the server's template
    sheet.content.querySelectorAll("img").forEach(function (image) {
      if (hidden.has(image.getAttribute("src"))) { image.closest("li").remove(); }
    });
    panel.replaceChildren(sheet.content);
  }

  // Decisions --------------------------------------------------------------------------------------------------------
  function decide(act) {
    const chosen = Grid.picked().length ? Grid.picked() : [Grid.current()].filter(Boolean);
    const open = chosen.filter(function (card) { return !card.classList.contains("decided") && allowed(card, act); });
    const reason = byId("reason").value.trim();
    const acts = open.map(function (card) {
      return {id: Outbox.newId(), sha256: card.dataset.sha256, act: act, queue: queue, reason: reason, undo: false};
    });
    if (!acts.length) { Grid.move(1, false); return; }
    byId("reason").value = "";
    open.forEach(function (card, index) { settle(card, act, acts[index].id); });
    chosen.forEach(function (card) { Grid.pick(card, false); });
    history.push(acts);
    Outbox.add(acts);
    const next = Grid.nextOpen(chosen[chosen.length - 1]);
    if (next) { Grid.focus(next); } else { nextPage(); }
  }
  function allowed(card, act) {
    const several = act === "keep" && card.dataset.label.includes("|");
    if (several) { complain(new Error("It has several labels: name the right one.")); }
    return !several;
  }
  function settle(card, act, id) {
    card.dataset.decision = id;
    card.classList.add("decided");
    card.classList.remove("refused");
    const line = card.querySelector(".decision");
    line.textContent = act === "keep" || act === card.dataset.label ? "keep: " + card.dataset.label : act;
    line.hidden = false;
    if (act === "escalate") { vanish(card); }
  }
  // What is escalated is out of sight at once: its copies, and wherever it is a neighbour of another picture.
  function vanish(card) {
    copiesOf(card).forEach(function (one) {
      hide(one);
      hidden.add("/thumbnails/" + one.dataset.sha256);
    });
    byId("details").replaceChildren();
  }
  function reveal(card) {
    copiesOf(card).forEach(function (one) {
      hidden.delete("/thumbnails/" + one.dataset.sha256);
      unhide(one);
    });
  }
  function copiesOf(card) {
    const all = Array.from(grid.querySelectorAll(".picture"));
    return all.filter(function (other) { return other.dataset.cluster === card.dataset.cluster; });
  }
  function hide(card) {
    if (card.classList.contains("escalated")) { return; }
    const thumb = card.querySelector(".thumb"), gone = document.createElement("div");
    gone.className = "gone";
    gone.tabIndex = -1;
    gone.textContent = "escalated";
    card.classList.add("escalated");
    card.dataset.source = thumb.querySelector("img").getAttribute("src");
    thumb.querySelector("img").remove();
    thumb.hidden = true;
    thumb.after(gone);
  }
  function unhide(card) {
    if (!card.classList.contains("escalated")) { return; }
    const image = document.createElement("img");
    image.alt = "";
    image.src = card.dataset.source;
    card.classList.remove("escalated");
    card.querySelector(".gone").remove();
    card.querySelector(".thumb").hidden = false;
    card.querySelector(".thumb").append(image);
  }
  function reopen(card) {
    const escalated = card.querySelector(".decision").textContent === "escalate";
    card.classList.remove("decided", "refused", "saved");
    card.querySelector(".decision").hidden = true;
    card.querySelector(".decision").textContent = "";
    if (escalated) { card.dataset.waits = "1"; }  // its picture comes back once the server has taken the act back
  }
  function undo() {
    const acts = history.pop();
    if (!acts) { return; }
    Outbox.add(acts.map(function (act) { return {id: act.id, sha256: act.sha256, act: "", queue: queue, reason: "", undo: true}; }));
    acts.forEach(function (act) {
      const card = Grid.cardOf(act.sha256);
      if (card && card.dataset.decision === act.id) { reopen(card); }
    });
    const card = Grid.cardOf(acts[0].sha256);
    if (card) { number = pages.indexOf(card.parentElement); show(card.parentElement); Grid.focus(card); }
    byId("empty").hidden = true;
  }
  function delivered(result, acts) {
    byId("left").textContent = result.left.toLocaleString("en");
    byId("finds").textContent = result.changed + " of the last " + result.looked_at;
    result.outcomes.forEach(function (outcome, index) {
      const card = Grid.cardOf(acts[index].sha256);
      if (card && card.dataset.waits && outcome.outcome === "undone") {
        delete card.dataset.waits;
        reveal(card);
      }
      if (!card || card.dataset.decision !== outcome.id) { return; }
      card.classList.toggle("saved", outcome.outcome === "saved");
      if (outcome.outcome === "refused") {
        card.classList.add("refused");
        card.querySelector(".decision").textContent = "not saved: " + outcome.why;
      }
    });
  }
  function unsaved(count, status) {
    const state = byId("state");
    state.textContent = count ? count + " not saved yet" : "all saved";
    state.classList.toggle("warn", count > 0);
    byId("problem").hidden = !(status === 401 || status === 403);
    if (status === 401 || status === 403) {
      byId("problem").textContent = "You are no longer logged in. Load the page anew: nothing is lost.";
    }
  }
  function complain(error) {
    byId("problem").textContent = error.status ? error.message : error.message || "The server does not answer.";
    byId("problem").hidden = false;
    window.setTimeout(function () { byId("problem").hidden = true; }, 6000);
  }

  // Time -------------------------------------------------------------------------------------------------------------
  const Clock = (function () {
    const limit = 60 * Number(root.dataset.pause), key = "nsfw.review.looked", pauseAfter = 180;
    let seconds = 0, last = Date.now();
    function stored() { try { return JSON.parse(localStorage.getItem(key)) || {s: 0, at: 0}; } catch (error) { return {s: 0, at: 0}; } }
    function store(value) { try { localStorage.setItem(key, JSON.stringify({s: value, at: Date.now()})); } catch (error) { /* not remembered */ } }
    function reset() { store(0); byId("pause").hidden = true; }
    function active() {
      const gap = (Date.now() - last) / 1000;
      last = Date.now();
      if (Date.now() - stored().at > 1000 * pauseAfter) { reset(); }
      if (gap > 60) { return; }
      seconds += gap;
      const looked = stored().s + gap;
      store(looked);
      if (looked >= limit) {
        byId("looked").textContent = Math.round(looked / 60);
        byId("pause").hidden = false;
      }
    }
    ["keydown", "pointerdown", "pointermove", "scroll"].forEach(function (name) { window.addEventListener(name, active, {passive: true}); });
    byId("paused").addEventListener("click", reset);
    return {take: function () { const value = seconds; seconds = 0; return value; }};
  })();
  async function heartbeat() {
    const seconds = Clock.take(), pictures = unseen;
    unseen = 0;
    try {
      await Outbox.post("/api/heartbeat", {seconds: Math.min(seconds, 3600), pictures: pictures, sha256: shown()});
    } catch (error) { unseen += pictures; }
  }

  // Keys -------------------------------------------------------------------------------------------------------------
  function selectCluster() {
    const now = Grid.current();
    if (!now) { return; }
    Grid.cards().forEach(function (card) { if (card.dataset.cluster === now.dataset.cluster) { Grid.pick(card, true); } });
  }
  function selectAll() {
    const all = Grid.cards(), on = Grid.picked().length < all.length;
    all.forEach(function (card) { Grid.pick(card, on); });
  }
  function help() { byId("help").showModal(); }
  const moves = {ArrowRight: 1, n: 1, ArrowLeft: -1, p: -1};
  const keys = {z: undo, c: selectCluster, a: selectAll, "?": help, "]": nextPage, "[": previousPage,
    r: function () { byId("reason").focus(); }};
  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) { return; }
    const typing = event.target.matches("input:not([type=checkbox]), textarea, select");
    if (typing) {
      if (event.target.id === "reason" && (event.key === "Enter" || event.key === "Escape")) { Grid.focus(Grid.current()); event.preventDefault(); }
      return;
    }
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const inBar = event.target.closest("#toolbar, .bar");
    if (name === " " && !inBar && Grid.current()) {
      Grid.pick(Grid.current(), !Grid.current().classList.contains("picked"));
    } else if (name in moves) {
      Grid.move(moves[name], event.shiftKey);
    } else if (name === "ArrowDown" || name === "ArrowUp") {
      Grid.move((name === "ArrowDown" ? 1 : -1) * Grid.columns(), event.shiftKey);
    } else if (name in plain) {
      decide(plain[name]);
    } else if (/^[1-9]$/.test(name) && labels[Number(name) - 1]) {
      decide(labels[Number(name) - 1]);
    } else if (name in keys) {
      keys[name]();
    } else { return; }
    event.preventDefault();
  }
  document.addEventListener("keydown", onKey);
  document.querySelectorAll("#toolbar [data-act]").forEach(function (button) {
    button.addEventListener("click", function () { decide(button.dataset.act); });
  });
  byId("undo").addEventListener("click", undo);
  byId("select-cluster").addEventListener("click", selectCluster);
  byId("next-page").addEventListener("click", nextPage);
  byId("previous-page").addEventListener("click", previousPage);
  byId("show-help").addEventListener("click", help);

  Grid.start(showDetails);
  Outbox.start(root.dataset.reviewer, csrf, unsaved, delivered);
  nextPage();
  window.setInterval(heartbeat, 30000);
})();
