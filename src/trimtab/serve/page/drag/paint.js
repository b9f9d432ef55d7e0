// What is drawn over the picture: points with arrows, the brush, the line between before and after.

const HANDLE = "#e5383b";
const TARGET = "#1f6feb";
const LOST = "#f0a30a";
const RIM = "#ffffff";
const DOT_PX = 6.5;

/** Draw all points. @param {(place: number[]) => number[]} seen from the picture's pixels to the canvas's */
export function drawPoints(pen, points, { seen, ratio }) {
  points.all.forEach((point, index) => {
    const [from, to] = [seen(point.at), seen(point.to)];
    if (Math.hypot(to[0] - from[0], to[1] - from[1]) > 2 * ratio) arrow(pen, from, to, ratio);
    dot(pen, to, TARGET, ratio);
    dot(pen, from, point.lost ? LOST : HANDLE, ratio);
    if (points.all.length > 1) label(pen, String(index + 1), from, ratio);
    if (index === points.chosen) ring(pen, from, to, ratio);
  });
}

function arrow(pen, from, to, ratio) {
  const angle = Math.atan2(to[1] - from[1], to[0] - from[0]);
  const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
  const tip = 9 * ratio;
  for (const [colour, width] of [["#0009", 4.5], [RIM, 2]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = width * ratio;
    pen.lineCap = "round";
    pen.lineJoin = "round";
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(...to);
    if (length > 26 * ratio) {
      const back = (DOT_PX + 2) * ratio;
      const head = [to[0] - back * Math.cos(angle), to[1] - back * Math.sin(angle)];
      for (const turn of [-0.5, 0.5]) {
        pen.moveTo(...head);
        pen.lineTo(head[0] - tip * Math.cos(angle + turn), head[1] - tip * Math.sin(angle + turn));
      }
    }
    pen.stroke();
  }
}

function dot(pen, [x, y], colour, ratio) {
  pen.beginPath();
  pen.arc(x, y, DOT_PX * ratio, 0, 2 * Math.PI);
  pen.fillStyle = colour;
  pen.shadowColor = "#0007";
  pen.shadowBlur = 4 * ratio;
  pen.fill();
  pen.shadowColor = "transparent";
  pen.lineWidth = 2 * ratio;
  pen.strokeStyle = RIM;
  pen.stroke();
}

function ring(pen, from, to, ratio) {
  pen.strokeStyle = RIM;
  pen.lineWidth = 1.5 * ratio;
  for (const [x, y] of [from, to]) {
    pen.beginPath();
    pen.arc(x, y, (DOT_PX + 4) * ratio, 0, 2 * Math.PI);
    pen.stroke();
  }
}

function label(pen, text, [x, y], ratio) {
  pen.font = `600 ${11 * ratio}px system-ui, sans-serif`;
  pen.textAlign = "center";
  pen.textBaseline = "bottom";
  pen.lineWidth = 3 * ratio;
  pen.strokeStyle = "#000a";
  pen.strokeText(text, x, y - 10 * ratio);
  pen.fillStyle = RIM;
  pen.fillText(text, x, y - 10 * ratio);
}

/** Draw the outline of the brush. */
export function drawBrush(pen, [x, y], radius, ratio) {
  for (const [colour, width] of [["#000a", 3], [RIM, 1.5]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = width * ratio;
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.stroke();
  }
}

/** Draw the line between the picture before, on its left, and after. */
export function drawDivider(pen, x, side, ratio) {
  pen.fillStyle = RIM;
  pen.fillRect(x - ratio, 0, 2 * ratio, side);
  pen.font = `600 ${12 * ratio}px system-ui, sans-serif`;
  pen.textBaseline = "top";
  pen.fillStyle = RIM;
  pen.shadowColor = "#000c";
  pen.shadowBlur = 4 * ratio;
  for (const [text, align, by] of [["Before", "right", -10], ["After", "left", 10]]) {
    pen.textAlign = align;
    pen.fillText(text, x + by * ratio, 10 * ratio);
  }
  pen.shadowColor = "transparent";
}

/** Draw the square of a photo, turned by an angle in degrees, with what is outside it darkened. */
export function drawSquare(pen, { centre, half, angle, side }, ratio) {
  pen.save();
  pen.translate(...centre);
  pen.rotate((angle * Math.PI) / 180);
  const path = new Path2D();
  path.rect(-4 * side, -4 * side, 8 * side, 8 * side);
  path.rect(-half, -half, 2 * half, 2 * half);
  pen.fillStyle = "#000a";
  pen.fill(path, "evenodd");
  pen.strokeStyle = RIM;
  pen.lineWidth = 2 * ratio;
  pen.strokeRect(-half, -half, 2 * half, 2 * half);
  pen.beginPath();
  pen.moveTo(0, -half);
  pen.lineTo(0, -half - 18 * ratio);
  pen.stroke();
  dot(pen, [half, half], TARGET, ratio);
  dot(pen, [0, -half - 18 * ratio], HANDLE, ratio);
  pen.restore();
}
