"use strict";
// A cell of the matrix opens its pictures; the list of slices hides every other picture.
(function () {
  const choice = document.getElementById("slice"), count = document.getElementById("filtered");
  const tiles = Array.from(document.querySelectorAll(".tile"));

  function open(id) {
    const group = document.getElementById(id);
    if (!(group instanceof HTMLDetailsElement)) { return; }
    group.open = true;
    group.querySelector("summary").focus({preventScroll: true});
    group.scrollIntoView({block: "start"});
  }
  function filter(name) {
    let shown = 0;
    tiles.forEach(function (tile) {
      const visible = !name || tile.dataset.slices.split("\n").includes(name);
      tile.hidden = !visible;
      shown += visible ? 1 : 0;
    });
    document.querySelectorAll("details").forEach(function (group) {
      const some = Array.from(group.querySelectorAll(".tile")).some(function (tile) { return !tile.hidden; });
      group.hidden = !some;
      if (name && some) { group.open = true; }
    });
    count.textContent = name ? shown + " of " + tiles.length + " pictures" : "";
  }
  document.querySelectorAll("a[data-opens]").forEach(function (link) {
    link.addEventListener("click", function (event) {
      event.preventDefault();
      choice.value = "";
      filter("");
      open(link.dataset.opens);
    });
  });
  document.querySelectorAll("button[data-slice]").forEach(function (button) {
    button.addEventListener("click", function () {
      choice.value = button.dataset.slice;
      filter(choice.value);
      document.getElementById("cells").scrollIntoView();
    });
  });
  choice.addEventListener("change", function () { filter(choice.value); });
  choice.value = "";
  if (window.location.hash) { open(window.location.hash.slice(1)); }
})();
