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

export const rgb = (color) => `rgb(${color.join(" ")})`;
export const percent = (share) => `${(100 * share).toFixed(share > 0.9995 || share < 0.0995 ? 2 : 1)} %`;

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
