// Tables of a page, and those behind its figures.

// Rows of cells: texts, or elements. `kinds`: "text" for columns that are aligned to the left.
function makeTable(heading, rows, kinds = []) {
  const cell = (tag, content, index) => element(tag, kinds[index] === 'text' ? { class: 'text' } : {}, content ?? '–');
  return element('div', { class: 'scroll' }, element('table', {},
    element('thead', {}, element('tr', {}, ...heading.map((name, i) => cell('th', name, i)))),
    element('tbody', {}, ...rows.map((row) => element('tr', {}, ...row.map((content, i) => cell('td', content, i)))))));
}

// A row for each x, a column for each line.
function lineTable(xLabel, lines) {
  const rows = new Map();
  lines.forEach((line, column) => {
    for (const { x, y } of line.points) {
      if (!rows.has(x)) rows.set(x, new Array(lines.length).fill(undefined));
      rows.get(x)[column] = y;
    }
  });
  const sorted = [...rows.entries()].sort((a, b) => a[0] - b[0]);
  return makeTable([xLabel, ...lines.map((line) => line.label)],
    sorted.map(([x, values]) => [formatNumber(x, 6), ...values.map((value) => formatNumber(value, 6))]));
}

function tableDetails(title, make) {
  const details = element('details', {}, element('summary', {}, title));
  details.addEventListener('toggle', () => {
    if (details.open && details.childElementCount === 1) details.append(make());
  });
  return details;
}

// "12.34 ± 0.56", the error smaller.
function withError(value, error, digits) {
  if (!isNumber(value)) return '–';
  const text = element('span', {}, formatNumber(value, digits));
  if (isNumber(error)) text.append(element('span', { class: 'error' }, ' ± ' + formatNumber(error, 2)));
  return text;
}
