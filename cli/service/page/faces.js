// One photograph with its faces boxed and numbered, and what is known of the one that is chosen.

import { enrol } from "./api.js";
import { get, make, percent, say } from "./dom.js";

const enrolled = [];
export function onEnrolled(listener) { enrolled.push(listener); }

export function showFaces(view, item) {
  const { photo, faces } = item.answer;
  const stage = make("div", { class: "stage" }, make("img", { src: photo.picture, alt: item.file.name }));
  const detail = make("div", { class: "face card" });
  const boxes = faces.map(face => {
    const box = make("button", {
      type: "button", class: "box " + face.decision, "aria-pressed": "false", "aria-label": label(face),
      on: { click: () => choose(face) },
    }, make("span", { class: "number" }, make("span", {}, String(face.face + 1))));
    const clip = (value, most) => Math.min(Math.max(value, 0), most);
    const [x0, x1] = [face.box.x0, face.box.x1].map(x => clip(x, photo.width) / photo.width);
    const [y0, y1] = [face.box.y0, face.box.y1].map(y => clip(y, photo.height) / photo.height);
    Object.assign(box.style, {
      left: 100 * x0 + "%", top: 100 * y0 + "%", width: 100 * (x1 - x0) + "%", height: 100 * (y1 - y0) + "%",
    });
    return box;
  });
  stage.append(...boxes);
  function choose(face) {
    item.chosen = face.face;
    boxes.forEach((box, i) => box.setAttribute("aria-pressed", String(faces[i] === face)));
    drawFace(detail, item, face);
  }
  view.replaceChildren(make("div", { class: "seen" }, stage, detail));
  choose(faces.find(face => face.face === item.chosen) ?? faces[0]);
}

function label(face) {
  return `Face ${face.face + 1}: ${face.decision}` + (face.person ? `, ${face.person}` : "");
}

function verdict(face) {
  if (face.decision === "match") return face.person;
  return { unknown: "Unknown", abstain: "Cannot be compared", none: "Cannot be used" }[face.decision];
}

function drawFace(detail, item, face) {
  const rows = [
    make("p", { class: "soft" }, `Face ${face.face + 1} of ${item.answer.faces.length}`),
    make("p", { class: "verdict " + face.decision }, verdict(face)),
    make("p", {}, face.reason + (face.detail ? ": " + face.detail : "")),
  ];
  if (face.pose) rows.push(make("p", { class: "soft" },
    `yaw ${face.pose.yaw.toFixed(0)}°, pitch ${face.pose.pitch.toFixed(0)}°, ${percent(face.visible_fraction)} of the face seen`));
  rows.push(looks(item, face));
  if (face.candidates.length) rows.push(candidates(face));
  if (face.decision !== "none") rows.push(enrolForm(item, face));
  detail.replaceChildren(...rows);
}

function looks(item, face) {
  const row = make("div", { class: "looks" });
  if (face.pictures.crop) {
    const picture = make("div", { class: "picture" }, make("img", { src: face.pictures.crop, alt: `Face ${face.face + 1}` }));
    if (face.landmarks) picture.append(points(item.answer.photo, face));
    row.append(make("figure", {}, picture, make("figcaption", {}, face.landmarks ? "landmarks; rings are hidden from the camera" : "as detected")));
  }
  if (face.pictures.frontal) row.append(make("figure", {},
    make("div", { class: "picture" }, make("img", { src: face.pictures.frontal, alt: "frontal view" })),
    make("figcaption", {}, "seen from the front")));
  return row;
}

// The landmarks over the crop, which is the box and a quarter of its longer side around it, cut at the photograph's edge.
function points(photo, face) {
  const { x0, y0, x1, y1 } = face.box, half = 0.75 * Math.max(x1 - x0, y1 - y0);
  const left = Math.max(0, Math.floor((x0 + x1) / 2 - half)), top = Math.max(0, Math.floor((y0 + y1) / 2 - half));
  const right = Math.min(photo.width, Math.floor((x0 + x1) / 2 + half) + 1);
  const bottom = Math.min(photo.height, Math.floor((y0 + y1) / 2 + half) + 1);
  const wide = 100 / (right - left);
  const drawing = make("svg:svg", { viewBox: `0 0 100 ${(bottom - top) * wide}`, "aria-hidden": "true" });
  face.landmarks.points.forEach(([x, y], i) => drawing.append(make("svg:circle", {
    cx: (x + 0.5 - left) * wide, cy: (y + 0.5 - top) * wide, r: 1.1, class: face.landmarks.visible[i] ? "dot" : "dot hidden",
  })));
  return drawing;
}

// A candidate comes with a probability where the descriptor's scores were measured on mates.
function candidates(face) {
  const extra = ["p_same"].filter(name => face.candidates.some(candidate => Number.isFinite(candidate[name])));
  const titles = { p_same: "same person" };
  const head = make("tr", {}, make("th", { scope: "col" }, "candidate"), make("th", { scope: "col", class: "figure" }, "score"),
    make("th", { scope: "col", class: "figure" }, "seen by both"),
    ...extra.map(name => make("th", { scope: "col", class: "figure" }, titles[name])));
  const lines = face.candidates.map(candidate => make("tr", {}, make("td", {}, candidate.person + (candidate.nobody ? " (known stranger)" : "")),
    make("td", { class: "figure" }, candidate.score.toFixed(3)), make("td", { class: "figure" }, candidate.overlap === null ? "" : percent(candidate.overlap)),
    ...extra.map(name => make("td", { class: "figure" },
      Number.isFinite(candidate[name]) ? (100 * candidate[name]).toPrecision(2) + " %" : ""))));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines));
}

function enrolForm(item, face) {
  const name = make("input", { name: "person", required: true, maxlength: 1000, list: "names", autocomplete: "off",
    "aria-label": `Name of face ${face.face + 1}`, placeholder: "name", value: face.person ?? "" });
  const button = make("button", {}, "Enrol this face");
  const heard = async event => {
    event.preventDefault();
    button.disabled = true;
    try {
      const said = await enrol(item.file, name.value.trim(), face.face);
      if (said.outcome === "enrolled") {
        say(`Face ${face.face + 1} of ${item.file.name} is enrolled as ${said.person}`);
        for (const listener of enrolled) listener(item, face, said.person);
      } else say(`Not enrolled: ${said.outcome}: ${said.detail}`, true);
    } catch (error) { say(`Not enrolled: ${error.message}`, true); }
    button.disabled = false;
  };
  return make("form", { class: "enrol row", on: { submit: heard } }, name, button);
}
