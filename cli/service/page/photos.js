// The queue of photographs, and the one that is looked at. Each keeps its own answer, so that none shows another's.

import { identify } from "./api.js";
import { get, make, say } from "./dom.js";
import { showFaces } from "./faces.js";

const AT_ONCE = 2;  // while one is described, the next is sent
const items = [];
let shown = null;
let number = 0;
const heard = [];

export function onFaces(listener) { heard.push(listener); }

export function addPhotos(files) {
  for (const file of files) {
    const item = { id: ++number, file, state: "waiting", sent: 0, answer: null, error: "", stop: new AbortController() };
    items.push(item);
    item.row = make("li");
    get("queue").append(item.row);
    drawRow(item);
    if (!shown || items.every(one => one.state !== "waiting" || one === item)) show(item);
  }
  next();
}

function next() {
  const working = items.filter(item => item.state === "working").length;
  const waiting = items.filter(item => item.state === "waiting");
  for (const item of waiting.slice(0, Math.max(0, AT_ONCE - working))) work(item);
  const left = items.filter(item => ["waiting", "working"].includes(item.state)).length;
  say(left ? `${left} of ${items.length} photographs remaining` : items.length ? "All photographs are done" : "");
}

async function work(item) {
  item.state = "working";
  drawRow(item);
  try {
    item.answer = await identify(item.file, {
      signal: item.stop.signal, progress: share => { item.sent = share; drawRow(item); },
    });
    item.state = "done";
    for (const listener of heard) listener(item);
  } catch (error) {
    item.state = error.code === "cancelled" ? "cancelled" : "failed";
    item.error = error.code === "cancelled" ? "" : error.message;
  }
  drawRow(item);
  if (shown === item) show(item);
  next();
}

function again(item) {
  Object.assign(item, { state: "waiting", sent: 0, error: "", answer: null, stop: new AbortController() });
  drawRow(item);
  next();
}

function faces(item) { return item.answer.faces.filter(face => face.box); }

function stateText(item) {
  if (item.state === "waiting") return "waiting";
  if (item.state === "working") return item.sent < 1 ? `sending, ${Math.round(100 * item.sent)} %` : "looking for faces";
  if (item.state === "cancelled") return "cancelled";
  if (item.state === "failed") return item.error;
  const found = faces(item).length;
  if (found) return found === 1 ? "1 face" : `${found} faces`;
  return item.answer.faces[0]?.reason === "no_face" ? "no face" : "cannot be used";
}

function drawRow(item) {
  const busy = ["waiting", "working"].includes(item.state);
  const bad = item.state === "failed" || (item.state === "done" && !faces(item).length);
  const open = make("button", {
    type: "button", class: "open", "aria-current": String(shown === item), on: { click: () => show(item) },
  }, make("span", { class: "name" }, item.file.name || "photograph"),
  make("span", { class: bad ? "state bad" : "state" }, stateText(item)));
  if (item.state === "working") open.append(make("progress", item.sent < 1 ? { value: item.sent, max: 1 } : {}));
  const end = busy
    ? make("button", { type: "button", class: "quiet", "aria-label": `Cancel ${item.file.name}`,
      on: { click: () => { item.stop.abort(); if (item.state === "waiting") { item.state = "cancelled"; drawRow(item); next(); } } } }, "×")
    : item.state === "done" ? null
      : make("button", { type: "button", class: "quiet", "aria-label": `Try ${item.file.name} again`, on: { click: () => again(item) } }, "↻");
  const focused = item.row.contains(document.activeElement) ? document.activeElement.className : "";
  item.row.replaceChildren(open, ...(end ? [end] : []));
  if (focused) (focused === "open" ? open : end ?? open).focus();
}

export function show(item) {
  const before = shown;
  shown = item;
  if (before && before !== item) drawRow(before);
  drawRow(item);
  const view = get("view");
  if (item.state !== "done") {
    view.replaceChildren(make("p", { class: "hint" }, `${item.file.name}: ${stateText(item)}`));
    return;
  }
  if (!faces(item).length) {
    const [one] = item.answer.faces;
    const picture = item.answer.photo
      ? make("div", { class: "stage" }, make("img", { src: item.answer.photo.picture, alt: item.file.name })) : null;
    const text = one.reason === "no_face" ? "No face was found in this photograph." : `${one.reason}: ${one.detail}`;
    view.replaceChildren(make("p", { class: "verdict none" }, text), ...(picture ? [picture] : []));
    return;
  }
  showFaces(view, item);
}
