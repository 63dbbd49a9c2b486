"use strict";
// The cards of a page: which one is current, which are selected, how to move. It decides nothing.
const Grid = (function () {
  const box = document.getElementById("grid");
  let onCurrent = null;

  function page() { return box.querySelector("ul.grid:not([hidden])"); }
  function cards() { return page() ? Array.from(page().children) : []; }
  function cardOf(sha256) { return box.querySelector('.picture[data-sha256="' + sha256 + '"]'); }
  function current() { return cards().find(function (card) { return card.classList.contains("current"); }) || null; }
  function picked() { return cards().filter(function (card) { return card.classList.contains("picked"); }); }

  function mark(card) {
    box.querySelectorAll(".current").forEach(function (other) { other.classList.remove("current"); });
    if (card) {
      card.classList.add("current");
      if (onCurrent) { onCurrent(card); }
    }
  }
  function focus(card) {
    if (!card) { return; }
    mark(card);
    const target = card.querySelector(".gone") || card.querySelector(".thumb");
    target.focus({preventScroll: true});
    card.scrollIntoView({block: "nearest"});
  }
  function pick(card, on) {
    card.classList.toggle("picked", on);
    card.querySelector(".pick").checked = on;
    tell();
  }
  function tell() {
    const count = picked().length;
    document.getElementById("selected").textContent = count ? count + " selected" : "";
  }
  function move(by, extend) {
    const all = cards(), now = current(), index = now ? all.indexOf(now) : -1;
    const next = all[Math.min(Math.max(index + by, 0), all.length - 1)];
    if (extend && now) { pick(now, true); }
    if (extend && next) { pick(next, true); }
    focus(next);
  }
  function columns() {
    const all = cards();
    return all.filter(function (card) { return card.offsetTop === all[0].offsetTop; }).length || 1;
  }
  function nextOpen(after) {
    const all = cards(), from = after ? all.indexOf(after) + 1 : 0;
    const order = all.slice(from).concat(all.slice(0, from));
    return order.find(function (card) { return !card.classList.contains("decided"); }) || null;
  }
  function start(changed) {
    onCurrent = changed;
    box.addEventListener("focusin", function (event) {
      const card = event.target.closest(".picture");
      if (card && !card.classList.contains("current")) { mark(card); }
    });
    box.addEventListener("click", function (event) {
      const card = event.target.closest(".picture");
      if (!card) { return; }
      if (event.target.classList.contains("pick")) { pick(card, event.target.checked); }
      if (event.shiftKey && !event.target.closest("label")) { range(card); }
      focus(card);
    });
  }
  function range(card) {
    const all = cards(), ends = [all.indexOf(current() || card), all.indexOf(card)].sort(function (a, b) { return a - b; });
    all.slice(ends[0], ends[1] + 1).forEach(function (one) { pick(one, true); });
  }
  return {box: box, page: page, cards: cards, cardOf: cardOf, current: current, picked: picked, pick: pick, focus: focus,
    move: move, columns: columns, nextOpen: nextOpen, start: start, tell: tell};
})();
