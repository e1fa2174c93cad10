// Runs the generators of models.json on an image, with ONNX Runtime Web from the folder ort/. It is no module, which a
// browser would not load from a disk, so that the page can say then what to do.
"use strict";

const ROUNDS = 5; // measured runs of each generator
const PLAN_ROUNDS = 3; // of a plan, over all generators
const VISIT = 300; // milliseconds of measured runs in each
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

function described({ backend, ort }) {
  const threads = ort.env.wasm.numThreads;
  const where = backend === "wasm" ? `WebAssembly, ${threads} thread${threads === 1 ? "" : "s"}` : "WebGPU";
  return `ONNX Runtime Web, ${where}`;
}

const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];

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

  async close() {
    const { session } = this;
    this.session = null;
    this.runtime = null;
    if (session) await session.release();
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

// The times of generators in milliseconds, the first of which is the teacher.
function showTimes(generators, times) {
  generators.forEach((generator, i) => {
    generator.time.textContent = `${times[i].toFixed(times[i] < 10 ? 1 : 0)} ms`;
    const ratio = times[0] / times[i];
    const text = ratio < 1 ? `${(1 / ratio).toFixed(2)}x slower` : `${ratio.toFixed(2)}x faster`;
    generator.speed.textContent = i ? text : "";
  });
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
  const generators = info.models.map((facts) => new Generator(facts, info));
  if (info.device) beginPlan(info, generators);
  else beginImages(info, generators);
  document.body.dataset.ready = "yes";
}

// The page of kd plan --web: it measures the generators, whose weights are random, and makes device.json.
function beginPlan(info, generators) {
  document.body.classList.add("plan");
  const bytes = generators.reduce((sum, { facts }) => sum + facts.bytes, 0);
  at("about").textContent = `How fast is each on this device? ${generators.length} generators, `
    + `${amount(bytes, "B")}, run here one after the other. Keep this page in front meanwhile.`;
  at("measure").textContent = "Measure the speed on this device";
  at("measure").disabled = false;
  at("measure").addEventListener("click", async () => {
    at("measure").disabled = true;
    at("problem").hidden = true;
    at("save").hidden = true;
    at("progress").hidden = false;
    try {
      let runtime = await load(query.get("backend") || "webgpu");
      let times;
      try {
        times = await timePlan(generators, runtime, info);
      } catch (error) {
        if (runtime.backend === "wasm") throw error;
        runtime = await load("wasm"); // for what WebGPU does not run: all in one runtime, as they are compared
        times = await timePlan(generators, runtime, info);
      }
      showTimes(generators, times);
      at("runtime").textContent = `${described(runtime)}, images of ${info.width}x${info.height} pixels.`
        + (isSecureContext ? "" : " Browsers have WebGPU and threads at https and localhost addresses only.");
      await save(info, generators, times, runtime);
    } catch (error) {
      fail(`The speed cannot be measured: ${error.message || error}`);
    } finally {
      at("measure").disabled = false;
      at("progress").hidden = true;
    }
  });
}

// The time of each generator in milliseconds. All of them do not fit into the memory of a phone, so that they cannot
// take turns run by run: each is loaded, run for a moment and released in turn, and the turns are repeated, so that other
// load, or a device that becomes warm, affects all of them. Clocks of browsers are as coarse as a millisecond, so a
// turn's time is the mean of its runs.
async function timePlan(generators, runtime, { width, height }) {
  const values = new Float32Array(generators[0].facts.channels * width * height); // grey: no time depends on them
  const times = generators.map(() => []);
  for (let round = 0; round < PLAN_ROUNDS; round += 1) {
    for (const [i, generator] of generators.entries()) {
      say(`${generator.facts.name}, round ${round + 1} of ${PLAN_ROUNDS} ...`);
      at("progress").value = (round + i / generators.length) / PLAN_ROUNDS;
      await new Promise((done) => { setTimeout(done, 20); }); // to draw
      try {
        await generator.open(runtime);
        await generator.run(values); // the first run allocates memory and compiles
        const begun = performance.now();
        let [runs, spent] = [0, 0];
        do {
          await generator.run(values);
          runs += 1;
          spent = performance.now() - begun;
        } while (spent < VISIT);
        times[i].push(spent / runs);
      } finally {
        await generator.close();
      }
    }
  }
  say("");
  return times.map(median);
}

// Offers device.json to be saved, and sends it to the server if that is kd plan --web FOLDER --serve.
async function save(info, generators, times, runtime) {
  const timed = generators.map(({ facts }, i) => ({ spec: facts.spec, seconds: times[i] / 1000 }));
  const content = {
    ...info.device,
    date: new Date().toISOString(),
    width: info.width,
    height: info.height,
    runtime: described(runtime),
    user_agent: navigator.userAgent.slice(0, 500),
    teacher: timed[0],
    students: timed.slice(1),
  };
  const text = `${JSON.stringify(content, null, 2)}\n`;
  URL.revokeObjectURL(at("save").href);
  at("save").href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  at("save").hidden = false;
  try {
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch("device.json", { method: "POST", headers, body: text });
    if (answer.ok) say("Saved on the server: device.json.");
    else if ([400, 413, 500].includes(answer.status)) fail(`device.json is not received: ${await answer.text()}`);
  } catch { // no server any more: it can still be saved here
    say("");
  }
}

// The page of kd export --web: it translates images.
function beginImages(info, generators) {
  const source = document.createElement("canvas");
  Object.assign(source, { width: info.width, height: info.height });
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
      at("runtime").textContent = `${described(runtime)}, images of ${info.width}x${info.height} pixels.`;
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
      showTimes(generators, times.map(median));
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
}

begin().catch((error) => fail(`The page cannot start: ${error.message || error}`));
