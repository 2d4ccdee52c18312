// The map as a picture with an alternative text, pale while it belongs to other settings.

function render({ model, el }) {
  const image = document.createElement("img");
  const show = () => {
    const before = image.src;
    image.onload = () => before && URL.revokeObjectURL(before);
    image.src = URL.createObjectURL(new Blob([model.get("value")], { type: "image/png" }));
  };
  const describe = () => (image.alt = model.get("alt"));
  const mark = () => el.classList.toggle("xai-old", model.get("is_old"));
  el.classList.add("xai-picture");
  el.append(image);
  show();
  describe();
  mark();
  model.on("change:value", show);
  model.on("change:alt", describe);
  model.on("change:is_old", mark);
  // The boxes of ipywidgets have no roles; the one around this panel gets its own when
  // it is in the page.
  new ResizeObserver((_, observer) => {
    const panel = el.closest(".xai-panel");
    if (!panel) return;
    panel.setAttribute("role", "group");
    panel.setAttribute("aria-label", "Explanation of a prediction");
    // Else JupyterLab takes the arrow keys from the controls, and moves to another cell.
    panel.addEventListener("focusin", ({ target }) => {
      target.dataset.lmSuppressShortcuts = "true";
    });
    observer.disconnect();
  }).observe(el);
}

export default { render };
