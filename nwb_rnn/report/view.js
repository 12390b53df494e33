"use strict";
(function () {
  const data = JSON.parse(document.getElementById("scene").textContent);
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#6B4C9A", "#8C8C00", "#1A1A1A"];
  const el = (id) => document.getElementById(id);

  function add(parent, tag, text) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    parent.appendChild(made);
    return made;
  }
  function fill(select, texts, chosen) {
    texts.forEach((text, k) => { const o = add(select, "option", text); o.value = String(k); });
    select.value = String(chosen);
  }
  function fitted(canvas) {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.fillStyle = "#ffffff";
    pen.fillRect(0, 0, width, height);
    pen.font = "13px system-ui, sans-serif";
    pen.lineJoin = "round";
    return { pen, width, height };
  }

  /* one step of the network without noise: z' = a z + V phi(M z + W v; h) */
  const net = data.network;
  const PHI = {
    relu: (x, h) => Math.max(x - h, 0),
    clipped_relu: (x, h) => Math.max(x + h, 0) - Math.max(x, 0),
    tanh: (x, h) => Math.tanh(x - h),
    softplus: (x, h) => Math.max(x - h, 0) + Math.log1p(Math.exp(-Math.abs(x - h))),
    identity: (x, h) => x - h,
  };
  function step(z, input) {
    const R = net.rank, U = net.inputNames.length, phi = PHI[net.activation];
    const next = z.map((value) => net.decay * value);
    for (let n = 0; n < net.units; n++) {
      let x = 0;
      for (let r = 0; r < R; r++) x += net.left[n * R + r] * z[r];
      for (let u = 0; u < U; u++) x += net.inputs[n * U + u] * (input ? input[u] : 0);
      const rate = phi(x, net.bias[n]);
      if (rate !== 0) for (let r = 0; r < R; r++) next[r] += net.right[n * R + r] * rate;
    }
    return next;
  }

  function mark(pen, x, y, stable) {
    pen.beginPath();
    pen.arc(x, y, 5, 0, 2 * Math.PI);
    pen.fillStyle = stable ? "#000000" : "#ffffff";
    pen.strokeStyle = "#000000";
    pen.lineWidth = 1.6;
    pen.fill();
    pen.stroke();
  }

  /* latents in three dimensions */
  const turn = { about: 0.7, up: 0.45, zoom: 1 };
  function latents() {
    const canvas = el("latents-view"), paths = data.latents, R = paths.rank;
    const pick = ["axis-x", "axis-y", "axis-z"].map(el);
    const names = Array.from({ length: R }, (_, k) => "latent " + (k + 1)).concat("time (s)");
    pick.forEach((select, k) => fill(select, names, k < R ? k : R));
    if (R === 1) { pick[0].value = "1"; pick[1].value = "0"; pick[2].value = "1"; }
    const colour = el("colour");
    fill(colour, ["time in the trial", "trial"].concat(paths.columns.map((c) => c.name)), 0);

    const value = (trial, t, k) => (k === R ? trial.time[t] : trial.z[t * R + k]);
    function draw() {
      const axes = pick.map((s) => Number(s.value)), how = Number(colour.value);
      const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
      for (const trial of paths.trials)
        for (let t = 0; t < trial.time.length; t++)
          for (let j = 0; j < 3; j++) {
            const v = value(trial, t, axes[j]);
            if (v < low[j]) low[j] = v;
            if (v > high[j]) high[j] = v;
          }
      const { pen, width, height } = fitted(canvas);
      const size = 0.3 * Math.min(width, height) * turn.zoom;
      const ca = Math.cos(turn.about), sa = Math.sin(turn.about), cu = Math.cos(turn.up), su = Math.sin(turn.up);
      const flat = (p) => {
        const x = ca * p[0] - sa * p[1], y = sa * p[0] + ca * p[1];
        return [width / 2 + size * x, height / 2 - size * (cu * p[2] - su * y)];
      };
      const scaled = (v, j) => (high[j] > low[j] ? (2 * (v - low[j])) / (high[j] - low[j]) - 1 : 0);
      pen.strokeStyle = "#b5b5b5";
      pen.lineWidth = 1;
      for (let j = 0; j < 3; j++) {
        const start = [-1, -1, -1], end = [-1, -1, -1], label = [-1, -1, -1];
        end[j] = 1;
        label[j] = j === 2 ? 1.1 : 1.18;
        pen.beginPath();
        pen.moveTo(...flat(start));
        pen.lineTo(...flat(end));
        pen.stroke();
        const at = flat(label);
        pen.fillStyle = "#333333";
        pen.textAlign = at[0] > width / 2 ? "right" : "left";
        pen.fillText(names[axes[j]], Math.min(Math.max(at[0], 4), width - 4), Math.min(Math.max(at[1], 16), height - 6));
      }
      pen.lineWidth = paths.trials.length > 60 ? 0.7 : 1.1;
      paths.trials.forEach((trial, b) => {
        const count = trial.time.length, point = (t) => flat(axes.map((k, j) => scaled(value(trial, t, k), j)));
        if (how === 0) {
          const pieces = 12;
          for (let piece = 0; piece < pieces; piece++) {
            const from = Math.floor((piece * (count - 1)) / pieces), to = Math.floor(((piece + 1) * (count - 1)) / pieces);
            const share = piece / (pieces - 1);
            pen.strokeStyle = "hsl(" + (245 - 205 * share) + " 85% " + (32 + 15 * share) + "%)";
            line(pen, from, to, point);
          }
        } else {
          const k = how === 1 ? b : paths.columns[how - 2].values[b];
          pen.strokeStyle = COLOURS[k % COLOURS.length];
          line(pen, 0, count - 1, point);
        }
      });
      for (const p of data.points) {
        const at = flat(axes.map((k, j) => scaled(k === R ? low[j] : p.z[k], j)));
        if (at[0] > 0 && at[0] < width && at[1] > 0 && at[1] < height) mark(pen, at[0], at[1], p.stable);
      }
      legend(how);
      canvas.dataset.turn = turn.about.toFixed(3) + " " + turn.up.toFixed(3);
    }
    function line(pen, from, to, point) {
      pen.beginPath();
      for (let t = from; t <= to; t++) t === from ? pen.moveTo(...point(t)) : pen.lineTo(...point(t));
      pen.stroke();
    }
    function legend(how) {
      const box = el("colour-key");
      box.textContent = "";
      if (how === 0) add(box, "span", "blue at the start of a trial, yellow at its end");
      else if (how > 1)
        paths.columns[how - 2].levels.forEach((text, k) => {
          add(box, "span", "● ").style.color = COLOURS[k % COLOURS.length];
          add(box, "span", text + "  ");
        });
    }
    let held = null;
    canvas.addEventListener("pointerdown", (e) => { held = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); });
    canvas.addEventListener("pointermove", (e) => {
      if (!held) return;
      turn.about += (e.clientX - held[0]) * 0.01;
      turn.up = Math.max(-1.57, Math.min(1.57, turn.up + (e.clientY - held[1]) * 0.01));
      held = [e.clientX, e.clientY];
      draw();
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { held = null; });
    canvas.addEventListener("keydown", (e) => {
      const move = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[e.key];
      if (move) { turn.about += move[0]; turn.up += move[1]; }
      else if (e.key === "+") turn.zoom *= 1.1;
      else if (e.key === "-") turn.zoom /= 1.1;
      else return;
      e.preventDefault();
      draw();
    });
    pick.concat(colour).forEach((s) => s.addEventListener("change", draw));
    return draw;
  }

  /* the flow in the plane of two latents */
  function flow() {
    const canvas = el("flow-view"), R = net.rank, box = el("flow-controls");
    const state = { centre: net.centre.slice(), input: net.inputNames.map(() => 0), paths: [] };
    const names = Array.from({ length: R }, (_, k) => "latent " + (k + 1));
    const pick = ["flow-x", "flow-y"].map(el);
    pick.forEach((select, k) => fill(select, names, k));
    const sliders = [];
    function slider(text, from, to, start, set) {
      const label = add(box, "label", text + " "), input = add(label, "input");
      Object.assign(input, { type: "range", min: String(from), max: String(to), step: "any", value: String(start) });
      input.addEventListener("input", () => { set(Number(input.value)); state.paths = []; draw(); });
      return label;
    }
    for (let k = 0; k < R; k++)
      sliders.push(slider(names[k] + " at", net.centre[k] - net.reach[k], net.centre[k] + net.reach[k], net.centre[k],
        (v) => { state.centre[k] = v; }));
    net.inputNames.forEach((name, k) => slider(name, -1, 1, 0, (v) => { state.input[k] = v; }));
    const plane = () => pick.map((s) => Number(s.value));
    let place = null, back = null;
    function draw() {
      const [i, j] = plane(), { pen, width, height } = fitted(canvas);
      sliders.forEach((label, k) => { label.hidden = k === i || k === j; });
      if (i === j) { pen.fillStyle = "#333333"; pen.fillText("choose two different latents", 20, 30); return; }
      const pad = 46, w = width - pad - 12, h = height - pad - 12;
      place = (z) => [pad + (w * (z[i] - net.centre[i] + net.reach[i])) / (2 * net.reach[i]),
        12 + (h * (net.centre[j] + net.reach[j] - z[j])) / (2 * net.reach[j])];
      back = (x, y) => {
        const z = state.centre.slice();
        z[i] = net.centre[i] - net.reach[i] + (2 * net.reach[i] * (x - pad)) / w;
        z[j] = net.centre[j] + net.reach[j] - (2 * net.reach[j] * (y - 12)) / h;
        return z;
      };
      const grid = width < 500 ? 17 : 25, arrows = [];
      let most = 1e-12;
      for (let a = 0; a < grid; a++)
        for (let b = 0; b < grid; b++) {
          const x = pad + (w * (a + 0.5)) / grid, y = 12 + (h * (b + 0.5)) / grid, z = back(x, y);
          const next = step(z, state.input), to = place(next), from = place(z);
          const d = [to[0] - from[0], to[1] - from[1]], length = Math.hypot(d[0], d[1]);
          most = Math.max(most, length);
          arrows.push([x, y, d, length]);
        }
      for (const [x, y, d, length] of arrows) {
        if (length === 0) continue;
        const size = (0.42 * Math.min(w, h) / grid) * (0.35 + 0.65 * Math.sqrt(length / most));
        const ux = d[0] / length, uy = d[1] / length;
        pen.strokeStyle = pen.fillStyle = "#7a7a7a";
        pen.lineWidth = 1;
        pen.beginPath();
        pen.moveTo(x - ux * size, y - uy * size);
        pen.lineTo(x + ux * size, y + uy * size);
        pen.stroke();
        pen.beginPath();
        pen.moveTo(x + ux * (size + 2), y + uy * (size + 2));
        pen.lineTo(x + ux * (size - 4) - uy * 3, y + uy * (size - 4) + ux * 3);
        pen.lineTo(x + ux * (size - 4) + uy * 3, y + uy * (size - 4) - ux * 3);
        pen.fill();
      }
      pen.save();
      pen.beginPath();
      pen.rect(pad, 12, w, h);
      pen.clip();
      if (data.latents) {
        pen.strokeStyle = "rgba(0,114,178,0.45)";
        pen.lineWidth = 0.8;
        let left = 3000; /* bins: more of them hide the arrows */
        for (const trial of data.latents.trials.slice(0, 12)) {
          const count = Math.min(trial.time.length, left);
          left -= count;
          pen.beginPath();
          for (let t = 0; t < count; t++) pen.lineTo(...place(trial.z.slice(t * R, t * R + R)));
          pen.stroke();
        }
      }
      pen.strokeStyle = "#D55E00";
      pen.lineWidth = 2;
      for (const path of state.paths) {
        pen.beginPath();
        path.forEach((z) => pen.lineTo(...place(z)));
        pen.stroke();
      }
      for (const p of data.points) mark(pen, ...place(p.z), p.stable);
      pen.restore();
      pen.strokeStyle = "#333333";
      pen.lineWidth = 1;
      pen.strokeRect(pad, 12, w, h);
      pen.fillStyle = "#333333";
      pen.textAlign = "center";
      pen.fillText(names[i], pad + w / 2, height - 8);
      const text = (v) => String(Number(v.toPrecision(2)));
      for (const s of [-1, 0, 1]) {
        pen.textAlign = s < 0 ? "left" : s > 0 ? "right" : "center";
        pen.fillText(text(net.centre[i] + s * net.reach[i]), pad + (w * (s + 1)) / 2, height - 26);
        pen.textAlign = "right";
        pen.fillText(text(net.centre[j] + s * net.reach[j]), pad - 4, 12 + (h * (1 - s)) / 2 + (s > 0 ? 11 : s < 0 ? 0 : 5));
      }
      pen.save();
      pen.translate(12, 12 + h / 4);
      pen.rotate(-Math.PI / 2);
      pen.textAlign = "center";
      pen.fillText(names[j], 0, 0);
      pen.restore();
    }
    canvas.addEventListener("click", (e) => {
      if (!back) return;
      let z = back(e.offsetX, e.offsetY);
      const path = [z];
      for (let t = 0; t < 2000; t++) { z = step(z, state.input); path.push(z); }
      state.paths = state.paths.concat([path]).slice(-8);
      canvas.dataset.paths = String(state.paths.length);
      draw();
    });
    pick.forEach((s) => s.addEventListener("change", () => { state.paths = []; draw(); }));
    return draw;
  }

  const drawn = [];
  if (data.latents) drawn.push(latents());
  if (net) drawn.push(flow());
  const all = () => drawn.forEach((draw) => draw());
  window.addEventListener("resize", all);
  window.addEventListener("beforeprint", all);
  window.nwbRnn = { step, turn };
  all();
})();
