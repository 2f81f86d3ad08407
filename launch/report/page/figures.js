// Figures of lines: a caption, a chart by Chart.js, and the same numbers as a table.

const figures = [];  // to be drawn again when the reader chooses something else

// All lines show their nearest point, however far apart the runs' steps are.
Chart.Interaction.modes.nearestOfEach = (chart, event) => {
  const items = [];
  chart.data.datasets.forEach((dataset, datasetIndex) => {
    if (!chart.isDatasetVisible(datasetIndex)) return;
    let best = null;
    chart.getDatasetMeta(datasetIndex).data.forEach((point, index) => {
      const distance = Math.abs(point.x - event.x);
      if (!point.skip && (best === null || distance < best.distance)) best = { element: point, datasetIndex, index, distance };
    });
    if (best !== null) items.push(best);
  });
  const nearest = Math.min(...items.map((item) => item.distance));
  return items.filter((item) => item.distance <= nearest + 12);
};
Chart.Tooltip.positioners.nearestOfEach = Chart.Tooltip.positioners.nearest;

function scaleOptions(title, type) {
  return {
    type,
    title: { display: true, text: title, color: colour('muted'), font: { size: 11 } },
    grid: { color: colour('grid'), drawBorder: false },
    ticks: {
      color: colour('muted'), font: { size: 11 }, maxRotation: 0, autoSkipPadding: 14, maxTicksLimit: 9,
      callback: (value) => (type === 'logarithmic' && ![1, 2, 5].includes(leadingDigit(value)) ? null : shortNumber(value)),
    },
  };
}
function leadingDigit(value) { return Number(value.toExponential(0)[0]); }

// Positions in a text double from one to the next.
function doublingScale(title, values) {
  const scale = scaleOptions(title, 'logarithmic');
  scale.ticks.callback = (value) => formatLength(value);
  scale.ticks.autoSkip = true;
  scale.afterBuildTicks = (axis) => {
    const ticks = [];
    for (let power = 2 ** Math.ceil(Math.log2(Math.max(1, axis.min))); power <= axis.max; power *= 2) ticks.push({ value: power });
    if (ticks.length > 0) axis.ticks = ticks;
  };
  if (values.length > 0) Object.assign(scale, { min: Math.min(...values), max: Math.max(...values) });
  return scale;
}

function datasetOf(line) {
  return {
    label: line.label,
    data: line.points,
    borderColor: runColour(line.run),
    backgroundColor: runColour(line.run),
    borderWidth: 1.6,
    borderDash: line.dash || runDash(line.run),
    pointRadius: line.points.length <= 40 ? 2.5 : 0,
    pointHoverRadius: 4,
    pointStyle: line.dash?.length > 0 ? 'rectRot' : 'circle',
    hidden: choices.hidden.includes(line.run.name),
  };
}

// figure: {id, title, note, unit, logarithmic, doubling, wide, lines: () => [{run, label, dash, points: [{x, y}]}],
// xLabel: () => text}. Returns its element; null when there is nothing to draw.
function lineFigure(figure) {
  if (figure.lines().every((line) => line.points.length === 0)) return null;
  const canvas = element('canvas', { role: 'img', 'aria-label': figure.title });
  const toggle = element('button', { type: 'button', title: 'logarithmic y axis' }, 'log');
  const table = element('details', {}, element('summary', {}, 'Table'));
  const made = element('figure', { id: figure.id, class: figure.wide ? 'wide' : '' },
    element('figcaption', {}, element('h3', {}, figure.title), toggle),
    element('div', { class: 'plot' }, canvas),
    ...(figure.note ? [element('p', { class: 'note' }, figure.note)] : []), table);
  const isLogarithmic = () => choices.logarithmic[figure.id] ?? Boolean(figure.logarithmic);
  let chart = null;
  const draw = () => {
    if (chart) chart.destroy();
    const lines = figure.lines().filter((line) => line.points.length > 0);
    const xs = lines.flatMap((line) => line.points.map((point) => point.x));
    toggle.setAttribute('aria-pressed', String(isLogarithmic()));
    toggle.textContent = isLogarithmic() ? 'log' : 'linear';
    chart = new Chart(canvas, {
      type: 'line',
      data: { datasets: lines.map(datasetOf) },
      options: {
        animation: false, responsive: true, maintainAspectRatio: false, parsing: false, normalized: true,
        interaction: { mode: 'nearestOfEach', intersect: false },
        plugins: {
          legend: { display: lines.length > 1, position: 'bottom', onClick: null,
            labels: { color: colour('text'), boxWidth: 22, boxHeight: 1, font: { size: 11 }, filter: (item) => !item.hidden } },
          tooltip: { callbacks: {
            title: (items) => (items.length === 0 ? '' : `${figure.xLabel()} ${formatNumber(items[0].parsed.x)}`),
            label: (item) => `${item.dataset.label}: ${formatNumber(item.parsed.y)}`,
          } },
        },
        scales: {
          x: figure.doubling ? doublingScale(figure.xLabel(), xs) : scaleOptions(figure.xLabel(), 'linear'),
          y: scaleOptions(figure.unit, isLogarithmic() ? 'logarithmic' : 'linear'),
        },
      },
    });
    if (table.open) fillTable();
  };
  const fillTable = () => {
    table.querySelector('.scroll')?.remove();
    table.append(lineTable(figure.xLabel(), figure.lines().filter((line) => !choices.hidden.includes(line.run.name))));
  };
  table.addEventListener('toggle', () => { if (table.open) fillTable(); });
  toggle.addEventListener('click', () => {
    choices.logarithmic[figure.id] = !isLogarithmic();
    keepChoices();
    draw();
  });
  figures.push(draw);
  return made;
}

// The numbers of a column over the chosen x axis.
function linePoints(run, name, change = (value) => value) {
  const xs = run.columns[choices.axis] || [], ys = run.columns[name] || [];
  const points = [];
  xs.forEach((x, i) => {
    if (!isNumber(x)) return;
    const y = isNumber(ys[i]) ? change(ys[i]) : NaN;
    points.push({ x, y: isNumber(y) ? y : NaN });
  });
  return points.some((point) => isNumber(point.y)) ? points : [];
}
