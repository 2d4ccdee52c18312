// A photo from the reader's computer or phone. The page makes a large one smaller before
// it is sent: a server cuts the connection at a message of more than 10 MB.

const MOST_BYTES = 6e6; // of a file that is sent as it is
const MOST_PIXELS = 2400; // of the longer side of one that is made smaller

async function smaller(file) {
  const picture = await createImageBitmap(file); // turned as its EXIF data say
  const scale = Math.min(1, MOST_PIXELS / Math.max(picture.width, picture.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(picture.width * scale);
  canvas.height = Math.round(picture.height * scale);
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // a JPEG has no transparent pixels
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
}

function render({ model, el }) {
  const button = document.createElement("button");
  const input = document.createElement("input");
  button.className = "jupyter-button";
  button.textContent = model.get("description");
  input.type = "file";
  input.accept = model.get("accept");
  input.hidden = true;
  button.addEventListener("click", () => input.click());
  input.addEventListener("change", async () => {
    const file = input.files[0];
    input.value = ""; // so that the same file can be chosen again
    if (!file) return;
    let content = file;
    try {
      if (file.size > MOST_BYTES) content = await smaller(file);
    } catch {
      content = new Blob(); // a file of that size that the browser cannot read
    }
    const { name, type, size, lastModified } = file;
    const bytes = new DataView(await content.arrayBuffer());
    model.set("value", [{ name, type, size, last_modified: lastModified, content: bytes }]);
    model.save_changes();
  });
  el.append(button, input);
}

export default { render };
