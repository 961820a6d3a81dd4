// Unknown faces seen since the page was opened, those that look like one person together. Kept in this page alone.

import { enrol, group } from "./api.js";
import { get, make, say } from "./dom.js";

let faces = [];  // {item, face, signature}
let drawn = 0;

export function collect(item) {
  faces = faces.filter(one => one.item !== item);
  for (const face of item.answer.faces) {
    if (face.decision === "unknown" && face.signature) faces.push({ item, face, signature: face.signature });
  }
  draw();
}

export function forget(item, face) {
  faces = faces.filter(one => one.item !== item || one.face.face !== face.face);
  draw();
}

async function draw() {
  const mine = ++drawn;
  get("unknown-count").textContent = faces.length;
  get("unknown-count").hidden = !faces.length;
  let groups = faces.map((_, i) => [i]);
  const now = faces;
  if (now.length > 1) {
    try { groups = (await group(now.map(one => one.signature))).groups; } catch (error) { say(error.message, true); }
  }
  if (mine !== drawn) return;  // another face came meanwhile
  if (!now.length) { get("groups").replaceChildren(make("p", { class: "hint" }, "None so far.")); return; }
  get("groups").replaceChildren(...groups.map(places => card(places.map(place => now[place]))));
}

function card(own) {
  const crops = own.map(one => make("img", { src: one.face.pictures.crop,
    alt: `face ${one.face.face + 1} of ${one.item.file.name}`, title: one.item.file.name }));
  const name = make("input", { required: true, maxlength: 1000, list: "names", autocomplete: "off", placeholder: "name",
    "aria-label": own.length === 1 ? "Name of this face" : `Name of these ${own.length} faces` });
  const button = make("button", {}, own.length === 1 ? "Enrol" : `Enrol ${own.length} faces`);
  const heard = async event => {
    event.preventDefault();
    button.disabled = true;
    let done = 0, why = "";
    for (const one of own) {
      try {
        const said = await enrol(one.item.file, name.value.trim(), one.face.face);
        if (said.outcome === "enrolled") { done += 1; faces = faces.filter(other => other !== one); } else why = said.detail;
      } catch (error) { why = error.message; }
    }
    say(`${done} of ${own.length} faces enrolled as ${name.value.trim()}` + (why ? `; ${why}` : ""), done < own.length);
    draw();
  };
  return make("div", { class: "card group" }, make("div", { class: "crops" }, ...crops),
    make("form", { class: "row", on: { submit: heard } }, name, button));
}
