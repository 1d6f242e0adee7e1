// The console's few helpers; every page works without them.

import "./exports.js";
import "./verify.js";
import { tellZone, zone } from "./zone.js";

if (tellZone() && document.body.dataset.zone !== zone) location.reload();

// Empty fields stay out of addresses.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "get") return;
  for (const field of form.elements) if (field.name && !field.value) field.disabled = true;
});
addEventListener("pageshow", () => {
  for (const field of document.querySelectorAll("form[method=get] :disabled")) field.disabled = false;
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-print]")) print();
});

document.body.dataset.ready = "";
