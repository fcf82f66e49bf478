// From numbers to colours: the same shades as in slidecam's reports.

let shades = { plain: [], signed: [] };

export const learnShades = (told) => { shades = told; };

/** Return shades as a table of 256 x 4 bytes: red, green, blue, cover. */
const table = (signed) => (signed ? shades.signed : shades.plain);

/** Return an ImageData of values 0 to 1 (-1 to 1 if signed); what is not a number is clear. */
export function coloured(values, width, height, signed) {
  const image = new ImageData(width, height);
  const colours = table(signed);
  for (let i = 0; i < values.length; i += 1) {
    if (Number.isNaN(values[i])) continue;
    const share = signed ? (values[i] + 1) / 2 : values[i];
    image.data.set(colours[Math.round(255 * Math.min(1, Math.max(0, share)))], 4 * i);
  }
  return image;
}

/** Return a canvas of its own with such an image on it. */
export function raster(values, width, height, signed) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  canvas.getContext("2d").putImageData(coloured(values, width, height, signed), 0, 0);
  return canvas;
}

/** Paint the scale of the colours on a canvas. */
export function paintScale(canvas, signed) {
  const values = Float32Array.from({ length: canvas.width * canvas.height }, (_, i) => {
    const share = (i % canvas.width) / (canvas.width - 1);
    return signed ? 2 * share - 1 : share;
  });
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(raster(values, canvas.width, canvas.height, signed), 0, 0);
}

/** Enlarge rows of numbers to width x height, straight lines between the cells' centres. */
export function enlarged(rows, width, height) {
  const [down, across] = [rows.length, rows[0].length];
  const values = new Float32Array(width * height);
  for (let y = 0; y < height; y += 1) {
    const [top, bottom, low] = between(((y + 0.5) * down) / height - 0.5, down);
    for (let x = 0; x < width; x += 1) {
      const [left, right, part] = between(((x + 0.5) * across) / width - 0.5, across);
      const upper = rows[top][left] * (1 - part) + rows[top][right] * part;
      const lower = rows[bottom][left] * (1 - part) + rows[bottom][right] * part;
      values[y * width + x] = upper * (1 - low) + lower * low;
    }
  }
  return values;
}

function between(place, count) {
  const inside = Math.min(count - 1, Math.max(0, place));
  const first = Math.floor(inside);
  return [first, Math.min(count - 1, first + 1), inside - first];
}
