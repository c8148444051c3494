// Scrolls the images of a page: one NiiVue view per image, all at the same place, with contours of our own.
const $ = id => document.getElementById(id);
const settings = JSON.parse($("settings").textContent);
const section = $("viewer"), box = section.querySelector(".panels");
const state = {};  // set by restart()
const views = [];
let library, solid, flickering;

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const plain = atob(text), bytes = new Uint8Array(plain.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = plain.charCodeAt(at);
  return bytes;
}

async function unpacked(name) {
  const bytes = fromBase64($(`part-${name}`).textContent);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

// A NIfTI file of 8 bit. Each slice is stored as its difference from the one before, which takes a third less room.
const files = {};
const file = name => files[name] ??= unpacked(name).then(content => {
  const [columns, rows] = new Int16Array(content, 42, 2), voxels = new Uint8Array(content, 352);
  for (let at = columns * rows; at < voxels.length; at++) voxels[at] += voxels[at - columns * rows];
  return content;
});

// A slice: the grey levels between black and white, and per layer a line along the pixels of the screen whose neighbours
// lie outside it, so that a contour is that of this plane, one pixel wide at every zoom.
function shader() {
  const bits = settings.layers.map(layer => `${layer.values.reduce((sum, value) => sum + 2 ** value, 0)}u`);
  const colours = settings.layers.map(layer =>
    `vec3(${[1, 3, 5].map(at => (parseInt(layer.colour.slice(at, at + 2), 16) / 255).toFixed(4))})`);
  const count = settings.layers.length;
  return `#version 300 es
precision highp float; precision highp int;
uniform highp sampler3D volume, overlay;
uniform vec2 levels; uniform float fill, line; uniform int shown;
in vec3 texPos; out vec4 color;
uint bitAt(vec3 at) {
  ivec3 size = textureSize(overlay, 0), voxel = ivec3(floor(at * vec3(size)));
  if (any(lessThan(voxel, ivec3(0))) || any(greaterThanEqual(voxel, size))) return 1u;
  return 1u << uint(texelFetch(overlay, voxel, 0).r * 255.0 / 8.0 + 0.5);  // values are stored eight times as large, to survive the colours' rounding
}
void main() {
  float grey = clamp((texture(volume, texPos).r - levels.x) / (levels.y - levels.x), 0.0, 1.0);
  vec3 across = dFdx(texPos) * max(line, 1.0), along = dFdy(texPos) * max(line, 1.0), drawn = vec3(grey);
  uint here = bitAt(texPos), left = bitAt(texPos - across), right = bitAt(texPos + across);
  uint low = bitAt(texPos - along), high = bitAt(texPos + along);
  uint bits[${count}] = uint[${count}](${bits});
  vec3 colours[${count}] = vec3[${count}](${colours});
  for (int i = 0; i < ${count}; i++) {
    if ((shown >> i & 1) == 0 || (bits[i] & here) == 0u) continue;
    drawn = mix(vec3(grey), colours[i], fill);
    if (line > 0.0 && ((bits[i] & left) == 0u || (bits[i] & right) == 0u || (bits[i] & low) == 0u || (bits[i] & high) == 0u))
      drawn = colours[i];
  }
  color = vec4(drawn, 1.0);
}`;
}

function draw(view) {
  const gl = view.niivue.gl, program = view.niivue.customSliceShader.program, at = name => gl.getUniformLocation(program, name);
  gl.useProgram(program);
  gl.uniform2f(at("levels"), ...view.levels);
  gl.uniform1f(at("fill"), state.outlined ? state.fill : 0);
  gl.uniform1f(at("line"), state.outlined ? 1.1 * devicePixelRatio : 0);
  gl.uniform1i(at("shown"), state.layers);
  view.niivue.drawScene();
}
let due = 0;  // once per picture of the screen, however much changes
const drawAll = () => due ||= requestAnimationFrame(() => {
  due = 0;
  views.filter(view => view.niivue.canvas.offsetParent).forEach(draw);
});

function place(name) {
  const figure = document.createElement("figure"), caption = document.createElement("figcaption");
  caption.textContent = name;
  figure.append(caption);
  box.append(figure);
  return figure;
}

async function open(figure, options) {
  const canvas = document.createElement("canvas");
  canvas.setAttribute("aria-label", figure.textContent);
  canvas.setAttribute("role", "img");
  figure.append(canvas);
  const niivue = new library.Niivue({ isRadiologicalConvention: true, sagittalNoseLeft: true, isSliceMM: true, dragAndDropEnabled: false, logLevel: "error",
    multiplanarShowRender: library.SHOW_RENDER.NEVER, backColor: [0, 0, 0, 1], crosshairColor: [0.6, 0.9, 0.6, 0.6], crosshairWidth: 0.7, crosshairWidthUnit: "mm", crosshairGap: 12, showAllOrientationMarkers: true, fontColor: [1, 1, 1, 1],
    fontMinPx: 12, loadingText: "", isResizeCanvas: true, multiplanarPadPixels: 24, rulerColor: [1, 0.9, 0.2, 1], rulerWidth: 2, measureTextColor: [1, 0.9, 0.2, 1], viewModeHotKey: "", clipPlaneHotKey: "", cycleClipPlaneHotKey: "", ...options });
  niivue.meshShaders = [];  // there are no meshes, and each of these takes time to compile
  await niivue.attachToCanvas(canvas, false);
  return niivue;
}

async function volume(name, colours = "gray") {
  const image = await library.NVImage.new(await file(name), `${name}.nii`, colours, 1);
  [image.cal_min, image.cal_max] = [0, 255];
  return image;
}

function load(niivue, below, above) {
  niivue.volumes.push(below);
  niivue.addVolume(above);  // which draws both
}

// The other views follow the one that was used: same point, same zoom.
function follow(leader) {
  for (const { niivue } of views) {
    if (niivue === leader) continue;
    niivue.scene.crosshairPos = [...leader.scene.crosshairPos];
    niivue.scene.pan2Dxyzmm = [...leader.scene.pan2Dxyzmm];
  }
  drawAll();
  const mm = leader.frac2mm(leader.scene.crosshairPos);
  $("where").textContent = ["RL", "AP", "SI"].map((letters, axis) => `${letters[+(mm[axis] < 0)]} ${Math.abs(mm[axis]).toFixed(0)}`).join("  ") + " mm";
}

const lead = () => views[Math.max(0, state.large)].niivue;
function moveTo(fractions) {
  lead().scene.crosshairPos = fractions;
  follow(lead());
}
const jump = ras => moveTo(lead().mm2frac(ras));
function step(slices) {
  const axis = { coronal: 1, sagittal: 0 }[state.plane] ?? 2, place = [...lead().scene.crosshairPos];
  place[axis] = Math.min(1, Math.max(0, place[axis] + slices / lead().volumes[0].dimsRAS[axis + 1]));
  moveTo(place);
}
function zoom(factor) {
  const pan = [...lead().scene.pan2Dxyzmm];
  pan[3] = Math.min(16, Math.max(0.5, pan[3] * factor));
  lead().scene.pan2Dxyzmm = pan;
  follow(lead());
}
function reset() {
  views.forEach((view, number) => {
    view.levels = [...settings.panels[number].window];
    view.niivue.document.completedMeasurements = [];
  });
  lead().scene.pan2Dxyzmm = [0, 0, 0, 1];
  follow(lead());
}

function arrange() {
  const { AXIAL, CORONAL, SAGITTAL, MULTIPLANAR } = library.SLICE_TYPE, { DRAG_MODE: mode } = library;
  const left = { point: mode.crosshair, window: mode.none, ruler: mode.measurement, move: mode.pan }[state.tool];
  for (const view of views) {
    view.niivue.opts.mouseEventConfig = { leftButton: { primary: left, withShift: mode.pan, withCtrl: mode.pan }, rightButton: mode.none, centerButton: mode.pan };
    view.niivue.opts.dragMode = left;
    view.niivue.opts.sliceType = { axial: AXIAL, coronal: CORONAL, sagittal: SAGITTAL, planes: MULTIPLANAR }[state.plane];
    const away = state.large >= 0 && views[state.large] !== view;
    view.figure.hidden = away && !flickering;
    view.figure.style.visibility = away && flickering ? "hidden" : "";  // it keeps its size, so it is there at once
  }
  box.classList.toggle("stacked", flickering > 0);
  section.style.setProperty("--columns", flickering ? 1 : box.querySelectorAll("figure:not([hidden])").length);
  section.querySelector(`[name=plane][value=${state.plane}]`).checked = true;
  drawAll();
}

async function showSolid(wanted) {
  wanted &&= $("part-brain") !== null;
  $("solid").checked = wanted;
  if (wanted && !solid) solid = await openSolid();
  if (solid) solid.figure.hidden = !wanted;
  arrange();
}

// Tumour in a translucent brain: what most layers hold is opaque, so that a core is seen through the rest of its tumour.
// Outside the brain mask there is nothing, so that no face is ever shown.
async function openSolid() {
  const figure = place("3D");
  const niivue = await open(figure, { sliceType: library.SLICE_TYPE.RENDER, show3Dcrosshair: false, isOrientCube: true });
  const brain = new Uint8Array(await file("brain"), 352), marked = await volume(`marked${settings.panels.at(-1).marked}`, "marked");
  marked.img = marked.img.map((value, at) => value || 4 * brain[at]);
  const present = new Set(marked.img), values = Array.from({ length: 31 }, (_, at) => at + 1).filter(value => present.has(8 * value));
  const holding = value => settings.layers.filter(one => one.shown && one.values.includes(value));
  const most = Math.max(...values.map(value => holding(value).length));
  const colours = { R: [128, 128], G: [128, 128], B: [128, 128], A: [0, 3], I: [0, 4] };
  for (const value of values) {
    const layers = holding(value), colour = layers.at(-1)?.colour ?? "#808080";
    [colours.R, colours.G, colours.B].forEach((list, at) => list.push(parseInt(colour.slice(2 * at + 1, 2 * at + 3), 16)));
    colours.A.push([255, 24, 8][most - layers.length] ?? 8);
    colours.I.push(8 * value);
  }
  [colours.R, colours.G, colours.B, colours.A].forEach(list => list.push(0));
  colours.I.push(255);
  niivue.addColormap("marked", colours);
  niivue.addVolume(marked);
  return { figure, niivue };
}

function flicker(on) {
  clearInterval(flickering);
  if ($("flicker")) $("flicker").checked = on;
  const next = () => { state.large = (state.large + 1) % views.length; arrange(); };
  flickering = on ? setInterval(next, 700) : 0;
  if (on && solid) showSolid(false);
  if (on) next(); else { state.large = -1; arrange(); }
}

const keys = {
  ArrowUp: () => step(1), ArrowDown: () => step(-1), PageUp: () => step(5), PageDown: () => step(-5),
  ArrowRight: () => nextPlace(1), ArrowLeft: () => nextPlace(-1),
  " ": () => { $("outlined").checked = state.outlined = !state.outlined; drawAll(); },
  "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), "0": reset,
  a: () => { state.plane = "axial"; arrange(); }, c: () => { state.plane = "coronal"; arrange(); },
  s: () => { state.plane = "sagittal"; arrange(); }, p: () => { state.plane = "planes"; arrange(); },
  d: () => showSolid(!$("solid").checked), f: () => $("flicker") && flicker(!$("flicker").checked),
};
for (let number = 0; number < settings.panels.length; number++)
  keys[number + 1] = () => { state.large = state.large === number ? -1 : number; arrange(); };

const places = [...section.querySelectorAll("nav button")];
let current = -1;
function goTo(number) {
  current = number;
  places.forEach((one, at) => one.setAttribute("aria-current", at === number));
  places[number].scrollIntoView({ block: "nearest" });
  jump(places[number].dataset.ras.split(" ").map(Number));
}
const nextPlace = by => places.length && goTo((Math.max(current, by < 0 ? 0 : -1) + by + places.length) % places.length);

function listen() {
  places.forEach((one, number) => one.addEventListener("click", () => goTo(number)));
  $("planes").addEventListener("change", event => event.target.name === "plane" && (state.plane = event.target.value, arrange()));
  $("tools").addEventListener("change", event => { state.tool = event.target.value; arrange(); });
  $("solid").addEventListener("change", event => showSolid(event.target.checked));
  $("flicker")?.addEventListener("change", event => flicker(event.target.checked));
  $("reset").addEventListener("click", reset);
  $("layers").addEventListener("input", event => {
    const one = event.target;
    if (one.id === "outlined") state.outlined = one.checked;
    else if (one.id === "fill") state.fill = +one.value;
    else state.layers = one.checked ? state.layers | 1 << one.value : state.layers & ~(1 << one.value);
    drawAll();
  });
  // Before NiiVue's own keys; those that a control needs stay with it while it is used by the keyboard.
  addEventListener("keydown", event => {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const needed = { radio: /^(Arrow| )/, range: /^(Arrow|Page)/, checkbox: /^ $/, button: /^ $/ }[event.target.type];
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[key]) return;
    if (event.target.matches("summary, a") || (event.target.matches(":focus-visible") && needed?.test(key))) return;
    event.preventDefault();
    event.stopPropagation();
    keys[key]();
  }, true);
}

// Brightness and contrast by dragging (right button, or left with that tool); zoom by Ctrl and the wheel.
function steer(view) {
  let from = null;
  const own = event => event.button === 2 || (event.button === 0 && state.tool === "window");
  view.figure.addEventListener("mousedown", event => {
    if (!own(event)) return;
    event.stopPropagation(); event.preventDefault();
    from = { x: event.clientX, y: event.clientY, levels: [...view.levels] };
  }, true);
  addEventListener("mousemove", event => {
    if (!from) return;
    event.stopPropagation();
    const [low, high] = from.levels, middle = (low + high) / 2 + (event.clientY - from.y) / 400;
    const width = Math.max(0.02, (high - low) * Math.exp((event.clientX - from.x) / 200));
    view.levels = [middle - width / 2, middle + width / 2];
    draw(view);
  }, true);
  addEventListener("mouseup", () => { from = null; }, true);
  view.figure.addEventListener("contextmenu", event => event.preventDefault());
  view.figure.addEventListener("wheel", event => {
    if (!event.ctrlKey) return;
    event.stopPropagation(); event.preventDefault();
    zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15);
  }, { capture: true, passive: false });
  let waiting = false;
  const then = event => {  // NiiVue keeps these events to itself, so: after it, once per picture
    if (waiting || (event.type === "mousemove" && !event.buttons)) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; follow(view.niivue); });
  };
  for (const name of ["mousemove", "mouseup", "touchmove", "wheel"]) view.figure.addEventListener(name, then, { capture: true, passive: true });
}

function restart() {
  Object.assign(state, { plane: settings.plane, tool: "point", outlined: true, fill: 0, large: -1 });
  state.layers = settings.layers.reduce((sum, layer, number) => sum | layer.shown << number, 0);
  section.querySelectorAll("#layers [type=checkbox][value]").forEach(one => { one.checked = state.layers >> one.value & 1; });
  section.querySelector("[name=tool]").checked = $("outlined").checked = true;
  $("fill").value = 0;
  flicker(false);
  showSolid(false);
  reset();
  if (places.length) goTo(0);
}

// What is seen at once: the page's own picture of each image, until it can be scrolled.
async function showPictures() {
  const pictures = document.querySelectorAll(".first svg");
  const figures = settings.panels.map((panel, number) => {
    const figure = place(panel.title);
    if (pictures[number]) figure.append(pictures[number].cloneNode(true));
    return figure;
  });
  $("where").textContent = "loading …";
  await new Promise(shown => requestAnimationFrame(() => setTimeout(shown)));
  section.dataset.pictures = performance.now().toFixed(0);
  return figures;
}

async function start() {
  if (!document.createElement("canvas").getContext("webgl2")) return;
  section.hidden = false;
  section.style.setProperty("--columns", settings.panels.length);
  document.body.classList.add("live");
  const figures = await showPictures();
  library = await import(URL.createObjectURL(new Blob([await unpacked("niivue")], { type: "text/javascript" })));
  for (const [number, panel] of settings.panels.entries()) {
    const niivue = await open(figures[number], {});
    niivue.setCustomSliceShader(shader());
    load(niivue, await volume(`image${number}`), await volume(`marked${panel.marked}`));
    const view = { figure: figures[number], niivue, levels: [...panel.window] };
    views.push(view);
    steer(view);
  }
  listen();
  restart();
  requestAnimationFrame(() => {
    box.querySelectorAll("svg").forEach(picture => picture.remove());
    section.dataset.ready = performance.now().toFixed(0);
  });
  window.gliomaseg = { views, restart };
}
start().catch(error => {  // the pictures are there instead
  section.hidden = true;
  document.body.classList.remove("live");
  console.error(error);
});
