// The page: its key, its tabs, and what the server says of itself.

import { arrival, get, takeToken } from "./api.js";
import { at, memory, showModel, showProblem } from "./dom.js";
import { learnShades } from "./heat.js";
import { openPictures } from "./picture.js";
import { openSlides } from "./slide.js";

const TABS = ["picture", "slide"];

function show(name) {
  for (const tab of TABS) {
    at(tab).hidden = tab !== name;
    at(`tab-${tab}`).setAttribute("aria-selected", String(tab === name));
    at(`tab-${tab}`).tabIndex = tab === name ? 0 : -1;
  }
  memory.set("tab", name);
  window.dispatchEvent(new Event("resize"));
}

function listen() {
  for (const tab of TABS) {
    at(`tab-${tab}`).addEventListener("click", () => show(tab));
    at(`tab-${tab}`).addEventListener("keydown", (event) => {
      if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      const other = TABS.find((each) => each !== tab);
      show(other);
      at(`tab-${other}`).focus();
    });
  }
}

/** Return what the server says of itself; null, with the reason on the screen, for who may not come in. */
async function admitted() {
  at("stranger").hidden = true;
  try {
    if (await takeToken()) return await get("/v1/status");
  } catch (error) {
    showProblem(at("stranger"), error);
  }
  at("stranger").hidden = false;
  return null;
}

async function open() {
  const status = await admitted();
  if (!status) return;
  learnShades(status.colours);
  showModel(status);
  at("version").textContent = `slidecam ${status.slidecam}.`;
  listen();
  openPictures(status);
  show(arrival.get("slide") ? "slide" : (memory.get("tab") ?? "picture"));
  await openSlides(status);
  document.body.dataset.ready = "true";
}

// A link to another place, opened where the page is open already, changes what stands behind the # alone.
window.addEventListener("hashchange", () => location.reload());

await open();
