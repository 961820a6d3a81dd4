// Requests to the service. Addresses are relative, so that a proxy may show the service under a path of its own.

let token = "";
let refused = () => {};

export function useToken(text) { token = text; }
export function onRefused(heard) { refused = heard; }

export class ServiceError extends Error {
  constructor(code, detail) { super(detail); this.code = code; }
}

// One request; `progress` hears the share of the body that was sent, `signal` ends it.
function once(method, path, body, { progress, signal } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, path);
    request.responseType = "json";
    if (token) request.setRequestHeader("Authorization", "Bearer " + token);
    if (progress) request.upload.addEventListener("progress", event => {
      if (event.lengthComputable) progress(event.loaded / event.total);
    });
    request.addEventListener("load", () => {
      const said = request.response;
      if (request.status === 200 && said) return resolve(said);
      if (request.status === 401) refused();
      const error = said?.error ?? { code: "no_answer", detail: "the answer of the service was interrupted" };
      reject(new ServiceError(error.code, error.detail));
    });
    const lost = () => reject(new ServiceError("no_connection", "no connection to the service"));
    request.addEventListener("error", lost);
    request.addEventListener("timeout", lost);
    request.addEventListener("abort", () => reject(new ServiceError("cancelled", "cancelled")));
    signal?.addEventListener("abort", () => request.abort());
    if (signal?.aborted) return reject(new ServiceError("cancelled", "cancelled"));
    request.send(body);
  });
}

const wait = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds));

// As `once`; a service that is busy is asked again.
export async function ask(method, path, body, how = {}) {
  for (let tries = 0; ; tries++) {
    try { return await once(method, path, body, how); } catch (error) {
      if (!["busy", "rate_limited", "locked"].includes(error.code) || tries >= 60) throw error;
      await wait(1000);
      if (how.signal?.aborted) throw new ServiceError("cancelled", "cancelled");
    }
  }
}

export function form(fields) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof Blob) body.append(name, value, value.name ?? "photo.jpg");
    else if (value !== undefined) body.append(name, value);
  }
  return body;
}

export const identify = (file, how) => ask("POST", "identify?pictures=true", form({ photo: file }), how);
export const enrol = (file, person, face) => ask("POST", "enroll", form({ photo: file, person, face }));
export const people = () => ask("GET", "gallery/people?poses=true");
export const rename = (person, to) => ask("POST", "gallery/rename", form({ person, to }));
export const merge = (person, into) => ask("POST", "gallery/merge", form({ person, into }));
export const remove = person => ask("POST", "gallery/remove", form({ person }));
export const group = signatures => ask("POST", "group", form({ signatures: new Blob([signatures.join("\n")]) }));
