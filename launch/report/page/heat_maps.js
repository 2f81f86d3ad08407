// Heat maps: tables whose cells have colours, so that they can be read without them, too.

function mix(from, to, share) {
  const parse = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const [a, b] = [parse(from), parse(to)];
  return a.map((value, i) => Math.round(value + (b[i] - value) * share));
}
function paint(cell, rgb) {
  const [red, green, blue] = rgb.map((value) => (value / 255) ** 2.2);
  cell.style.background = `rgb(${rgb.join(', ')})`;
  cell.style.color = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.2 ? '#111' : '#fff';
}
function sequential(share) { return mix(colour('cell-low'), colour('cell-high'), Math.min(1, Math.max(0, share))); }
// 0.5 is neutral: neither from the segment nor from the memory.
function diverging(share) {
  const middle = colour('cell-middle');
  return share < 0.5 ? mix(middle, colour('cell-local'), 1 - 2 * share) : mix(middle, colour('cell-memory'), 2 * share - 1);
}
function colourScale(low, high, stops) {
  const bar = element('i');
  figures.push(() => {
    bar.style.background = `linear-gradient(90deg, ${stops.map((stop) => `rgb(${stop().join(', ')})`).join(', ')})`;
  });
  return element('div', { class: 'scale' }, low, bar, high);
}

// Shares of keys found, (lengths, depths): `pick` takes {share, low, high} from a cell.
function passkeyMap(title, cells, pick) {
  const lengths = [...new Set(cells.map((cell) => cell.length))].sort((a, b) => a - b);
  const depths = [...new Set(cells.map((cell) => cell.depth))].sort((a, b) => a - b);
  const body = element('tbody');
  for (const length of lengths) {
    const row = element('tr', {}, element('th', { scope: 'row' }, formatLength(length)));
    for (const depth of depths) {
      const cell = cells.find((candidate) => candidate.length === length && candidate.depth === depth);
      const found = cell && pick(cell);
      const box = element('td', {}, '–');
      if (found && cell.samples > 0) {
        const interval = `${formatShare(found.low).replace(' %', '')}–${formatShare(found.high)}`;
        box.replaceChildren(formatShare(found.share), element('small', {}, interval));
        figures.push(() => paint(box, sequential(found.share)));
        explain(box, () => `${title}\n${formatNumber(length)} tokens, depth ${depth}: ${formatShare(found.share)} of ` +
          `${cell.samples} keys\n95 % interval ${interval}`);
      }
      row.append(box);
    }
    body.append(row);
  }
  return element('div', { class: 'map' }, element('h4', {}, title), element('div', { class: 'scroll' },
    element('table', { class: 'heat' }, element('thead', {}, element('tr', {}, element('th', {}, 'length'),
      ...depths.map((depth) => element('th', { scope: 'col' }, 'depth ' + depth)))), body)));
}

// Gates of a run, (layers, heads), with a slider over the steps.
function gateMap(run) {
  const { steps, values } = run.gates;
  const heads = Math.max(...values[0].map((layer) => layer.length));
  const dense = heads > 12;
  let frame = steps.length - 1;
  const boxes = values[frame].map((layer, layerIndex) => layer.map((_, head) => {
    const box = element('td');
    explain(box, () => `step ${formatNumber(steps[frame])}, layer ${layerIndex}, head ${head}: ` +
      `${formatNumber(values[frame][layerIndex]?.[head], 3)} from memory`);
    return box;
  }));
  const slider = element('input', { type: 'range', min: 0, max: steps.length - 1, value: frame, 'aria-label': 'step of the gates of ' + run.name });
  const label = element('span');
  const draw = () => {
    frame = Number(slider.value);
    label.textContent = `step ${formatNumber(steps[frame])}`;
    boxes.forEach((layer, layerIndex) => layer.forEach((box, head) => {
      const gate = values[frame][layerIndex]?.[head];
      paint(box, diverging(isNumber(gate) ? gate : 0.5));
      if (!dense) box.textContent = isNumber(gate) ? gate.toFixed(2) : '–';
    }));
  };
  slider.addEventListener('input', draw);
  figures.push(draw);
  return element('div', { class: 'map gate-map' }, element('h4', {}, run.name), element('div', { class: 'scroll' },
    element('table', { class: 'heat gates' + (dense ? ' dense' : '') }, element('thead', {}, element('tr', {}, element('th', {}, 'layer'),
      ...Array.from({ length: heads }, (_, head) => element('th', { scope: 'col' }, dense && head % 4 !== 0 ? '' : `${dense ? '' : 'head '}${head}`)))),
    element('tbody', {}, ...boxes.map((layer, index) => element('tr', {}, element('th', { scope: 'row' }, String(index)), ...layer))))),
  ...(steps.length > 1 ? [element('div', { class: 'slider' }, slider, label)] : [element('div', { class: 'slider' }, label)]));
}
