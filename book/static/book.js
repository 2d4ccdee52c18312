// Sliders over frames, figures that can be enlarged, and boxes that scroll by keyboard.
"use strict";

// A file cannot be fetched: from a folder, the search shows titles without excerpts.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS === "object") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}

function moveWithSlider(figure) {
  const frames = JSON.parse(figure.querySelector("script").textContent);
  const slider = figure.querySelector("input");
  const image = figure.querySelector("img");
  const show = () => {
    const frame = frames[slider.value];
    image.src = frame.src;
    image.alt = frame.alt;
    slider.setAttribute("aria-valuetext", frame.label);
    figure.querySelector("output").textContent = frame.label;
    figure.querySelector(".text").textContent = frame.text;
  };
  slider.addEventListener("input", show);
  // Fetched when the reader comes near, so that no step of the slider waits.
  slider.addEventListener(
    "pointerenter",
    () => frames.forEach((frame) => (new Image().src = frame.src)),
    { once: true },
  );
}

const dialog = document.createElement("dialog");
dialog.className = "enlarged";
dialog.setAttribute("aria-label", "Enlarged figure");
dialog.innerHTML =
  '<form method="dialog"><button>Close</button></form>' +
  '<div tabindex="0" role="group" aria-label="Figure, to be scrolled"></div>';

function enlarge(image) {
  const copy = image.cloneNode();
  copy.removeAttribute("aria-describedby");
  dialog.querySelector("div").replaceChildren(copy);
  dialog.showModal();
}

function canBeEnlarged(figure) {
  const image = figure.querySelector("img");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Enlarge";
  button.setAttribute("aria-haspopup", "dialog");
  button.setAttribute("aria-label", `Enlarge: ${image.alt}`);
  button.addEventListener("click", () => enlarge(image));
  image.addEventListener("click", () => !button.hidden && enlarge(image));
  image.after(button);
  const update = () => {
    button.hidden = image.width >= image.naturalWidth;
    image.classList.toggle("shrunk", !button.hidden);
  };
  new ResizeObserver(update).observe(image);
  image.addEventListener("load", update);
}

function scrollByKeyboard(box) {
  const update = () => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  };
  new ResizeObserver(update).observe(box);
}

document.querySelectorAll("figure.frames").forEach(moveWithSlider);
document.querySelectorAll("figure.picture").forEach(canBeEnlarged);
document
  .querySelectorAll("article pre, article .output, article .table-wrapper, article .math-wrapper")
  .forEach(scrollByKeyboard);
document.body.append(dialog);
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
