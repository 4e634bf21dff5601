// Show the result of result.json: slices, 3D and the list of segments, with niivue.
import { MULTIPLANAR_TYPE, Niivue, SHOW_RENDER } from "./niivue.js";

const byId = (id) => document.getElementById(id);
const hidden = new Set();

function colours({ segments, drawn }) {
  const table = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
  for (const [value, owners] of drawn) {
    const top = owners.find((owner) => !hidden.has(owner)); // the smallest segment that is shown
    const { name, color } = segments[top ?? owners[0]];
    table.R.push(color[0]);
    table.G.push(color[1]);
    table.B.push(color[2]);
    table.A.push(top === undefined ? 0 : 255);
    table.I.push(value);
    table.labels.push(name);
  }
  return table;
}

function row(segment, number, changed, go) {
  const line = document.createElement("tr");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.checked = true;
  box.title = "Show";
  box.onchange = () => {
    if (box.checked) hidden.delete(number);
    else hidden.add(number);
    changed();
  };
  const swatch = document.createElement("span");
  swatch.className = "swatch";
  swatch.style.background = `rgb(${segment.color.join(",")})`;
  const name = document.createElement("button");
  name.textContent = segment.name; // never as HTML: names come from files
  name.disabled = segment.centreRas === null;
  name.onclick = () => go(segment);
  const cells = [[box, swatch], [name], [segment.centreRas ? segment.volumeMl.toFixed(2) : "not found"]];
  for (const content of cells) {
    const cell = document.createElement("td");
    cell.append(...content);
    line.append(cell);
  }
  return line;
}

async function show() {
  const result = await (await fetch("result.json")).json();
  byId("title").textContent = result.result;
  byId("image").textContent = result.image ? `on ${result.image}` : "without its image";
  document.title = result.result;
  const viewer = new Niivue({
    isRadiologicalConvention: true, // the patient's right is on the left, as in Slicer
    sagittalNoseLeft: true,
    showAllOrientationMarkers: true,
    isOrientCube: true,
    fontColor: [1, 1, 0.4, 1],
    multiplanarShowRender: SHOW_RENDER.ALWAYS,
    isNearestInterpolation: true,
    dragAndDropEnabled: false,
    multiplanarLayout: MULTIPLANAR_TYPE.GRID,
    crosshairWidth: 0.5,
    crosshairWidthUnit: "percent", // in mm, a line would be thinner than a pixel on a whole head
  });
  await viewer.attachToCanvas(byId("view"));
  await viewer.loadVolumes([
    { url: "image.nii", name: "image.nii" },
    { url: "labels.nii", name: "labels.nii", opacity: Number(byId("opacity").value) },
  ]);
  viewer.setSliceType(viewer.sliceTypeMultiplanar);
  const draw = () => {
    viewer.volumes[1].setColormapLabel(colours(result));
    viewer.updateGLVolume();
  };
  const go = ({ centreRas }) => {
    viewer.scene.crosshairPos = viewer.mm2frac(centreRas);
    viewer.drawScene();
    viewer.createOnLocationChange();
  };
  byId("segments").append(...result.segments.map((segment, number) => row(segment, number, draw, go)));
  byId("opacity").oninput = (event) => viewer.setOpacity(1, Number(event.target.value));
  byId("shown").onchange = (event) => viewer.setOpacity(0, event.target.checked ? 1 : 0);
  byId("shown").disabled = result.image === null;
  byId("layout").onchange = (event) => viewer.setSliceType(Number(event.target.value));
  draw();
  const first = result.segments.find((segment) => segment.centreRas);
  if (first) go(first);
  byId("state").textContent = "";
  document.body.dataset.ready = "yes"; // for tests
}

show().catch((error) => {
  byId("state").textContent = `The result cannot be shown: ${error.message}. The browser needs WebGL 2.`;
});
