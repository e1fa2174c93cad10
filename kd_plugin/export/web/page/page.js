// Runs the generators of models.json on an image, with ONNX Runtime Web from the folder ort/. It is no module, which a
// browser would not load from a disk, so that the page can say then what to do.
"use strict";

const ROUNDS = 5; // measured runs of each generator
const query = new URLSearchParams(location.search);
const at = (id) => document.getElementById(id);
const say = (text) => { at("state").textContent = text; };

function fail(text) {
  at("problem").textContent = text;
  at("problem").hidden = false;
  say("");
}

function element(parent, name, text = "") {
  const made = parent.appendChild(document.createElement(name));
  made.textContent = text;
  return made;
}

const amount = (value, unit) => {
  if (!value) return "";
  const power = value >= 1e9 ? [1e9, "G"] : value >= 1e6 ? [1e6, "M"] : [1e3, "k"];
  return `${(value / power[0]).toFixed(2)} ${power[1]}${unit}`;
};

// The runtime: WebGPU where there is one, else WebAssembly.
async function load(backend) {
  if (backend === "webgpu" && !(navigator.gpu && await navigator.gpu.requestAdapter())) backend = "wasm";
  const ort = await import(`./ort/ort.${backend}.min.mjs`);
  ort.env.wasm.wasmPaths = new URL("ort/", location.href).href;
  // Threads need headers of isolation, which kd export --serve sends.
  ort.env.wasm.numThreads = crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 4) : 1;
  return { ort, backend };
}

class Generator {
  constructor(facts, info) {
    this.facts = facts;
    this.info = info;
    this.row = at("costs").appendChild(document.createElement("tr"));
    const name = element(this.row, "th", facts.name);
    name.scope = "row";
    for (const text of [amount(facts.bytes, "B"), amount(facts.parameters, ""), amount(facts.macs, "")]) {
      element(this.row, "td", text);
    }
    this.time = element(this.row, "td");
    this.speed = element(this.row, "td");
  }

  show() {
    const figure = at("images").appendChild(document.createElement("figure"));
    this.canvas = element(figure, "canvas");
    this.canvas.width = this.info.width;
    this.canvas.height = this.info.height;
    const caption = element(figure, "figcaption");
    element(caption, "strong", this.facts.name);
    this.caption = element(caption, "span");
  }

  async open(runtime) {
    if (this.runtime === runtime) return;
    this.session = await runtime.ort.InferenceSession.create(new URL(this.facts.file, location.href).href, {
      executionProviders: [runtime.backend],
    });
    this.runtime = runtime;
  }

  // values: Float32Array (C, H, W) in [-1, 1]; returns the same of the output, and the milliseconds.
  async run(values) {
    const { width, height } = this.info;
    const tensor = new this.runtime.ort.Tensor("float32", values, [1, this.facts.channels, height, width]);
    const begun = performance.now();
    const { translated } = await this.session.run({ images: tensor });
    const data = await translated.getData();
    return { data, channels: translated.dims[1], time: performance.now() - begun };
  }

  draw(output) {
    const { width, height } = this.info;
    const context = this.canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const pixels = width * height;
    for (let i = 0; i < pixels; i += 1) {
      for (let c = 0; c < 3; c += 1) {
        const value = output.data[(output.channels === 3 ? c : 0) * pixels + i];
        image.data[4 * i + c] = Math.floor((value + 1) * 127.5); // clamped by the array
      }
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    this.caption.textContent = `${output.time.toFixed(0)} ms`;
  }
}

// The centre of an image at the aspect ratio of the generators, as values (C, H, W) in [-1, 1].
function read(bitmap, canvas, channels) {
  const { width, height } = canvas;
  const scale = Math.max(width / bitmap.width, height / bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white"; // below transparent pixels
  context.fillRect(0, 0, width, height);
  const [w, h] = [bitmap.width * scale, bitmap.height * scale];
  context.drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
  const { data } = context.getImageData(0, 0, width, height);
  const pixels = width * height;
  const values = new Float32Array(channels * pixels);
  for (let i = 0; i < pixels; i += 1) {
    const [r, g, b] = [data[4 * i], data[4 * i + 1], data[4 * i + 2]];
    if (channels === 1) values[i] = (0.299 * r + 0.587 * g + 0.114 * b) / 127.5 - 1;
    else [r, g, b].forEach((value, c) => { values[c * pixels + i] = value / 127.5 - 1; });
  }
  return values;
}

async function begin() {
  if (location.protocol === "file:") {
    fail("A browser does not read models from a file: address. Serve the folder: kd export --web FOLDER --serve, or "
      + "python3 -m http.server in it.");
    return;
  }
  const info = await (await fetch("models.json")).json();
  document.title = info.title;
  at("title").textContent = info.title;
  const source = document.createElement("canvas");
  Object.assign(source, { width: info.width, height: info.height });
  const generators = info.models.map((facts) => new Generator(facts, info));
  let values = null;
  let runtime = null;
  let busy = false;
  let waiting = null;

  async function translate(file) {
    if (busy) {
      waiting = file;
      return;
    }
    busy = true;
    try {
      const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
      if (!at("images").childElementCount) {
        const figure = at("images").appendChild(document.createElement("figure"));
        figure.append(source);
        element(element(figure, "figcaption"), "strong", "input");
        generators.forEach((generator) => generator.show());
      }
      values = read(bitmap, source, generators[0].facts.channels);
      for (const generator of generators) {
        say(`${generator.facts.name}: ${generator.session ? "translating" : "loading"} ...`);
        runtime = runtime || await load(query.get("backend") || "webgpu");
        try {
          await generator.open(runtime);
          generator.draw(await generator.run(values));
        } catch (error) {
          if (runtime.backend === "wasm") throw error;
          runtime = await load("wasm"); // for what WebGPU does not run
          await generator.open(runtime);
          generator.draw(await generator.run(values));
        }
      }
      const threads = runtime.backend === "wasm" ? `, ${runtime.ort.env.wasm.numThreads} thread(s)` : "";
      at("runtime").textContent = `ONNX Runtime Web, ${runtime.backend === "wasm" ? "WebAssembly" : "WebGPU"}${threads}`
        + `, images of ${info.width}x${info.height} pixels.`;
      at("measure").disabled = false;
      at("problem").hidden = true;
      say("");
    } catch (error) {
      fail(`This image or generator does not run here: ${error.message || error}`);
    } finally {
      free();
    }
  }

  // The last image that was dropped meanwhile is next.
  function free() {
    busy = false;
    const next = waiting;
    waiting = null;
    if (next) translate(next);
  }

  async function measure() {
    if (busy || !values) return;
    busy = true;
    at("measure").disabled = true;
    try {
      for (const generator of generators) await generator.open(runtime);
      const times = generators.map(() => []);
      for (let round = 0; round < ROUNDS; round += 1) { // in turns, so that other load affects all
        for (const [i, generator] of generators.entries()) {
          say(`measuring, ${round + 1} of ${ROUNDS} ...`);
          times[i].push((await generator.run(values)).time);
        }
      }
      const medians = times.map((all) => all.sort((a, b) => a - b)[ROUNDS >> 1]);
      generators.forEach((generator, i) => {
        generator.time.textContent = `${medians[i].toFixed(0)} ms`;
        generator.speed.textContent = i ? `${(medians[0] / medians[i]).toFixed(2)}x faster` : "";
      });
      say("");
    } catch (error) {
      fail(`The speed cannot be measured: ${error.message || error}`);
    } finally {
      at("measure").disabled = false;
      free();
    }
  }

  const take = (files) => { if (files && files[0]) translate(files[0]); };
  for (const id of ["choose", "take"]) {
    at(id).addEventListener("change", (event) => { take(event.target.files); event.target.value = ""; });
  }
  const drop = at("drop");
  document.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  document.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => take(event.clipboardData.files));
  at("measure").addEventListener("click", measure);
  document.body.dataset.ready = "yes";
}

begin().catch((error) => fail(`The page cannot start: ${error.message || error}`));
