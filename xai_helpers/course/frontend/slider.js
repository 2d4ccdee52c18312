// A slider of ipywidgets as a native range input, with its label and its value in words.
// A list to choose from (a SelectionSlider) has a field to search in as well.

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function render({ model, el }) {
  // Each slider has a copy of this module, so that a counter here would not tell them apart.
  const id = `xai-slider-${Math.random().toString(36).slice(2)}`;
  const options = () => model.get("_options_labels");
  const trait = options() ? "index" : "value";
  const range = element("input", { type: "range", id });
  const label = element("label", { for: id }, model.get("description"));
  const words = element("output", { for: id });

  const inWords = (value) => {
    if (options()) return options()[value] ?? "";
    const decimals = `${model.get("step")}`.split(".")[1]?.length ?? 0;
    return value.toFixed(decimals);
  };
  const write = (value) => {
    words.textContent = search.placeholder = inWords(value);
    if (document.activeElement !== search) search.value = inWords(value);
    range.setAttribute("aria-valuetext", inWords(value));
  };
  const send = (value) => {
    model.set(trait, value);
    model.save_changes();
  };
  const show = () => {
    range.min = options() ? 0 : model.get("min");
    range.max = options() ? options().length - 1 : model.get("max");
    range.step = options() ? 1 : model.get("step");
    range.value = model.get(trait) ?? 0;
    list.replaceChildren(...(options() ?? []).map((value) => element("option", { value })));
    write(model.get(trait) ?? 0);
  };
  range.addEventListener("input", () => {
    write(range.valueAsNumber);
    if (model.get("continuous_update")) send(range.valueAsNumber);
  });
  range.addEventListener("change", () => send(range.valueAsNumber));

  const list = element("datalist", { id: `${id}-list` });
  const search = element("input", {
    type: "search", list: list.id, "aria-label": `${model.get("description")}, by name`,
  });
  const problem = element("span", { role: "alert" });
  const find = () => {
    const wanted = search.value.trim().toLowerCase();
    if (!wanted) return;
    const names = options().map((text) => text.toLowerCase());
    let place = names.findIndex((name) => name.split(" · ")[0] === wanted);
    if (place < 0) place = names.findIndex((name) => name.includes(wanted));
    problem.textContent = place < 0 ? `No ${model.get("description")} has “${wanted}” in its name.` : "";
    if (place < 0) return;
    range.value = place;
    send(place);
  };
  search.addEventListener("focus", () => (search.value = "")); // the list shows all
  search.addEventListener("blur", () => (search.value = inWords(range.valueAsNumber)));
  search.addEventListener("change", find);
  search.addEventListener("keydown", ({ key }) => key === "Enter" && search.blur());

  el.classList.add("xai-slider");
  el.append(label, ...(options() ? [search, list, range, problem] : [range, words]));
  show();
  for (const name of [trait, "min", "max", "step", "_options_labels"]) {
    model.on(`change:${name}`, show);
  }
}

export default { render };
