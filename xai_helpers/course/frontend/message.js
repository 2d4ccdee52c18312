// Words that a screen reader reads out when they change. Python has escaped them.

function render({ model, el }) {
  const show = () => (el.innerHTML = model.get("value"));
  el.classList.add("xai-message");
  el.setAttribute("role", "status");
  show();
  model.on("change:value", show);
}

export default { render };
