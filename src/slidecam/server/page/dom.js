// Small things about the document.

export const at = (id) => document.getElementById(id);

/** Make an element: properties, then children (elements or text). */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(properties.aria ?? {})) element.setAttribute(`aria-${name}`, value);
  element.append(...children);
  return element;
}

/** Tell those who do not see the page what has happened. */
export const announce = (text) => { at("said").textContent = text; };

const LEFTWARDS = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/** A name within a line of text: where it is written from right to left, it turns nothing that follows it. */
export const isolated = (name) => (LEFTWARDS.test(name) ? `\u2068${name}\u2069` : name);

export const rgb = (color) => `rgb(${color.join(" ")})`;
export const percent = (share) => `${(100 * share).toFixed(share > 0.9995 || share < 0.0995 ? 2 : 1)} %`;

/** Say which model classifies, and where. */
export const showModel = (status) => {
  at("model").replaceChildren(make("bdi", {}, status.model.name), `, on ${status.device}`);
};

/** Show a refusal with its remedy in a box, or hide the box. */
export function showProblem(box, error) {
  box.hidden = !error;
  if (!error) return;
  box.replaceChildren(make("strong", {}, error.message), make("br"), error.remedy ?? "");
}

/** What the page remembers of itself over a reload, in this tab. */
export const memory = {
  get: (name) => JSON.parse(sessionStorage.getItem(`slidecam-${name}`) ?? "null"),
  set: (name, value) => sessionStorage.setItem(`slidecam-${name}`, JSON.stringify(value)),
};
