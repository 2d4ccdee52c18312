// How far the work is; a bar without a value, which browsers animate, until that is known.

function render({ model, el }) {
  const bar = document.createElement("progress");
  const words = document.createElement("span");
  bar.setAttribute("aria-label", "progress");
  const show = () => {
    const done = model.get("value"), total = model.get("max");
    bar.max = total;
    if (done) bar.value = done;
    else bar.removeAttribute("value");
    words.textContent = done ? `${done} of ${total}` : "getting ready";
  };
  el.classList.add("xai-progress");
  el.append(bar, words);
  show();
  model.on("change:value change:max", show);
}

export default { render };
