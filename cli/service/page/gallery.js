// The people of the gallery: the views they were enrolled in, and renaming, merging and removing them.

import { merge, people, remove, rename } from "./api.js";
import { ask, get, make, say } from "./dom.js";

const MOST = 200;  // shown at once; the rest is found by name
let known = [];

export async function load() {
  try {
    known = (await people()).people;
  } catch (error) {
    say(`The gallery cannot be shown: ${error.message}`, true);
    return;
  }
  get("names").replaceChildren(...known.slice(0, 1000).map(person => make("option", { value: person.person })));
  draw();
}

export function draw() {
  const wanted = get("find").value.trim().toLowerCase();
  const found = known.filter(person => person.person.toLowerCase().includes(wanted));
  get("gallery-size").textContent = `${known.length} people` + (wanted ? `, ${found.length} found` : "")
    + (found.length > MOST ? `, the first ${MOST} shown` : "");
  get("people").replaceChildren(...found.slice(0, MOST).map(row));
  if (!known.length) get("people").append(make("li", { class: "hint" }, "Nobody is enrolled yet. Open a photograph and give a face a name."));
}

function row(person) {
  const one = person.photos === 1 ? "1 photograph" : `${person.photos} photographs`;
  const [least, most] = person.yaw.map(angle => angle.toFixed(0) + "°");
  const yaw = least === most ? least : `${least} to ${most}`;
  const button = (text, heard, kind = "quiet") => make("button", {
    type: "button", class: kind, "aria-label": `${text} ${person.person}`, on: { click: () => heard(person.person) },
  }, text);
  return make("li", { class: "card" }, map(person),
    make("div", {}, make("div", { class: "name" }, person.person),
      make("div", { class: "soft" }, `${one}, yaw ${yaw}`)),
    make("div", { class: "row" }, button("Rename", renamed), button("Merge", merged), button("Remove", removed, "danger")));
}

// Where the person was seen from: yaw from -90 to 90 degrees across, pitch from 45 (up) to -45.
function map(person) {
  const views = person.poses.length === 1 ? "1 view" : `${person.poses.length} views`;
  const drawing = make("svg:svg", { class: "map", viewBox: "0 0 120 60", role: "img",
    "aria-label": `${views} of ${person.person}, yaw ${person.yaw[0].toFixed(0)} to ${person.yaw[1].toFixed(0)} degrees` });
  drawing.append(make("svg:rect", { x: 0.5, y: 0.5, width: 119, height: 59, rx: 4 }));
  for (const x of [20, 60, 100]) drawing.append(make("svg:line", { x1: x, x2: x, y1: 4, y2: 56 }));
  drawing.append(make("svg:line", { x1: 4, x2: 116, y1: 30, y2: 30 }));
  const clip = (value, most) => Math.min(Math.max(value, -most), most);
  for (const [yaw, pitch] of person.poses) drawing.append(make("svg:circle", {
    cx: 60 + clip(yaw, 90) * 54 / 90, cy: 30 - clip(pitch, 45) * 24 / 45, r: 3.5,
  }));
  return drawing;
}

async function change(verb, done) {
  try {
    const said = await verb;
    say(done + (said.bytes_gone ? "" : "; another process still reads the old state, whose bytes are erased afterwards"));
  } catch (error) { say(error.message, true); }
  await load();
  get("find").focus();  // the button that asked is gone
}

async function renamed(person) {
  const to = await ask({ title: `Rename ${person}`, text: "The old name is erased from the gallery.", field: "New name", value: person, yes: "Rename" });
  if (to && to !== person) await change(rename(person, to), `${person} is now called ${to}`);
}

async function merged(person) {
  const into = await ask({ title: `Merge ${person}`, field: "Into", yes: "Merge",
    text: `Merge ${person} with another person of the gallery, who keeps the name.` });
  if (into) await change(merge(person, into), `${person} and ${into} are now one person`);
}

async function removed(person) {
  const sure = await ask({ title: `Remove ${person}?`, yes: "Remove permanently", danger: true,
    text: "Name, signatures and poses are erased from the gallery permanently. Photographs are not touched." });
  if (sure !== null) await change(remove(person), `${person} is removed`);
}
