// The sections of the page: each a function that returns its elements, or nothing when no run has what it shows. A new
// one is a function here and its line in `sections`.

const withSteps = report.runs.filter((run) => run.columns.step?.length > 0);

// Where along the chosen axis a step of a run lies: step 0 at 0, and one that is not shown between those around it.
function axisAt(run, step) {
  if (choices.axis === 'step') return step;
  const steps = run.columns.step, values = run.columns[choices.axis] || [];
  const after = steps.findIndex((candidate) => candidate >= step);
  if (after < 0) return values[steps.length - 1];
  if (steps[after] === step) return values[after];
  const [begin, low] = after > 0 ? [steps[after - 1], values[after - 1]] : [0, 0];
  return isNumber(low) && isNumber(values[after]) ? low + (values[after] - low) * (step - begin) / (steps[after] - begin) : null;
}

function runLines(name, change) {
  return () => withSteps.map((run) => ({ run, label: run.name, points: linePoints(run, name, change) }));
}
function lossLines(change) {
  return () => [...runLines('loss', change)(), ...splitLines((line) => change(line.negative_log_likelihood / line.tokens))];
}
// A line for every split that was evaluated while a run was trained.
function splitLines(value) {
  return withSteps.flatMap((run) => [...new Set(run.validation.map((line) => line.split))].map((split, i) => ({
    run, label: `${run.name}, ${split}`, dash: [[4, 3], [1, 3], [8, 3, 2, 3]][i % 3],
    points: run.validation.filter((line) => line.split === split).map((line) => ({ x: axisAt(run, line.step), y: value(line) }))
      .filter((point) => isNumber(point.x) && isNumber(point.y)),
  })));
}

const xLabel = () => axes[choices.axis].label;
const trainingFigures = [
  { id: 'loss', title: 'Loss', unit: 'nats per token', lines: lossLines((value) => value) },
  { id: 'perplexity', title: 'Perplexity', unit: 'per token', logarithmic: true, lines: lossLines(Math.exp) },
  { id: 'forgetting', title: 'Forgetting: loss above the least so far', unit: 'nats per token', lines: () => splitLines((line) => line.forgetting) },
  { id: 'answer-accuracy', title: 'Answers right in training', unit: 'share of answer tokens', column: 'answer_accuracy' },
  { id: 'learning-rate', title: 'Learning rate', unit: 'learning rate', column: 'learning_rate' },
  { id: 'gate-learning-rate', title: 'Learning rate of the memory gates', unit: 'learning rate', column: 'memory_gate_learning_rate' },
  { id: 'gradient-norm', title: 'Gradient norm', unit: 'norm before clipping', logarithmic: true, column: 'gradient_norm' },
  { id: 'throughput', title: 'Throughput', unit: 'tokens per second', column: 'tokens_per_second' },
  { id: 'model-flops', title: 'Model FLOPs per second', unit: 'FLOP/s', column: 'model_flops_per_second' },
  { id: 'mfu', title: 'Utilisation of the machine (MFU)', unit: 'share of its best product rate', column: 'mfu' },
  { id: 'step-seconds', title: 'Seconds a step', unit: 'seconds', column: 'step_seconds' },
  { id: 'skipped-steps', title: 'Steps skipped so far', unit: 'steps', column: 'skipped_steps' },
];
const notDrawn = new Set(['step', 'tokens', 'hours', 'loss', 'time']);

function trainingSection() {
  const known = new Set(trainingFigures.map((figure) => figure.column));
  const others = [...new Set(withSteps.flatMap((run) => Object.keys(run.columns)))]
    .filter((name) => !known.has(name) && !notDrawn.has(name))
    .map((name) => ({ id: 'column-' + name, title: name.replaceAll('_', ' '), unit: name, column: name }));
  const isWorth = (figure) => figure.column !== 'skipped_steps' ||
    withSteps.some((run) => run.columns.skipped_steps?.some((value) => value > 0));
  const made = [...trainingFigures, ...others].filter(isWorth)
    .map((figure) => lineFigure({ xLabel, lines: runLines(figure.column), ...figure })).filter(Boolean);
  return made.length > 0 ? [element('div', { class: 'grid' }, ...made)] : null;
}

// A mean and its interval, with a sign if it is a difference.
function estimate(found, sign = '') {
  const digits = (value) => (value > 0 ? sign : '') + value.toFixed(4);
  return element('span', {}, digits(found.mean), element('span', { class: 'error' }, ` (${digits(found.low)} to ${digits(found.high)})`));
}

function confidencesOf(results) {
  return [...new Set(results.map(({ result }) => formatShare(result.confidence)))].join(', ');
}

// Of the summaries that were written while a run was trained, and what `palimpsest rouge` said of texts.
function rougeSection() {
  const measures = ['ROUGE-1', 'ROUGE-2', 'ROUGE-L', 'ROUGE-Lsum'].map((title) => [title, title.replace('-', '').replace('ROUGE', 'rouge')]);
  const made = measures.map(([title, key]) => {
    return lineFigure({ id: key, title, unit: 'F1', xLabel, lines: () => withSteps.map((run) => ({
      run, label: run.name, points: run.summaries.map((line) => ({ x: axisAt(run, line.step), y: line[key]?.f1 }))
        .filter((point) => isNumber(point.x) && isNumber(point.y)),
    })) });
  }).filter(Boolean);
  const grid = made.length > 0 ? [element('div', { class: 'grid' }, ...made)] : [];
  const results = resultsOf('rouges');
  if (results.length === 0) return grid.length > 0 ? grid : null;
  const rows = results.map(({ run, result }) => [run.name, result.file, formatNumber(result.texts), result.stem ? 'stemmed' : 'as they are',
    ...measures.map(([, key]) => estimate(result[key].f1))]);
  const parts = results.flatMap(({ run, result }) => measures.map(([title, key]) =>
    [run.name, result.file, title, ...['recall', 'precision', 'f1'].map((part) => estimate(result[key][part]))]));
  return [...grid, element('figure', { class: 'wide', id: 'rouges' },
    makeTable(['run', 'result', 'texts', 'words', ...measures.map(([title]) => title)], rows, ['text', 'text', , 'text']),
    element('p', { class: 'note' }, `F1, means over texts and their intervals (${confidencesOf(results)}) by the bootstrap.`),
    tableDetails('Recall and precision', () => makeTable(['run', 'result', 'measure', 'recall', 'precision', 'F1'], parts, ['text', 'text', 'text'])))];
}

function overviewSection() {
  const last = (run, name) => {
    const column = run.columns[name] || [];
    return column[column.length - 1];
  };
  const rows = report.runs.map((run) => {
    const validation = run.validation.filter((line) => line.split === 'validation').at(-1);  // not one of evaluation.sets
    return [run.name, formatNumber(last(run, 'step')), formatNumber(last(run, 'tokens')), formatDuration(last(run, 'hours')),
      formatNumber(last(run, 'loss')), formatNumber(validation?.token_perplexity), formatNumber(last(run, 'tokens_per_second'), 3), run.path];
  });
  return [element('figure', { class: 'wide' }, makeTable(
    ['run', 'last step', 'tokens', 'trained for', 'loss', 'validation perplexity', 'tokens/s', 'directory'], rows, ['text', , , , , , , 'text']))];
}

function gatesSection() {
  const runs = withSteps.filter((run) => run.gates.steps.length > 0);
  if (runs.length === 0) return null;
  const table = (run) => tableDetails(`Table of ${run.name}`, () => makeTable(
    ['step', ...run.gates.values[0].flatMap((layer, i) => layer.map((_, head) => `layer ${i}, head ${head}`))],
    run.gates.steps.map((step, i) => [formatNumber(step), ...run.gates.values[i].flat().map((gate) => formatNumber(gate, 4))])));
  return [element('figure', { class: 'wide', id: 'gates' },
    element('p', { class: 'note' }, 'The share that each head takes from the memory, sigmoid(β). Where every gate stays at its start, the memory plays no part.'),
    colourScale('0: segment only', '1: memory only', [() => diverging(0), () => diverging(0.5), () => diverging(1)]),
    element('div', { class: 'maps' }, ...runs.map(gateMap)), ...runs.map(table))];
}

// Every result of every run, with a name that tells it from the others.
function resultsOf(kind) {
  return report.runs.flatMap((run) => run[kind].map((result, index) => ({
    run, result, index, label: report.runs.length > 1 || run[kind].length === 1 ? `${run.name}, ${result.file}` : result.file,
  })));
}

function evaluationSection() {
  const results = resultsOf('scores');
  if (results.length === 0) return null;
  const measures = ['token_perplexity', 'word_perplexity', 'bits_per_byte'];
  const readingOf = (result) => (result.window ? `windows of ${result.window}, stride ${result.stride}` : result.memory ?? '–');
  const scoreCells = (score, errors) => [formatNumber(score.tokens), formatNumber(score.words),
    ...measures.map((name) => withError(score[name], errors?.[name], 5))];
  const heading = ['tokens', 'words', 'token perplexity', 'word perplexity', 'bits per byte'];
  const table = makeTable(['run', 'result', 'step', 'memory', 'documents', ...heading],
    results.map(({ run, result }) => [run.name, result.file + (result.complete === false ? ' (not complete)' : ''), formatNumber(result.step),
      readingOf(result), formatNumber(result.documents?.length), ...scoreCells(result.total, result.total.standard_error)]),
    ['text', 'text', , 'text']);
  const documents = results.filter(({ result }) => result.documents?.length > 1).map(({ result, label }) =>
    tableDetails(`Documents of ${label}`, () => makeTable(['document', ...heading],
      result.documents.map((document) => [document.title ?? document.name ?? '–', ...scoreCells(document)]), ['text'])));
  const byPosition = (key) => () => results.map(({ run, result, index, label }) => ({
    run, label, dash: [[], [6, 3], [2, 3], [8, 3, 2, 3]][index % 4],
    points: (Array.isArray(result[key]) ? result[key] : []).map((bucket) => ({ x: bucket.end, y: bucket.negative_log_likelihood / bucket.tokens }))
      .filter((point) => isNumber(point.x) && point.x > 0 && isNumber(point.y)),
  }));
  const positions = [
    ['by_position', 'Loss by position in the document', 'position in the document, up to (tokens)', 'Falls where a longer past helps.'],
    ['by_position_in_segment', 'Loss by position in the segment', 'position in the segment, up to (tokens)',
      'Local attention answers for what falls within a segment; a low start shows what the memory adds.'],
    ['by_compressions', 'Loss by compressions', 'segments in the memory, up to', 'How many segments the memory held when a token was read.'],
  ].map(([key, title, x, note]) => lineFigure({
    id: key.replaceAll('_', '-'), title, note, unit: 'nats per token', doubling: true, xLabel: () => x, lines: byPosition(key),
  })).filter(Boolean);
  return [element('figure', { class: 'wide', id: 'scores' }, table,
    element('p', { class: 'note' }, '± one standard error over documents; none for a single document.'), ...documents),
  ...(positions.length > 0 ? [element('div', { class: 'grid' }, ...positions)] : [])];
}

function passkeySection() {
  const results = resultsOf('passkeys').filter(({ result }) => result.cells.length > 0);
  if (results.length === 0) return null;
  const describe = ({ task = {} }) => [`step ${formatNumber(task.step)}`, `${task.digits ?? '–'} digits`,
    ...(task.keys > 1 ? [`${task.keys} keys, one is asked for`] : []), ...(task.updates > 0 ? [`overwritten ${task.updates} times`] : []),
    task.filler ? 'hidden in real text' : 'hidden in repeated sentences'].join(', ');
  const interval = (found) => (found ? `${formatShare(found.share)} (${formatShare(found.low).replace(' %', '')}–${formatShare(found.high)})` : '–');
  const table = ({ cells }) => makeTable(['length', 'depth', 'samples', 'keys found', 'digits right', 'control: keys found', 'control: digits right'],
    cells.map((cell) => [formatNumber(cell.length), formatNumber(cell.depth), formatNumber(cell.samples), interval(cell.exact_match),
      interval(cell.token_accuracy), interval(cell.exact_match_without_memory), interval(cell.token_accuracy_without_memory)]));
  return results.map(({ run, result }) => element('figure', { class: 'wide passkey' },
    element('figcaption', {}, element('h3', {}, `${run.name}: ${result.file}`)),
    element('p', { class: 'note' }, describe(result) + '. Share of keys found whole, with its 95 % interval; length in tokens, depth 0 at the start, 1 at the question.'),
    colourScale('0 %', '100 %', [() => sequential(0), () => sequential(1)]),
    element('div', { class: 'maps' }, passkeyMap('Memory kept', result.cells, (cell) => cell.exact_match),
      ...(result.cells.some((cell) => cell.exact_match_without_memory)
        ? [passkeyMap('Control: memory knocked out', result.cells, (cell) => cell.exact_match_without_memory)] : [])),
    tableDetails('Table', () => table(result))));
}

// What `palimpsest measure` said of one ranking or of two.
function searchSection() {
  const results = resultsOf('searches').filter(({ result }) => result.runs.length > 0);
  if (results.length === 0) return null;
  const titles = { 'ndcg@10': 'nDCG@10', mrr: 'MRR', 'recall@100': 'recall@100', map: 'MAP' }, measures = Object.keys(titles);
  const rows = results.flatMap(({ run, result }) => result.runs.map((found) =>
    [run.name, result.file, found.run, formatNumber(result.queries), ...measures.map((measure) => estimate(found[measure]))]));
  const differences = results.filter(({ result }) => result.difference).flatMap(({ run, result }) => measures.map((measure) => {
    const found = result.difference[measure];
    return [run.name, result.file, titles[measure], estimate(found, '+'), isNumber(found.p) ? found.p.toFixed(3) : '–',
      formatNumber(found.better), formatNumber(found.worse)];
  }));
  return [element('figure', { class: 'wide', id: 'searches' },
    makeTable(['run', 'result', 'search', 'queries', ...Object.values(titles)], rows, ['text', 'text', 'text']),
    element('p', { class: 'note' }, `Means over queries and their intervals (${confidencesOf(results)}) by the bootstrap.`),
    ...(differences.length > 0 ? [element('h3', {}, 'Second search less first, query by query'),
      makeTable(['run', 'result', 'measure', 'difference', 'p', 'queries better', 'worse'], differences, ['text', 'text', 'text'])] : []))];
}

function settingsSection() {
  const runs = report.runs.filter((run) => Object.keys(run.settings).length > 0);
  if (runs.length === 0) return null;
  const keys = [...new Set(runs.flatMap((run) => Object.keys(run.settings)))];
  const differs = (key) => runs.some((run) => run.settings[key] !== runs[0].settings[key]);
  const table = (names) => {
    const made = makeTable(['key', ...runs.map((run) => run.name)],
      names.map((key) => [key, ...runs.map((run) => run.settings[key] ?? 'not set')]), ['text', ...runs.map(() => 'text')]);
    made.firstChild.classList.add('wrap');
    return made;
  };
  const different = runs.length > 1 ? keys.filter(differs) : [];
  const note = runs.length === 1 ? [] : different.length === 0
    ? [element('p', { class: 'note' }, 'The configurations are equal.')] : [table(different)];
  return [element('figure', { class: 'wide', id: 'settings' }, ...note, tableDetails('Every key', () => table(keys)))];
}

const sections = [
  ['Runs', overviewSection],
  ['Training', trainingSection],
  ['ROUGE', rougeSection],
  ['Memory gates', gatesSection],
  ['Evaluation', evaluationSection],
  ['Passkey retrieval', passkeySection],
  ['Search', searchSection],
  [report.runs.length > 1 ? 'Differences of configuration' : 'Configuration', settingsSection],
];
