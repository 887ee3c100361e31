"use strict";
// Keys press the buttons; the page works without them. One page sends one answer.
(() => {
  const READING_MS = 250; // the second half of a double press belongs to the page before
  const opened = performance.now();
  let sent = false;

  const box = document.getElementById("keys");
  const stored = () => { try { return localStorage.getItem("keys"); } catch { return null; } };
  box.checked = stored() !== "off";
  box.closest("p").hidden = false;
  box.addEventListener("change", () => {
    try { localStorage.setItem("keys", box.checked ? "on" : "off"); } catch { /* it holds for this page alone */ }
  });

  for (const form of document.forms) {
    form.addEventListener("submit", (event) => {
      if (sent) { event.preventDefault(); }
      sent = true;
    });
  }

  document.addEventListener("keydown", (event) => {
    if (!box.checked || event.repeat || event.ctrlKey || event.altKey || event.metaKey) { return; }
    if (performance.now() - opened < READING_MS || !/^[abtsu]$/i.test(event.key)) { return; }
    const button = document.querySelector(`button[data-key="${event.key.toLowerCase()}"]:enabled`);
    if (button) {
      event.preventDefault();
      button.click();
    }
  });

  // A page that the browser kept as it was shows an item that may be answered by now.
  window.addEventListener("pageshow", (event) => { if (event.persisted) { location.reload(); } });
})();
