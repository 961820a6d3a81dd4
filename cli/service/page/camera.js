// The camera of this machine, where the browser has one: a photograph taken goes into the queue like any other.

import { addPhotos } from "./photos.js";
import { get } from "./dom.js";

let stream = null;
let taken = 0;

export function prepare(open) {
  const has = Boolean(navigator.mediaDevices?.getUserMedia);
  get("camera-start").disabled = !has;
  get("camera-state").textContent = has
    ? "Pictures stay in this page until you use one."
    : "The browser allows camera access only on this machine's loopback address and over HTTPS.";
  get("camera-start").addEventListener("click", start);
  get("camera-stop").addEventListener("click", stop);
  get("camera-take").addEventListener("click", async () => { await take(); open(); });
}

async function start() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } }, audio: false });
  } catch (error) {
    get("camera-state").textContent = `The camera cannot be used: ${error.message}`;
    return;
  }
  get("video").srcObject = stream;
  await get("video").play();
  draw();
}

export function stop() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  get("video").srcObject = null;
  draw();
}

function draw() {
  get("video").hidden = !stream;
  get("camera-start").disabled = Boolean(stream);
  get("camera-take").disabled = get("camera-stop").disabled = !stream;
}

async function take() {
  const video = get("video"), canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise(resolve => canvas.toBlob(resolve, "image/jpeg", 0.92));
  addPhotos([new File([blob], `camera ${++taken}.jpg`, { type: "image/jpeg" })]);
}
