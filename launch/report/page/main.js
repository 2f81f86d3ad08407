// Builds the page and answers to its controls.

function drawAll() { for (const draw of figures) draw(); }

function buildLegend() {
  const legend = document.getElementById('legend');
  for (const run of report.runs) {
    const swatch = element('span', { class: 'swatch' });
    const button = element('button', { type: 'button', title: run.path, 'aria-pressed': String(!choices.hidden.includes(run.name)) },
      swatch, element('span', {}, run.name));
    figures.push(() => { swatch.style.background = runColour(run); });
    button.addEventListener('click', () => {
      choices.hidden = choices.hidden.includes(run.name) ? choices.hidden.filter((name) => name !== run.name) : [...choices.hidden, run.name];
      button.setAttribute('aria-pressed', String(!choices.hidden.includes(run.name)));
      keepChoices();
      drawAll();
    });
    legend.append(button);
  }
}

function bindChoice(id, apply) {
  const select = document.getElementById(id);
  select.value = choices[id];
  select.addEventListener('change', () => {
    choices[id] = select.value;
    keepChoices();
    apply();
    drawAll();
  });
}

function describeThinning() {
  const notes = report.runs.filter((run) => run.logged_steps > (run.columns.step?.length ?? 0)).map((run) =>
    `Of ${run.name}'s ${formatNumber(run.logged_steps)} logged steps ${formatNumber(run.columns.step.length)} are shown: ` +
    'of each stretch the smallest and the greatest loss and the greatest gradient norm.');
  for (const run of report.runs) {
    if (run.others.length > 0) notes.push(`Not shown of ${run.name}: ${run.others.join(', ')}.`);
  }
  document.getElementById('thinned').textContent = notes.join(' ');
}

function start() {
  applyTheme();
  systemIsDark.addEventListener('change', () => { applyTheme(); drawAll(); });
  const axis = document.getElementById('axis');
  for (const [name, { name: text }] of Object.entries(axes)) {
    if (report.runs.some((run) => run.columns[name]?.some(isNumber))) axis.append(element('option', { value: name }, text));
  }
  if (axis.childElementCount === 0) axis.parentElement.hidden = true;
  buildLegend();
  bindChoice('axis', () => {});
  bindChoice('theme', applyTheme);
  const main = document.getElementById('main');
  for (const [title, make] of sections) {
    const content = make();
    if (content) main.append(element('section', {}, element('h2', {}, title), ...content));
  }
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  drawAll();
  describeThinning();
  if (report.refresh_seconds) setTimeout(() => location.reload(), 1000 * report.refresh_seconds);
  document.documentElement.dataset.ready = 'true';
}

try {
  start();
} catch (error) {
  document.getElementById('main').prepend(element('p', { class: 'failure' }, 'This page could not be drawn: ' + error.message));
  throw error;
}
