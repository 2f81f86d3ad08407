'use strict';
// What the other parts share: the data, the choices of the reader, colours, numbers as people read them, elements.
// Text of the runs reaches the page as text nodes only.

const report = JSON.parse(document.getElementById('report-data').textContent);
report.runs.forEach((run, index) => {
  run.index = index;
  const rate = run.columns.model_flops_per_second;
  if (report.peak_flops && rate) run.columns.mfu = rate.map((value) => (value === null ? null : value / report.peak_flops));
});

const axes = {
  step: { name: 'steps', label: 'step' },
  tokens: { name: 'tokens', label: 'tokens' },
  hours: { name: 'hours', label: 'hours of training' },
};

// Kept over a reload (--follow), where the browser allows it.
const choices = { axis: 'step', theme: 'auto', hidden: [], logarithmic: {} };
const choicesKey = 'palimpsest-report';
try {
  Object.assign(choices, JSON.parse(sessionStorage.getItem(choicesKey) || '{}'));
} catch (error) { /* no storage for pages out of files: the choices last until the page is closed */ }
function keepChoices() {
  try {
    sessionStorage.setItem(choicesKey, JSON.stringify(choices));
  } catch (error) { /* as above */ }
}

const systemIsDark = window.matchMedia('(prefers-color-scheme: dark)');
function applyTheme() {
  const dark = choices.theme === 'dark' || (choices.theme === 'auto' && systemIsDark.matches);
  document.documentElement.dataset.theme = dark ? 'dark' : 'light';
}
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();
}
const runColours = 6;
function runColour(run) { return colour('run-' + (run.index % runColours + 1)); }
// Beyond the colours, runs differ by their dashes.
function runDash(run) { return [[], [6, 3], [2, 3], [8, 3, 2, 3]][Math.floor(run.index / runColours) % 4]; }

function isNumber(value) { return typeof value === 'number' && Number.isFinite(value); }

function formatNumber(value, digits = 4) {
  if (!isNumber(value)) return '–';
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return value.toLocaleString('en-US');
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(Math.max(0, digits - 1));
  return size >= 1000 ? value.toLocaleString('en-US', { maximumFractionDigits: 1 }) : String(Number(value.toPrecision(digits)));
}
// "1.2 M": for axes.
function shortNumber(value) {
  for (const [unit, name] of [[1e9, ' G'], [1e6, ' M'], [1e3, ' k']]) {
    if (Math.abs(value) >= unit) return Number((value / unit).toPrecision(3)) + name;
  }
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(0);
  return String(Number(value.toPrecision(4)));
}
// "32 k", "1 M" (of 1,024): lengths in tokens.
function formatLength(tokens) {
  if (tokens >= 1 << 20 && tokens % (1 << 20) === 0) return tokens / (1 << 20) + ' M';
  if (tokens >= 1024 && tokens % 1024 === 0) return tokens / 1024 + ' k';
  return formatNumber(tokens);
}
function formatShare(value) { return isNumber(value) ? Number((100 * value).toFixed(1)) + ' %' : '–'; }
function formatDuration(hours) {
  if (!isNumber(hours)) return '–';
  if (hours < 1 / 60) return Math.round(hours * 3600) + ' s';
  return hours < 1 ? Math.round(hours * 60) + ' min' : Number(hours.toPrecision(3)) + ' h';
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === 'class') made.className = value;
    else if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// A bubble with the values of what lies under the pointer, for what Chart.js does not draw.
const bubble = document.getElementById('bubble');
function explain(target, text) {
  target.tabIndex = 0;
  const show = (x, y) => {
    bubble.textContent = text();
    bubble.hidden = false;
    bubble.style.left = Math.max(4, Math.min(x + 12, window.innerWidth - bubble.offsetWidth - 8)) + 'px';
    bubble.style.top = Math.max(4, Math.min(y + 14, window.innerHeight - bubble.offsetHeight - 8)) + 'px';
  };
  target.addEventListener('pointermove', (event) => show(event.clientX, event.clientY));
  target.addEventListener('focus', () => {
    const box = target.getBoundingClientRect();
    show(box.left, box.bottom - 10);
  });
  for (const end of ['pointerleave', 'blur']) target.addEventListener(end, () => { bubble.hidden = true; });
}
