// Making and finding elements. Text is always set as text, never as HTML: names are anybody's.

export const get = id => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const made = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, heard] of Object.entries(value)) made.addEventListener(event, heard);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter(child => child !== null && child !== undefined));
  return made;
}

export function say(text, bad = false) {
  get("status").textContent = text;
  get("status").classList.toggle("bad", bad);
}

let drop = () => {};  // gives up the question before

// Asks in a dialogue; resolves to the text that was given ("" without a field), or to null.
export function ask({ title, text, yes, field, value = "", danger = false }) {
  const dialog = get("ask"), input = get("ask-value");
  get("ask-title").textContent = title;
  get("ask-text").textContent = text;
  get("ask-field").hidden = !field;
  get("ask-field").firstElementChild.textContent = field || "";
  input.required = Boolean(field);
  input.value = value;
  get("ask-yes").textContent = yes;
  get("ask-yes").className = danger ? "danger" : "";
  drop();
  return new Promise(resolve => {
    const closed = () => {
      if (dialog.open) return;  // it was the question before that closed
      dialog.removeEventListener("close", closed);
      resolve(dialog.returnValue === "yes" ? (field ? input.value.trim() : "") : null);
    };
    drop = () => { dialog.removeEventListener("close", closed); resolve(null); };
    dialog.addEventListener("close", closed);
    dialog.returnValue = "";
    dialog.showModal();
    if (field) input.select();
    if (danger) get("ask-no").focus();  // Enter alone must remove nobody
  });
}

export const percent = share => (100 * share).toFixed(0) + " %";
