"use strict";
// The demo page: a picture goes to /classify; "this is wrong" goes to /report. Text is only ever set as text.
(function () {
  const get = function (name) { return document.getElementById(name); };
  const token = document.querySelector("meta[name=csrf-token]").content;
  const explanations = {
    too_large: "This picture is too large.",
    not_a_picture: "This file is not a picture that the model can read.",
    unsupported_format: "This kind of picture is not supported.",
    broken: "This picture is damaged.",
    empty: "This file is empty.",
    busy: "The model is busy. Try again in a moment.",
    not_ready: "The model is still being loaded. Try again in a moment.",
    too_old: "The answer is too old to be reported. Choose the picture again."
  };
  let file = null, answer = null, address = "", turn = 0;

  function message(name, text) {
    const line = get(name);
    line.textContent = text;
    line.hidden = !text;
  }
  function fail(text) { message("status", ""); message("error", text); }
  function percent(share) { return (100 * share).toFixed(1) + " %"; }

  async function post(path, body, type) {
    const headers = {"x-csrf-token": token};
    if (type) { headers["content-type"] = type; }
    let response;
    try {
      response = await fetch(path, {method: "POST", headers: headers, body: body});
    } catch (error) {
      throw new Error("The server does not answer. Is `nsfw demo` still running?");
    }
    const text = await response.text();
    let parsed;
    try { parsed = JSON.parse(text); } catch (error) { parsed = {error: {code: "", detail: text.trim()}}; }
    if (parsed.error) {
      const plain = explanations[parsed.error.code];
      const detail = parsed.error.detail || ("error " + response.status);
      throw new Error(plain ? plain + " (" + detail + ")" : detail);
    }
    return parsed;
  }

  function row(label, share, isTop) {
    const line = document.createElement("tr");
    const name = document.createElement("th"), bar = document.createElement("td"), number = document.createElement("td");
    const meter = document.createElement("meter");
    name.scope = "row";
    name.textContent = label;
    meter.min = 0; meter.max = 1; meter.value = share;
    meter.setAttribute("aria-label", label);
    number.className = "number";
    number.textContent = percent(share);
    line.className = isTop ? "top" : "";
    bar.append(meter);
    line.append(name, bar, number);
    return line;
  }

  function decisionText(result) {
    const share = "the unsafe classes add up to " + percent(result.unsafe);
    if (result.decision === null) { return "No decision, as this version has no threshold: " + share + "."; }
    const name = result.decision === "unsafe" ? "Unsafe" : "Safe";
    const relation = result.decision === "unsafe" ? ", at or above" : ", below";
    return name + ": " + share + relation + " the threshold of " + percent(result.threshold) + ".";
  }

  function show(result) {
    const ranked = Object.entries(result.probabilities).sort(function (one, other) { return other[1] - one[1]; });
    get("bars").replaceChildren.apply(get("bars"), ranked.map(function (pair, index) {
      return row(pair[0], pair[1], index === 0);
    }));
    const decision = get("decision");
    decision.textContent = decisionText(result);
    decision.className = "decision " + (result.decision || "");
    get("version").textContent = "By " + result.model.name + ", version " + result.model.version + " (" +
      result.model.role + ")." + (result.frames > 1 ? " Of " + result.frames + " frames, number " +
      (result.deciding_frame + 1) + " decided." : "");
    const unsafe = result.decision !== "safe";
    Pictures.show(get("picture"), !unsafe);
    get("caption").textContent = unsafe ? "Blurred: press to show or hide it." : "Press to hide or show it.";
    get("result").hidden = false;
    message("status", "Answer: " + ranked[0][0] + ", " + percent(ranked[0][1]) + ". " + decisionText(result));
    get("status").className = "hidden-text";  // it is all on the page; a screen reader is told
  }

  function forget() {
    answer = null;
    closeReport();
    get("result").hidden = true;
    message("error", "");
    if (address) { URL.revokeObjectURL(address); address = ""; }
  }

  async function classify(chosen) {
    forget();
    if (!chosen) { return; }
    if (!chosen.size) { fail("This file is empty."); return; }
    const mine = ++turn;
    file = chosen;
    address = URL.createObjectURL(chosen);
    Pictures.show(get("picture"), false);
    get("image").src = address;
    get("status").className = "notice";
    message("status", "The model is looking at the picture.");
    const body = new FormData();
    body.append("image", chosen, "picture");
    try {
      const result = await post("/classify", body);
      if (mine !== turn) { return; }
      answer = result;
      show(result);
    } catch (error) {
      if (mine === turn) { fail(error.message); }
    }
  }

  function openReport() {
    get("report").hidden = false;
    get("wrong").setAttribute("aria-expanded", "true");
    get("label").focus();
  }
  function closeReport() {
    get("report").hidden = true;
    get("report").reset();
    get("label").removeAttribute("aria-invalid");
    get("wrong").setAttribute("aria-expanded", "false");
    get("wrong").disabled = false;
    get("wrong").textContent = "This is wrong";
  }

  async function base64(blob) {
    const address = await new Promise(function (resolve, reject) {
      const reader = new FileReader();
      reader.onload = function () { resolve(reader.result); };
      reader.onerror = function () { reject(new Error("The picture cannot be read any more. Choose it again.")); };
      reader.readAsDataURL(blob);
    });
    return address.slice(address.indexOf(",") + 1);
  }

  async function report(event) {
    event.preventDefault();
    message("error", "");
    if (!get("label").value) {
      get("label").setAttribute("aria-invalid", "true");
      fail("Choose the class that is right.");
      get("label").focus();
      return;
    }
    get("send").disabled = true;
    get("status").className = "notice";
    message("status", "The report is being stored.");
    try {
      const body = {answer: answer.answer, label: get("label").value, comment: get("comment").value};
      if (get("consent").checked) { body.picture = await base64(file); }
      const receipt = await post("/report", JSON.stringify(body), "application/json");
      reported(receipt);
    } catch (error) {
      fail(error.message);
    } finally {
      get("send").disabled = false;
    }
  }

  function reported(receipt) {
    if (receipt.status === "refused") { fail("Too many reports from this address. Try again later."); return; }
    if (receipt.status === "full") { fail("The inbox is full: no report is taken at present."); return; }
    closeReport();
    get("wrong").disabled = true;
    get("wrong").textContent = "Reported";
    const again = receipt.status === "repeated";
    message("status", again ? "You reported this picture already; it was counted." :
      "Thank you. The report is stored as " + receipt.report + "; a person will look at it.");
    get("status").className = "notice good";
    get("result").focus();
  }

  async function wait() {
    try {
      const known = await (await fetch("/model")).json();
      if (known.ready) {
        get("model").textContent = "Model: " + known.name + ", version " + known.version + " (" + known.role + ").";
        return;
      }
    } catch (error) { /* the next look may succeed */ }
    window.setTimeout(wait, 1000);
  }

  get("file").addEventListener("change", function () { classify(get("file").files[0]); });
  document.addEventListener("paste", function (event) {
    const pasted = Array.from(event.clipboardData.files).find(function (each) { return each.type.startsWith("image/"); });
    if (pasted) { event.preventDefault(); classify(pasted); }
  });
  ["dragenter", "dragover"].forEach(function (name) {
    document.addEventListener(name, function (event) { event.preventDefault(); get("drop").classList.add("over"); });
  });
  ["dragleave", "drop"].forEach(function (name) {
    document.addEventListener(name, function (event) { event.preventDefault(); get("drop").classList.remove("over"); });
  });
  document.addEventListener("drop", function (event) { classify(event.dataTransfer.files[0]); });
  get("wrong").addEventListener("click", function () { if (get("report").hidden) { openReport(); } else { closeReport(); } });
  get("cancel").addEventListener("click", function () { closeReport(); get("wrong").focus(); });
  get("report").addEventListener("submit", report);
  wait();
})();
