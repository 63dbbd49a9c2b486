"use strict";
// Decisions on their way: in order, in the browser's storage until the server has them on disk. Sent twice they are one.
const Outbox = (function () {
  const most = 200;
  let key = "nsfw.review.outbox", token = "", busy = false, wait = 500, onChange = null, onOutcome = null;

  function read() {
    try { return JSON.parse(window.localStorage.getItem(key)) || []; } catch (error) { return []; }
  }
  function write(acts) {
    window.localStorage.setItem(key, JSON.stringify(acts));
    if (onChange) { onChange(acts.length); }
  }
  function newId() {
    const bytes = window.crypto.getRandomValues(new Uint8Array(18));
    return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_");
  }
  function add(acts) {
    write(read().concat(acts));
    deliver();
  }
  async function post(path, body) {
    const answer = await window.fetch(path, {
      method: "POST", credentials: "same-origin",
      headers: {"content-type": "application/json", "x-csrf-token": token}, body: JSON.stringify(body)
    });
    if (!answer.ok) {
      const error = new Error(await answer.text());
      error.status = answer.status;
      throw error;
    }
    return answer.json();
  }
  async function deliver() {
    if (busy) { return; }
    busy = true;
    try {
      for (let acts = read().slice(0, most); acts.length; acts = read().slice(0, most)) {
        const result = await post("/api/acts", {acts: acts});
        const settled = new Set(acts.map(function (act) { return act.id + String(act.undo); }));
        write(read().filter(function (act) { return !settled.has(act.id + String(act.undo)); }));
        wait = 500;
        onOutcome(result, acts);
      }
    } catch (error) {
      onChange(read().length, error.status);
      wait = Math.min(wait * 2, 8000);
      window.setTimeout(deliver, wait);
    } finally {
      busy = false;
    }
  }
  function start(reviewer, csrf, changed, outcome) {
    key = "nsfw.review.outbox." + reviewer;
    token = csrf;
    onChange = changed;
    onOutcome = outcome;
    onChange(read().length);
    window.addEventListener("online", deliver);
    deliver();
  }
  return {start: start, add: add, post: post, newId: newId, pending: read};
})();
