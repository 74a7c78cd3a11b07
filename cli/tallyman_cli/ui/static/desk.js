// What the pages do beside htmx: keep open what was open when a view is made anew, copy commands, show the slider's
// time, count down to what opens.
"use strict";
(() => {
  let open = [];
  const say = (text) => { const place = document.getElementById("said"); if (place) place.textContent = text; };
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target.id === "main") {
      open = [...document.querySelectorAll("main details[id]")].map((each) => [each.id, each.open]);
    }
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id !== "main") return;
    for (const [id, was] of open) { const each = document.getElementById(id); if (each) each.open = was; }
    open = [];
    say("Updated at " + new Date().toLocaleTimeString());
  });
  document.addEventListener("input", (event) => {
    if (event.target.id !== "t") return;
    const shown = document.getElementById("asof");
    const time = new Date(Number(event.target.value) * 1000).toISOString();
    if (shown) shown.textContent = time.slice(0, 10) + " " + time.slice(11, 19) + " UTC";
  });
  const left = (seconds) => {
    const [d, h, m] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
    if (d) return d + " d " + h + " h";
    if (h) return h + " h " + m + " min";
    return m ? m + " min " + (seconds % 60) + " s" : seconds + " s";
  };
  setInterval(() => {
    for (const time of document.querySelectorAll(".until time")) {
      const seconds = Math.round((Date.parse(time.dateTime) - Date.now()) / 1000);
      time.textContent = seconds > 0 ? "in " + left(seconds) : "now";
    }
  }, 1000);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    navigator.clipboard.writeText(button.dataset.copy).then(
      () => { button.textContent = "Copied"; say("Copied"); },
      () => say("The browser does not let this page copy")
    );
  });
})();
