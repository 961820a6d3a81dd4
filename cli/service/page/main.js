// The tabs, the colours, the token, and what hears of what.

import { onRefused, useToken } from "./api.js";
import * as camera from "./camera.js";
import { get, say } from "./dom.js";
import { onEnrolled } from "./faces.js";
import * as gallery from "./gallery.js";
import { addPhotos, onFaces } from "./photos.js";
import * as unknown from "./unknown.js";

const tabs = [...get("tabs").children];

function open(tab) {
  for (const one of tabs) {
    const chosen = one === tab;
    one.setAttribute("aria-selected", String(chosen));
    one.tabIndex = chosen ? 0 : -1;
    get(one.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (tab.id === "tab-gallery") gallery.load();
  if (tab.id !== "tab-camera") camera.stop();
}

tabs.forEach((tab, i) => {
  tab.addEventListener("click", () => open(tab));
  tab.addEventListener("keydown", event => {
    const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const other = tabs[(to + tabs.length) % tabs.length];
    open(other);
    other.focus();
  });
});

const drop = get("drop");
get("photo").addEventListener("change", event => { addPhotos([...event.target.files]); event.target.value = ""; });
document.addEventListener("dragover", event => { event.preventDefault(); drop.classList.add("over"); });
document.addEventListener("dragleave", event => { if (!event.relatedTarget) drop.classList.remove("over"); });
document.addEventListener("drop", event => {
  event.preventDefault();
  drop.classList.remove("over");
  if (event.dataTransfer.files.length) { open(get("tab-photos")); addPhotos([...event.dataTransfer.files]); }
});

onFaces(item => unknown.collect(item));
onEnrolled((item, face) => { unknown.forget(item, face); gallery.load(); });
get("find").addEventListener("input", () => gallery.draw());
camera.prepare(() => open(get("tab-photos")));

const themes = ["", "light", "dark"];
const shown = { "": ["◐", "as the system"], light: ["☀", "light"], dark: ["☾", "dark"] };
get("theme").addEventListener("click", () => {
  const theme = themes[(themes.indexOf(document.documentElement.dataset.theme ?? "") + 1) % themes.length];
  document.documentElement.dataset.theme = theme;
  get("theme").textContent = shown[theme][0];
  get("theme").setAttribute("aria-label", "Colours: " + shown[theme][1]);
});

onRefused(() => { get("token-form").hidden = false; get("token").focus(); });
get("token-form").addEventListener("submit", event => {
  event.preventDefault();
  useToken(get("token").value);
  get("token-form").hidden = true;
  say("");
  gallery.load();
});
gallery.load();
