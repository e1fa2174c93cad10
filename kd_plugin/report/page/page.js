"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  document.documentElement.classList.add("scripts");

  // Directions as tabs; without a script they follow one another.
  const directions = document.querySelector(".directions");
  const panels = all(".direction", directions);
  if (panels.length > 1) {
    const list = document.createElement("div");
    list.setAttribute("role", "tablist");
    directions.classList.add("tabbed");
    const show = (chosen) => panels.forEach((panel, index) => {
      panel.hidden = index !== chosen;
      list.children[index].setAttribute("aria-selected", String(index === chosen));
      list.children[index].tabIndex = index === chosen ? 0 : -1;
    });
    panels.forEach((panel, index) => {
      const tab = document.createElement("button");
      tab.type = "button";
      tab.textContent = panel.dataset.name;
      tab.id = `${panel.id}-tab`;
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", panel.id);
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", tab.id);
      tab.addEventListener("click", () => show(index));
      tab.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!step) return;
        const next = (index + step + panels.length) % panels.length;
        show(next);
        list.children[next].focus();
      });
      list.append(tab);
    });
    directions.prepend(list);
    const linked = panels.findIndex((panel) => panel.contains(document.getElementById(location.hash.slice(1))));
    show(Math.max(linked, 0));
  }

  // The slider between two images.
  for (const compare of all(".compare")) {
    const stage = compare.querySelector(".stage");
    const range = compare.querySelector("input");
    const [right, left] = all("img", stage);
    const move = () => compare.style.setProperty("--at", `${range.value}%`);
    range.addEventListener("input", move);
    move();
    const drag = (event) => {
      const box = stage.getBoundingClientRect();
      range.value = clamp(100 * (event.clientX - box.left) / box.width, 0, 100);
      move();
    };
    stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); drag(event); });
    stage.addEventListener("pointermove", (event) => { if (event.buttons) drag(event); });
    for (const select of all("select", compare)) {
      const side = select.dataset.side;
      const choose = () => {
        (side === "left" ? left : right).src = select.value;
        compare.querySelector(`.tag.${side}`).textContent = select.selectedOptions[0].textContent.trim();
      };
      select.addEventListener("change", choose);
      choose(); // a browser may have kept another choice when the page was loaded again
    }
  }

  // Relations: a script holds the matrices, since pixels of image files cannot be read from a page on a disk.
  const matrices = {};
  let script;
  window.kdRelations = (sample, images) => { matrices[sample] = images; };
  const load = (source) => {
    script ??= new Promise((resolve, reject) => {
      const element = document.createElement("script");
      element.src = source;
      element.onload = resolve;
      element.onerror = () => reject(new Error(`cannot load ${source}, which belongs next to this page`));
      document.head.append(element);
    });
    return script;
  };
  const STOPS = [[20, 20, 60], [50, 70, 160], [40, 150, 160], [140, 205, 90], [255, 240, 110]];
  const colour = (share) => {
    const place = clamp(share, 0, 1) * (STOPS.length - 1);
    const first = Math.min(Math.floor(place), STOPS.length - 2);
    return STOPS[first].map((value, channel) => value + (place - first) * (STOPS[first + 1][channel] - value));
  };

  for (const widget of all(".relations")) {
    const { sample, reference, script: source } = widget.dataset;
    const [rows, columns] = [Number(widget.dataset.rows), Number(widget.dataset.columns)];
    const status = widget.querySelector(".status");
    const pick = widget.querySelector(".pick");
    const maps = all(".map[data-subject]", widget);
    let cell = [Math.floor(rows / 2), Math.floor(columns / 2)];
    let images;

    const decode = async () => {
      await load(source);
      const found = {};
      for (const [key, data] of Object.entries(matrices[sample])) {
        found[key] = new Image();
        found[key].src = `data:image/png;base64,${data}`;
        await found[key].decode();
      }
      delete matrices[sample];
      return found;
    };
    const rowOf = (image, index) => {
      const strip = new OffscreenCanvas(image.naturalWidth, 1);
      const context = strip.getContext("2d");
      context.drawImage(image, 0, index, image.naturalWidth, 1, 0, 0, image.naturalWidth, 1);
      const pixels = context.getImageData(0, 0, image.naturalWidth, 1).data;
      return Float32Array.from({ length: rows * columns }, (_, i) => pixels[4 * i] / 127.5 - 1);
    };
    const paint = (canvas, values, low) => {
      const context = canvas.getContext("2d");
      const picture = context.createImageData(columns, rows);
      values.forEach((value, i) => picture.data.set([...colour((value - low) / (1 - low)), 255], 4 * i));
      context.putImageData(picture, 0, 0);
    };
    const draw = async () => {
      try {
        images ??= decode();
        const ready = await images;
        const index = cell[0] * columns + cell[1];
        const values = {};
        for (const map of maps) values[map.dataset.subject] = rowOf(ready[map.dataset.subject], index);
        // One scale for all maps, from the lowest value among them, so that their colours can be compared.
        const low = Math.min(...Object.values(values).map((row) => row.reduce((a, b) => Math.min(a, b), 0.99)));
        for (const map of maps) {
          const key = map.dataset.subject;
          paint(map.querySelector("canvas"), values[key], low);
          if (reference && key !== reference) {
            const distance = values[key].reduce((sum, value, i) => sum + Math.abs(value - values[reference][i]), 0);
            map.querySelector(".distance").textContent = `${(distance / values[key].length).toFixed(3)} from the teacher`;
          }
        }
        for (const mark of all(".cell", widget)) {
          Object.assign(mark.style, {
            top: `${100 * cell[0] / rows}%`, left: `${100 * cell[1] / columns}%`,
            height: `${100 / rows}%`, width: `${100 / columns}%`,
          });
        }
        widget.querySelector(".low").textContent = low.toFixed(2);
        widget.querySelector(".high").textContent = "1.00";
        status.textContent = `Row ${cell[0] + 1}, column ${cell[1] + 1} of ${rows} × ${columns} cells.`;
        widget.classList.add("drawn");
      } catch (error) {
        status.textContent = `The relations cannot be shown: ${error.message}.`;
      }
    };
    const stops = STOPS.map((stop) => `rgb(${stop.join(" ")})`).join(", ");
    widget.querySelector(".ramp").style.background = `linear-gradient(90deg, ${stops})`;
    pick.addEventListener("click", (event) => {
      const box = pick.querySelector(".layers").getBoundingClientRect();
      cell = [
        clamp(Math.floor(rows * (event.clientY - box.top) / box.height), 0, rows - 1),
        clamp(Math.floor(columns * (event.clientX - box.left) / box.width), 0, columns - 1),
      ];
      draw();
    });
    pick.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      cell = [clamp(cell[0] + step[0], 0, rows - 1), clamp(cell[1] + step[1], 0, columns - 1)];
      draw();
    });
    new IntersectionObserver((entries, observer) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      draw();
    }).observe(widget);
  }

  // Printing shows what is folded and not yet loaded.
  window.addEventListener("beforeprint", () => {
    all("details:not([open])").forEach((element) => { element.open = true; element.dataset.printed = ""; });
    all("img[loading=lazy]").forEach((image) => { image.loading = "eager"; });
  });
  window.addEventListener("afterprint", () => all("details[data-printed]").forEach((element) => {
    element.open = false;
    delete element.dataset.printed;
  }));
})();
