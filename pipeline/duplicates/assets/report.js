"use strict";
(function () {
  const all = document.getElementById("all");
  function toggle() {
    all.setAttribute("aria-pressed", String(document.body.classList.toggle("all-shown")));
  }
  function step(by) {
    const sections = Array.from(document.querySelectorAll("section"));
    const now = sections.indexOf(document.activeElement);
    const next = sections[Math.min(Math.max(now + by, 0), sections.length - 1)];
    if (next) { next.focus({preventScroll: true}); next.scrollIntoView({block: "start"}); }
  }
  all.addEventListener("click", toggle);
  [["next", 1], ["previous", -1]].forEach(function (pair) {
    const button = document.getElementById(pair[0]);
    button.addEventListener("mousedown", function (event) { event.preventDefault(); });
    button.addEventListener("click", function () { step(pair[1]); });
  });
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey) { return; }
    if (event.key === "b") { toggle(); }
    if (event.key === "n") { step(1); }
    if (event.key === "p") { step(-1); }
  });
})();
