"use strict";
// Pictures are blurred and grey: how much, in percent, is remembered in the browser, and one is shown while it is held.
const Pictures = (function () {
  const root = document.documentElement;
  const css = {blur: function (percent) { return 0.2 * percent + "px"; }, grey: function (percent) { return percent + "%"; }};

  function remembered(name) {
    try { return window.localStorage.getItem("nsfw." + name); } catch (error) { return null; }
  }
  function apply(name, value) {
    root.style.setProperty("--" + name, css[name](Number(value)));
  }
  function remember(name, value) {
    apply(name, value);
    try { window.localStorage.setItem("nsfw." + name, String(Number(value))); } catch (error) { /* not remembered */ }
  }
  function show(thumb, shown) {
    if (!thumb) { return; }
    thumb.classList.toggle("shown", shown);
    thumb.setAttribute("aria-pressed", String(shown));
  }
  function hideHeld() {
    document.querySelectorAll(".thumb.shown[data-show=hold]").forEach(function (thumb) { show(thumb, false); });
  }
  function thumbOf(target) {
    return target instanceof Element ? target.closest(".thumb") : null;
  }

  document.addEventListener("pointerdown", function (event) {
    const thumb = thumbOf(event.target);
    if (thumb && thumb.dataset.show === "hold" && event.button === 0) { show(thumb, true); }
  });
  ["pointerup", "pointercancel", "blur"].forEach(function (name) { window.addEventListener(name, hideHeld); });
  document.addEventListener("visibilitychange", hideHeld);
  document.addEventListener("contextmenu", function (event) {
    if (thumbOf(event.target)) { event.preventDefault(); }
  });
  document.addEventListener("click", function (event) {
    const thumb = thumbOf(event.target);
    if (thumb && thumb.dataset.show === "toggle") { show(thumb, !thumb.classList.contains("shown")); }
  });
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.key.toLowerCase() !== "v") { return; }
    const thumb = thumbOf(document.activeElement);
    if (thumb && thumb.dataset.show === "hold") { show(thumb, true); }
  });
  document.addEventListener("keyup", function (event) {
    if (event.key.toLowerCase() === "v") { hideHeld(); }
  });
  Object.keys(css).forEach(function (name) {
    const value = remembered(name);
    if (value !== null && Number.isFinite(Number(value))) { apply(name, value); }
    document.querySelectorAll("input[data-picture=" + name + "]").forEach(function (input) {
      if (value !== null && Number.isFinite(Number(value))) { input.value = value; } else { apply(name, input.value); }
      input.addEventListener("input", function () { remember(name, input.value); });
    });
  });
  return {show: show, hideHeld: hideHeld, remember: remember};
})();
